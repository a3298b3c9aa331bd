//! Answers every request with a line of text, through WASI 0.3.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

wasip3::http::service::export!(Hello);

struct Hello;

impl wasip3::exports::http::handler::Guest for Hello {
    async fn handle(_: Request) -> Result<Response, ErrorCode> {
        let (mut body, contents) = wit_stream::new();
        let (trailers, trailing) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(contents), trailing);
        drop(trailers);
        wit_bindgen::spawn_local(async move {
            body.write_all(b"Hello from WASI 0.3\n".to_vec()).await;
        });
        Ok(response)
    }
}
