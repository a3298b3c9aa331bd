//! Sends a request's body back as it comes, its headers named `x-…`, and its trailers.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_future;

wasip3::http::service::export!(Echo);

struct Echo;

impl wasip3::exports::http::handler::Guest for Echo {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let headers = Fields::new();
        for (name, value) in request.get_headers().copy_all() {
            if name.starts_with("x-") {
                headers.append(&name, &value).unwrap();
            }
        }
        let (done, result) = wit_future::new(|| Ok(()));
        drop(done);
        let (contents, trailers) = Request::consume_body(request, result);
        // The very stream of the request becomes the response's: nothing is copied through the guest.
        let (response, _) = Response::new(headers, Some(contents), trailers);
        Ok(response)
    }
}
