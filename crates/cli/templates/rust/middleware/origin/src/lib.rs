//! What the middleware passes requests on to.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

struct Component;

wasip3::http::service::export!(Component);

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(_: Request) -> Result<Response, ErrorCode> {
        let (mut body, contents) = wit_stream::new();
        let (trailers, no_trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(contents), no_trailers);
        drop(trailers);
        wit_bindgen::spawn_local(async move {
            body.write_all(b"Hello from behind the middleware\n".to_vec()).await;
        });
        Ok(response)
    }
}
