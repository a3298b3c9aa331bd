//! Answers as `hello-p2` does, and imports a key-value store that it never opens. For a benchmark.

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wit_bindgen::generate!({ path: "../wit/bench.wit", world: "hello-keyvalue", generate_all });

wasip2::http::proxy::export!(Hello);

struct Hello;

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(_: IncomingRequest, out: ResponseOutparam) {
        if std::hint::black_box(false) {
            let bucket = wasi::keyvalue::store::open("default").unwrap();
            bucket.set("key", b"value").unwrap();
        }
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().unwrap();
        stream.blocking_write_and_flush(b"Hello from WASI 0.2\n").unwrap();
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
    }
}
