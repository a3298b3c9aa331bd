//! Tests of `wasi:http`: requests that a guest makes, without sending them.

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use wasip3::wit_stream;

use crate::body::{fields, get, list, no_trailers, pieces, result, text, values};
use crate::conform::{Good, Outcome, Test, stream_of};

const CONSUME: &str = "wasi:http/types#[static]request.consume-body";
const SEND: &str = "wasi:http/client#send";
const RESPONSE_CONSUME: &str = "wasi:http/types#[static]response.consume-body";
const NEW: &str = "wasi:http/types#[static]request.new";

pub const TESTS: &[Test<Request>] = &[
    test!(
        "request-new",
        new,
        [
            NEW,
            "wasi:http/types#[method]request.get-method",
            "wasi:http/types#[method]request.get-path-with-query",
            "wasi:http/types#[method]request.get-scheme",
            "wasi:http/types#[method]request.get-authority",
            "wasi:http/types#[method]request.get-options",
            "wasi:http/types#[method]request.get-headers"
        ]
    ),
    test!(
        "request-method",
        method,
        ["wasi:http/types#[method]request.get-method", "wasi:http/types#[method]request.set-method"]
    ),
    test!(
        "request-path",
        path,
        ["wasi:http/types#[method]request.get-path-with-query", "wasi:http/types#[method]request.set-path-with-query"]
    ),
    test!(
        "request-scheme",
        scheme,
        ["wasi:http/types#[method]request.get-scheme", "wasi:http/types#[method]request.set-scheme"]
    ),
    test!("request-scheme-empty", scheme_empty, ["wasi:http/types#[method]request.set-scheme"]),
    test!(
        "request-authority",
        authority,
        ["wasi:http/types#[method]request.get-authority", "wasi:http/types#[method]request.set-authority"]
    ),
    test!("request-body", body, [NEW, CONSUME]),
    test!("request-body-none", body_none, [NEW, CONSUME]),
    test!("request-body-early-end", body_early_end, [NEW, CONSUME]),
    test!("request-trailers", with_trailers, [NEW, CONSUME, SEND, RESPONSE_CONSUME]),
    test!("request-result", body_result, [NEW, CONSUME]),
    test!("request-dropped", dropped, [NEW]),
];

async fn new() -> Outcome {
    let (request, _) = Request::new(fields(&[("x-one", "1"), ("x-one", "2")])?, None, no_trailers(), None);
    same!(request.get_method(), Method::Get);
    same!(request.get_path_with_query(), None::<String>);
    same!(request.get_scheme(), None::<Scheme>);
    same!(request.get_authority(), None::<String>);
    ensure!(request.get_options().is_none());
    same!(request.get_headers().copy_all(), list(&[("x-one", "1"), ("x-one", "2")]));
    Ok(())
}

fn plain() -> Request {
    Request::new(Fields::new(), None, no_trailers(), None).0
}

async fn method() -> Outcome {
    let request = plain();
    let all = [
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Delete,
        Method::Connect,
        Method::Options,
        Method::Trace,
        Method::Patch,
        Method::Get,
        Method::Other("PROPFIND".into()),
    ];
    for method in &all {
        request.set_method(method).good()?;
        same!(request.get_method(), method);
    }
    for bad in ["", "BAD METHOD", "BAD\n", "M\u{c9}THODE"] {
        ensure!(request.set_method(&Method::Other(bad.into())).is_err(), "{bad:?} was taken");
    }
    same!(request.get_method(), Method::Other("PROPFIND".into()));
    Ok(())
}

async fn path() -> Outcome {
    let request = plain();
    for path in ["/", "/a/b%20c?d=e&f", "/?x"] {
        request.set_path_with_query(Some(path)).good()?;
        same!(request.get_path_with_query(), Some(path));
    }
    for bad in ["/a b", "/\n", "/a\u{7f}"] {
        ensure!(request.set_path_with_query(Some(bad)).is_err(), "{bad:?} was taken");
    }
    same!(request.get_path_with_query(), Some("/?x"));
    request.set_path_with_query(None).good()?;
    same!(request.get_path_with_query(), None::<String>);
    Ok(())
}

