//! Answers the question in a request's `ask` header: by itself for `/mine`, by its sibling for `/theirs`. WASI 0.3.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

wit_bindgen::generate!({ path: "../../wit/fixture.wit", world: "front-async" });
include!("../../../shared/ask-p3.rs");

wasip3::http::service::export!(Front);

struct Front;

impl wasip3::exports::http::handler::Guest for Front {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let question = request.get_headers().get("ask").pop().unwrap_or_default();
        let question = String::from_utf8(question).unwrap();
        let answer = match request.get_path_with_query().as_deref() {
            Some("/mine") => ask(&question).await,
            _ => wharf::fixture::inspect_async::ask(question).await,
        };
        let (mut body, contents) = wit_stream::new();
        let (trailers, trailing) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(contents), trailing);
        drop(trailers);
        wit_bindgen::spawn_local(async move {
            body.write_all(answer.into_bytes()).await;
        });
        Ok(response)
    }
}
