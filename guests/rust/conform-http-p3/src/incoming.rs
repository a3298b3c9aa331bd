//! Tests of `wasi:http`: the very request that asks for the test.

use wasip3::http::types::{HeaderError, Request, Scheme};

use crate::body::{result, text};
use crate::conform::{Good, Outcome, Test};

pub const TESTS: &[Test<Request>] = &[
    Test {
        name: "incoming-request",
        covers: &[
            "wasi:http/types#[method]request.get-path-with-query",
            "wasi:http/types#[method]request.get-scheme",
            "wasi:http/types#[method]request.get-authority",
            "wasi:http/types#[method]request.get-headers",
            "wasi:http/types#[method]request.get-options",
        ],
        run: |request| Box::pin(incoming(request)),
        exit: None,
    },
    Test {
        name: "incoming-body",
        covers: &["wasi:http/types#[static]request.consume-body"],
        run: |request| Box::pin(incoming_body(request)),
        exit: None,
    },
];

async fn incoming(request: Request) -> Outcome {
    ensure!(request.get_path_with_query().is_some_and(|path| path.starts_with("/incoming-request")));
    // Without a scheme the guest may think what it likes.
    ensure!(matches!(request.get_scheme(), None | Some(Scheme::Http | Scheme::Https)));
    ensure!(request.get_authority().is_some_and(|authority| !authority.is_empty()));
    let headers = request.get_headers();
    fails!(headers.set("x-one", &[b"1".to_vec()]), HeaderError::Immutable);
    fails!(headers.append("x-one", b"1"), HeaderError::Immutable);
    fails!(headers.delete("x-one"), HeaderError::Immutable);
    fails!(headers.get_and_delete("x-one"), HeaderError::Immutable);
    headers.clone().append("x-one", b"1").good()?;
    _ = request.get_options();
    Ok(())
}

/// Whatever body there is comes to an end, as long as the request says.
async fn incoming_body(request: Request) -> Outcome {
    let said = request.get_headers().get("content-length");
    let (contents, trailers) = Request::consume_body(request, result(Ok(())));
    let (text, _) = text(contents, trailers).await.good()?;
    if let Some(said) = said.first() {
        same!(String::from_utf8_lossy(said), text.len().to_string().as_str());
    }
    Ok(())
}
