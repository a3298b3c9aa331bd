//! Fails in the way that the path asks for.

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wasip2::http::proxy::export!(Traps);

struct Traps;

impl wasip2::exports::http::incoming_handler::Guest for Traps {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        match request.path_with_query().as_deref() {
            Some("/trap") => std::process::abort(),
            Some("/silent") => drop(out),
            Some("/late") => {
                let response = OutgoingResponse::new(Fields::new());
                let body = response.body().unwrap();
                ResponseOutparam::set(out, Ok(response));
                let stream = body.write().unwrap();
                stream.blocking_write_and_flush(b"so far so good").unwrap();
                std::process::abort()
            }
            // A whole answer with its length, and something to do after that.
            Some("/after") => {
                let headers = Fields::new();
                headers.append("content-length", b"2").unwrap();
                let response = OutgoingResponse::new(headers);
                let body = response.body().unwrap();
                ResponseOutparam::set(out, Ok(response));
                let stream = body.write().unwrap();
                stream.blocking_write_and_flush(b"ok").unwrap();
                drop(stream);
                OutgoingBody::finish(body, None).unwrap();
                // Long enough that the client has read its answer by then.
                wasip2::clocks::monotonic_clock::subscribe_duration(50_000_000).block();
                wasip2::cli::stdout::get_stdout().blocking_write_and_flush(b"done afterwards\n").unwrap();
            }
            // An answer that is given up before it has a body.
            Some("/abort") => {
                let response = OutgoingResponse::new(Fields::new());
                let body = response.body().unwrap();
                ResponseOutparam::set(out, Ok(response));
                drop(body);
            }
            _ => {
                let response = OutgoingResponse::new(Fields::new());
                let body = response.body().unwrap();
                ResponseOutparam::set(out, Ok(response));
                OutgoingBody::finish(body, None).unwrap();
            }
        }
    }
}
