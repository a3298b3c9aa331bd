//! Tests of `wasi:http`: sending requests and what can go wrong.

use wasip3::clocks::monotonic_clock;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, HeaderError, Method, Request, RequestOptions, Scheme};

use crate::body::{aim, fields, get, no_trailers, read, values};
use crate::conform::{Good, Outcome, Test, both, within};

const SEND: &str = "wasi:http/client#send";
const SET_PATH: &str = "wasi:http/types#[method]request.set-path-with-query";

pub const TESTS: &[Test<Request>] = &[
    test!(
        "client-get",
        simple,
        [
            SEND,
            "wasi:http/types#[method]response.get-status-code",
            "wasi:http/types#[method]response.get-headers",
            "wasi:http/types#[static]response.consume-body"
        ]
    ),
    test!("client-paths", paths, [SEND, SET_PATH, "wasi:http/types#[method]request.get-path-with-query"]),
    test!("client-headers", headers, [SEND]),
    test!("client-methods", methods, [SEND]),
    test!("client-head", head, [SEND]),
    test!("client-many", many, [SEND]),
    test!("client-together", together, [SEND]),
    test!("client-cancelled", cancelled, [SEND]),
    test!("client-refused", refused, [SEND]),
    test!("client-no-authority", no_authority, [SEND]),
    test!("client-other-scheme", other_scheme, [SEND]),
    test!(
        "client-first-byte-timeout",
        first_byte_timeout,
        [SEND, "wasi:http/types#[method]request-options.set-first-byte-timeout"]
    ),
    test!("client-timeouts-kept", timeouts_kept, [SEND, "wasi:http/types#[static]request.new"]),
];

const MILLISECOND: u64 = 1_000_000;

async fn simple() -> Outcome {
    let response = client::send(get("/some/path?with=query")?).await.good()?;
    same!(response.get_status_code(), 200);
    let headers = response.get_headers();
    same!(values(&headers, "x-echo-method"), "GET");
    same!(values(&headers, "x-echo-path"), "/some/path?with=query");
    fails!(headers.append("x-one", b"1"), HeaderError::Immutable);
    let (text, trailers) = read(response).await.good()?;
    same!(text, "");
    ensure!(trailers.is_none());
    Ok(())
}

/// A relative path is what it was set to, and is sent below `/`; none is `/`.
async fn paths() -> Outcome {
    for (path, sent) in [(Some("a/b?c=d"), "/a/b?c=d"), (Some("../up"), "/../up"), (Some("?q"), "/?q"), (None, "/")] {
        let request = get("/")?;
        request.set_path_with_query(path).good()?;
        same!(request.get_path_with_query().as_deref(), path);
        let response = client::send(request).await.good()?;
        same!(values(&response.get_headers(), "x-echo-path"), sent);
    }
    Ok(())
}

async fn headers() -> Outcome {
    let headers = fields(&[("x-one", "1"), ("X-Two", "2"), ("x-one", "3"), ("x-empty", "")])?;
    let (request, sent) = Request::new(headers, None, no_trailers(), None);
    aim(&request, &Method::Get, "/")?;
    let response = client::send(request).await.good()?;
    let headers = response.get_headers();
    let one = values(&headers, "x-echo-x-one").replace(", ", "|").replace(',', "|");
    same!(one, "1|3");
    same!(values(&headers, "x-echo-x-two"), "2");
    ensure!(headers.has("x-echo-x-empty"));
    same!(values(&headers, "x-echo-host"), crate::body::authority()?.as_str());
    sent.await.good()?;
    read(response).await.good()?;
    Ok(())
}

async fn methods() -> Outcome {
    for (method, name) in [
        (Method::Post, "POST"),
        (Method::Put, "PUT"),
        (Method::Delete, "DELETE"),
        (Method::Options, "OPTIONS"),
        (Method::Patch, "PATCH"),
        (Method::Other("PROPFIND".into()), "PROPFIND"),
    ] {
        let (request, sent) = Request::new(Fields::new(), None, no_trailers(), None);
        aim(&request, &method, "/")?;
        let response = client::send(request).await.good()?;
        same!(values(&response.get_headers(), "x-echo-method"), name);
        sent.await.good()?;
        same!(read(response).await.good()?.0, "");
    }
    Ok(())
}

/// An answer without a body, whatever it says of its length.
async fn head() -> Outcome {
    let request = get("/")?;
    request.set_method(&Method::Head).good()?;
    let response = client::send(request).await.good()?;
    same!(response.get_status_code(), 200);
    same!(values(&response.get_headers(), "x-echo-method"), "HEAD");
    same!(read(response).await.good()?.0, "");
    Ok(())
}

async fn many() -> Outcome {
    for i in 0..50 {
        let path = format!("/{i}");
        let response = client::send(get(&path)?).await.good()?;
        same!(values(&response.get_headers(), "x-echo-path"), path.as_str());
        // Every second answer is left unread.
        if i % 2 == 0 {
            read(response).await.good()?;
        }
    }
    Ok(())
}

async fn together() -> Outcome {
    let start = monotonic_clock::now();
    client::send(get("/slow")?).await.good()?;
    let one = monotonic_clock::now() - start;
    let start = monotonic_clock::now();
    let (a, b) = both(client::send(get("/slow")?), client::send(get("/slow")?)).await;
    let two = monotonic_clock::now() - start;
    same!(a.good()?.get_status_code(), 200);
    same!(b.good()?.get_status_code(), 200);
    ensure!(two < one + one * 3 / 4, "one took {one} ns, two at a time {two} ns");
    Ok(())
}

async fn cancelled() -> Outcome {
    ensure!(within(50 * MILLISECOND, client::send(get("/slow")?)).await.is_none());
    let response = client::send(get("/")?).await.good()?;
    same!(response.get_status_code(), 200);
    Ok(())
}

async fn refused() -> Outcome {
    let request = get("/")?;
    // Port 1 has no listener.
    request.set_authority(Some("127.0.0.1:1")).good()?;
    fails!(client::send(request).await, ErrorCode::ConnectionRefused);
    Ok(())
}

async fn no_authority() -> Outcome {
    let request = get("/")?;
    request.set_authority(None).good()?;
    fails!(client::send(request).await, ErrorCode::HttpRequestUriInvalid);
    Ok(())
}

async fn other_scheme() -> Outcome {
    let request = get("/")?;
    request.set_scheme(Some(&Scheme::Other("ftp".into()))).good()?;
    fails!(client::send(request).await, ErrorCode::HttpProtocolError | ErrorCode::HttpRequestUriInvalid);
    Ok(())
}

fn with_timeout(path: &str, milliseconds: u64) -> Result<Request, String> {
    let options = RequestOptions::new();
    options.set_connect_timeout(Some(5000 * MILLISECOND)).good()?;
    options.set_first_byte_timeout(Some(milliseconds * MILLISECOND)).good()?;
    options.set_between_bytes_timeout(Some(5000 * MILLISECOND)).good()?;
    let (request, _) = Request::new(Fields::new(), None, no_trailers(), Some(options));
    aim(&request, &Method::Get, path)?;
    Ok(request)
}

async fn first_byte_timeout() -> Outcome {
    let start = monotonic_clock::now();
    fails!(
        client::send(with_timeout("/slow", 100)?).await,
        ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout
    );
    ensure!(monotonic_clock::now() - start >= 100 * MILLISECOND);
    Ok(())
}

async fn timeouts_kept() -> Outcome {
    let response = client::send(with_timeout("/", 5000)?).await.good()?;
    same!(response.get_status_code(), 200);
    read(response).await.good()?;
    Ok(())
}
