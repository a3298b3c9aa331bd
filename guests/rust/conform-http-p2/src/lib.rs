//! Calls every function of wasi:http 0.2 and checks what each promises: a request for `/TEST` runs that test.
//!
//! It answers 200 with `ok`, or 500 with the reason; `/` lists the tests with the functions they cover. The environment
//! variable `HTTP_AUTHORITY` names a server that echoes: its answers say with what method and path they were asked for
//! (`x-echo-method`, `x-echo-path`), and hold the request's headers (`x-echo-` before the name) and its body. For
//! `/trailers` it sends the trailer `x-trailer: yes`, and for `/slow` it waits before it answers.

#[macro_use]
#[path = "../../../shared/conform.rs"]
mod conform;
#[path = "../../../shared/streams-p2.rs"]
mod bytes;

mod answers;
mod ask;
mod bodies;
mod exchanges;
mod fields;
mod incoming;
mod messages;

use conform::{Check, line};
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wasip2::http::proxy::export!(Conform);

struct Conform;

/// A test, with the functions that it calls under their names in the component model.
pub struct Test {
    name: &'static str,
    covers: &'static [&'static str],
    run: Run,
}

pub enum Run {
    Plain(fn() -> Check),
    /// With the request that asks for the test.
    Request(fn(IncomingRequest) -> Check),
}

impl Test {
    const fn new(name: &'static str, run: fn() -> Check, covers: &'static [&'static str]) -> Self {
        Self { name, covers, run: Run::Plain(run) }
    }

    const fn asked(name: &'static str, run: fn(IncomingRequest) -> Check, covers: &'static [&'static str]) -> Self {
        Self { name, covers, run: Run::Request(run) }
    }
}

impl wasip2::exports::http::incoming_handler::Guest for Conform {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default().trim_start_matches('/');
        if let Some(way) = path.strip_prefix("answers/") {
            return answers::answer(way, out);
        }
        let tests = [fields::TESTS, messages::TESTS, incoming::TESTS, exchanges::TESTS, bodies::TESTS, answers::TESTS];
        let mut tests = tests.into_iter().flatten();
        if path.is_empty() {
            let list: String = tests.map(|test| line(test.name, test.covers, None)).collect();
            return say(out, 200, &list);
        }
        let Some(test) = tests.find(|test| test.name == path) else { return say(out, 404, "no such test") };
        let came = match test.run {
            Run::Plain(run) => run(),
            Run::Request(run) => run(request),
        };
        match came {
            Ok(()) => say(out, 200, "ok"),
            Err(why) => say(out, 500, &why),
        }
    }
}

/// How every test answers, so `response-outparam.set` is called by all of them.
fn say(out: ResponseOutparam, status: u16, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).unwrap();
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    let to = body.write().unwrap();
    // A client that went away is no error.
    bytes::write_all(&to, text.as_bytes()).ok();
    drop(to);
    OutgoingBody::finish(body, None).ok();
}
