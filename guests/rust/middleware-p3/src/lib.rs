//! Stands in front of another handler and adds a header to its answer: `via`, with its first argument.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_future;

wit_bindgen::generate!({
    path: "wit",
    world: "wharf:middleware/next",
    generate_all,
    with: { "wasi:http/types@0.3.0": wasip3::http::types, "wasi:clocks/types@0.3.0": wasip3::clocks::types },
});

wasip3::http::service::export!(Middleware);

struct Middleware;

impl wasip3::exports::http::handler::Guest for Middleware {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let response = wasi::http::handler::handle(request).await?;
        let headers = Fields::from_list(&response.get_headers().copy_all()).unwrap();
        let name = wasip3::cli::environment::get_arguments().pop().unwrap_or_default();
        headers.append("via", name.as_bytes()).unwrap();
        let status = response.get_status_code();
        let (done, result) = wit_future::new(|| Ok(()));
        drop(done);
        let (contents, trailers) = Response::consume_body(response, result);
        let (response, _) = Response::new(headers, Some(contents), trailers);
        response.set_status_code(status).unwrap();
        Ok(response)
    }
}
