//! Serves HTTP, with the greetings of its sibling.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

mod world {
    wit_bindgen::generate!({ path: "../wit", world: "front", pub_export_macro: true });
}

use world::app::{{snake}}::greeter;

/// The text for a path, or `None` if there is none.
fn greeting(path: &str) -> Option<String> {
    match path {
        "/" => Some(greeter::greet("world")),
        _ => path.strip_prefix("/hello/").map(greeter::greet),
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
    fn test_greets_by_name() -> Result<(), String> {
        match greeting("/hello/Ada").as_deref() {
            Some("Hello, Ada!") => Ok(()),
            other => Err(format!("got {other:?}")),
        }
    }
}
