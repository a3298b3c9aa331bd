//! Answers the question in a request's `ask` header: by itself for `/mine`, by its sibling for `/theirs`. WASI 0.2.

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wit_bindgen::generate!({ path: "../../wit/fixture.wit", world: "front" });
include!("../../../shared/ask-p2.rs");

wasip2::http::proxy::export!(Front);

struct Front;

impl wasip2::exports::http::incoming_handler::Guest for Front {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let question = request.headers().get("ask").pop().unwrap_or_default();
        let question = String::from_utf8(question).unwrap();
        let answer = match request.path_with_query().as_deref() {
            Some("/mine") => ask(&question),
            _ => wharf::fixture::inspect::ask(&question),
        };
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().unwrap();
        for piece in answer.as_bytes().chunks(4096) {
            stream.blocking_write_and_flush(piece).unwrap();
        }
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
    }
}
