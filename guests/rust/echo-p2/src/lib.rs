//! Sends a request's body back as it comes, its headers named `x-…`, and its trailers.

use wasip2::http::types::{Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::StreamError;

wasip2::http::proxy::export!(Echo);

struct Echo;

impl wasip2::exports::http::incoming_handler::Guest for Echo {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let headers = Fields::new();
        for (name, value) in request.headers().entries() {
            if name.starts_with("x-") {
                headers.append(&name, &value).unwrap();
            }
        }
        let response = OutgoingResponse::new(headers);
        let body = response.body().unwrap();
        ResponseOutparam::set(out, Ok(response));
        let incoming = request.consume().unwrap();
        {
            let (from, to) = (incoming.stream().unwrap(), body.write().unwrap());
            loop {
                match from.blocking_read(64 * 1024) {
                    Ok(bytes) => {
                        for piece in bytes.chunks(4096) {
                            to.blocking_write_and_flush(piece).unwrap();
                        }
                    }
                    Err(StreamError::Closed) => break,
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        let trailing = IncomingBody::finish(incoming);
        trailing.subscribe().block();
        let trailers = match trailing.get() {
            Some(Ok(Ok(Some(fields)))) => Some(Fields::from_list(&fields.entries()).unwrap()),
            _ => None,
        };
        OutgoingBody::finish(body, trailers).unwrap();
    }
}
