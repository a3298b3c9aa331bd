//! Tests of what a host gives through `wasi:http` 0.3: a request for `/TEST` runs that test, one for `/` lists them.
//!
//! `HTTP_AUTHORITY` names a server that answers with the request's body as it comes, its method as `x-echo-method`,
//! its path and query as `x-echo-path` and each of its headers as `x-echo-NAME`; for `/trailers` it adds the trailer
//! `x-trailer: yes`, for `/slow` it waits a second first. The tests also connect to 127.0.0.1:1, in vain.

#[macro_use]
#[path = "../../../shared/conform-p3.rs"]
mod conform;
mod body;
mod client;
mod client_bodies;
mod fields;
mod incoming;
mod options;
mod request;
mod response;

use conform::{Test, stream_of};
use wasip3::http::types::{ErrorCode, Fields, Request, Response};

wasip3::http::service::export!(Conform);

struct Conform;

const TESTS: &[&[Test<Request>]] = &[
    fields::TESTS,
    options::TESTS,
    request::TESTS,
    response::TESTS,
    incoming::TESTS,
    client::TESTS,
    client_bodies::TESTS,
];

fn tests() -> impl Iterator<Item = &'static Test<Request>> {
    TESTS.iter().copied().flatten()
}

impl wasip3::exports::http::handler::Guest for Conform {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let name = path.split('?').next().unwrap_or_default().trim_start_matches('/').to_owned();
        if name.is_empty() {
            return Ok(answer(200, tests().map(Test::line).collect()));
        }
        let Some(test) = tests().find(|test| test.name == name) else {
            return Ok(answer(404, format!("there is no test {name}\n")));
        };
        Ok(match test.outcome(request).await {
            Ok(()) => answer(200, "ok\n".into()),
            Err(why) => answer(500, format!("{why}\n")),
        })
    }
}

fn answer(status: u16, text: String) -> Response {
    let (response, _) = Response::new(Fields::new(), Some(stream_of(text.into_bytes())), body::no_trailers());
    response.set_status_code(status).unwrap();
    response
}