async fn scheme() -> Outcome {
    let request = plain();
    for scheme in [Scheme::Http, Scheme::Https, Scheme::Other("ftp+x".into())] {
        request.set_scheme(Some(&scheme)).good()?;
        same!(request.get_scheme(), Some(&scheme));
    }
    for bad in ["a b", "a/b", "a:", "\u{e9}"] {
        ensure!(request.set_scheme(Some(&Scheme::Other(bad.into()))).is_err(), "{bad:?} was taken");
    }
    same!(request.get_scheme(), Some(Scheme::Other("ftp+x".into())));
    request.set_scheme(None).good()?;
    same!(request.get_scheme(), None::<Scheme>);
    Ok(())
}

async fn scheme_empty() -> Outcome {
    let request = plain();
    fails!(request.set_scheme(Some(&Scheme::Other(String::new()))), ());
    Ok(())
}

async fn authority() -> Outcome {
    let request = plain();
    for authority in ["example.com", "example.com:8080", "127.0.0.1:1", "[::1]:80"] {
        request.set_authority(Some(authority)).good()?;
        same!(request.get_authority(), Some(authority));
    }
    for bad in ["a b", "a/b", "a\n", "host:port", "host:99999", "[::1"] {
        ensure!(request.set_authority(Some(bad)).is_err(), "{bad:?} was taken");
    }
    same!(request.get_authority(), Some("[::1]:80"));
    request.set_authority(None).good()?;
    same!(request.get_authority(), None::<String>);
    Ok(())
}

async fn body() -> Outcome {
    let (request, sent) = Request::new(fields(&[("x-one", "1")])?, Some(pieces(1000, "piece ")), no_trailers(), None);
    let headers = request.get_headers();
    let (contents, trailing) = Request::consume_body(request, result(Ok(())));
    drop(trailing);
    same!(contents.collect().await, "piece ".repeat(1000).as_bytes());
    sent.await.good()?;
    // What was had of the request before is still good.
    same!(values(&headers, "x-one"), "1");
    Ok(())
}

async fn body_none() -> Outcome {
    let (request, sent) = Request::new(Fields::new(), None, no_trailers(), None);
    let (contents, trailing) = Request::consume_body(request, result(Ok(())));
    drop(trailing);
    same!(contents.collect().await.len(), 0);
    sent.await.good()
}

async fn body_early_end() -> Outcome {
    let (mut to, contents) = wit_stream::new();
    let (request, _sent) = Request::new(Fields::new(), Some(contents), no_trailers(), None);
    let (contents, _trailing) = Request::consume_body(request, result(Ok(())));
    drop(contents);
    same!(to.write_all(b"nobody reads".to_vec()).await.len(), 12);
    Ok(())
}

/// The trailers of an answer, handed on: no component can read a future of resources that it writes itself.
async fn with_trailers() -> Outcome {
    let answer = client::send(get("/trailers")?).await.good()?;
    let (contents, trailing) = Response::consume_body(answer, result(Ok(())));
    contents.collect().await;
    let (request, sent) = Request::new(Fields::new(), None, trailing, None);
    let (contents, trailing) = Request::consume_body(request, result(Ok(())));
    let (text, trailing) = text(contents, trailing).await.good()?;
    same!(text, "");
    same!(values(&trailing.good()?, "x-trailer"), "yes");
    sent.await.good()
}

/// The result of the body's reader reaches the maker of the request.
async fn body_result() -> Outcome {
    let (request, sent) = Request::new(Fields::new(), Some(stream_of(b"text".to_vec())), no_trailers(), None);
    let (contents, trailing) = Request::consume_body(request, result(Err(ErrorCode::LoopDetected)));
    drop(trailing);
    same!(contents.collect().await.len(), 4);
    fails!(sent.await, ErrorCode::LoopDetected);
    Ok(())
}

/// A request that is never sent: its body's writer sees that there is no reader.
async fn dropped() -> Outcome {
    let (mut to, contents) = wit_stream::new();
    let (request, sent) = Request::new(Fields::new(), Some(contents), no_trailers(), None);
    drop(request);
    same!(to.write_all(b"nobody reads".to_vec()).await.len(), 12);
    // Whether that is a failure is not said; that it comes to an end is.
    _ = sent.await;
    Ok(())
}
