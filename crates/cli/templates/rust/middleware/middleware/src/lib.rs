//! Stands in front of another HTTP handler: adds the header `via` to its responses.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_future;

mod world {
    wit_bindgen::generate!({
        path: "wit",
        world: "app",
        pub_export_macro: true,
        generate_all,
        with: { "wasi:http/types@0.3.0": wasip3::http::types, "wasi:clocks/types@0.3.0": wasip3::clocks::types },
    });
}

use world::wasi::http::handler as next;

/// The value of the header.
fn via() -> &'static str {
    "{{name}}"
}

struct Component;

wasip3::http::service::export!(Component);

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let response = next::handle(request).await?;
        let headers = Fields::from_list(&response.get_headers().copy_all()).map_err(|_| ErrorCode::InternalError(None))?;
        headers.append("via", via().as_bytes()).map_err(|_| ErrorCode::InternalError(None))?;
        let status = response.get_status_code();
        let (done, result) = wit_future::new(|| Ok(()));
        drop(done);
        // The body is passed on as it comes.
        let (contents, trailers) = Response::consume_body(response, result);
        let (response, _) = Response::new(headers, Some(contents), trailers);
        response.set_status_code(status).map_err(|()| ErrorCode::InternalError(None))?;
        Ok(response)
    }
}

world::export!(Component with_types_in world);

impl world::Guest for Component {
    fn test_names_itself() -> Result<(), String> {
        if via() == "{{name}}" { Ok(()) } else { Err(format!("it calls itself {}", via())) }
    }
}
