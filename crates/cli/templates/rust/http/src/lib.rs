//! An HTTP service.

use std::fmt::Debug;

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

mod world {
    wit_bindgen::generate!({ path: "wit", world: "app", pub_export_macro: true });
}

/// The text for a path, or `None` if there is none.
fn greeting(path: &str) -> Option<String> {
    match path {
        "/" => Some("Hello from {{name}}!".to_owned()),
        _ => path.strip_prefix("/hello/").map(|who| format!("Hello, {who}!")),
    }
}

struct Component;

wasip3::http::service::export!(Component);

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        Ok(match greeting(path) {
            Some(text) => respond(200, text),
            None => respond(404, "Not found".to_owned()),
        })
    }
}

/// A response with a text.
fn respond(status: u16, text: String) -> Response {
    let headers = Fields::from_list(&[("content-type".to_owned(), b"text/plain; charset=utf-8".to_vec())]);
    let (mut body, contents) = wit_stream::new();
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(headers.expect("the header is valid"), Some(contents), no_trailers);
    response.set_status_code(status).expect("the status is valid");
    drop(trailers);
    wit_bindgen::spawn_local(async move {
        body.write_all(text.into_bytes()).await;
    });
    response
}

world::export!(Component with_types_in world);

impl world::Guest for Component {
    fn test_greets() -> Result<(), String> {
        expect(greeting("/").as_deref(), Some("Hello from {{name}}!"))
    }

    fn test_greets_by_name() -> Result<(), String> {
        expect(greeting("/hello/Ada").as_deref(), Some("Hello, Ada!"))
    }

    fn test_unknown_path() -> Result<(), String> {
        expect(greeting("/nowhere"), None)
    }
}

/// A test fails with the error that it returns.
fn expect<T: PartialEq + Debug>(actual: T, expected: T) -> Result<(), String> {
    if actual == expected { Ok(()) } else { Err(format!("expected {expected:?}, got {actual:?}")) }
}
