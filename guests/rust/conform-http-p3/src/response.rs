//! Tests of `wasi:http`: responses that a guest makes, without answering with them.

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, HeaderError, Request, Response};
use wasip3::wit_stream;

use crate::body::{fields, get, list, no_trailers, pieces, result, text, values};
use crate::conform::{Good, Outcome, Test, stream_of};

const CONSUME: &str = "wasi:http/types#[static]response.consume-body";
const SEND: &str = "wasi:http/client#send";
const NEW: &str = "wasi:http/types#[static]response.new";

pub const TESTS: &[Test<Request>] = &[
    test!(
        "response-new",
        new,
        [NEW, "wasi:http/types#[method]response.get-status-code", "wasi:http/types#[method]response.get-headers"]
    ),
    test!(
        "response-status",
        status,
        ["wasi:http/types#[method]response.get-status-code", "wasi:http/types#[method]response.set-status-code"]
    ),
    test!("response-body", body, [NEW, CONSUME]),
    test!("response-body-none", body_none, [NEW, CONSUME]),
    test!("response-body-early-end", body_early_end, [NEW, CONSUME]),
    test!("response-trailers", with_trailers, [NEW, CONSUME, SEND]),
    test!("response-result", body_result, [NEW, CONSUME]),
];

async fn new() -> Outcome {
    let (response, _) = Response::new(fields(&[("x-one", "1")])?, None, no_trailers());
    same!(response.get_status_code(), 200);
    let headers = response.get_headers();
    same!(headers.copy_all(), list(&[("x-one", "1")]));
    fails!(headers.set("x-one", &[b"2".to_vec()]), HeaderError::Immutable);
    fails!(headers.append("x-one", b"2"), HeaderError::Immutable);
    fails!(headers.delete("x-one"), HeaderError::Immutable);
    fails!(headers.get_and_delete("x-one"), HeaderError::Immutable);
    Ok(())
}

async fn status() -> Outcome {
    let (response, _) = Response::new(Fields::new(), None, no_trailers());
    for status in [100, 204, 404, 418, 599] {
        response.set_status_code(status).good()?;
        same!(response.get_status_code(), status);
    }
    for bad in [0, 42, 99, 1000, u16::MAX] {
        fails!(response.set_status_code(bad), ());
    }
    same!(response.get_status_code(), 599);
    Ok(())
}

async fn body() -> Outcome {
    let (response, sent) = Response::new(fields(&[("x-one", "1")])?, Some(pieces(1000, "piece ")), no_trailers());
    let headers = response.get_headers();
    let (contents, trailing) = Response::consume_body(response, result(Ok(())));
    drop(trailing);
    same!(contents.collect().await, "piece ".repeat(1000).as_bytes());
    sent.await.good()?;
    same!(values(&headers, "x-one"), "1");
    Ok(())
}

async fn body_none() -> Outcome {
    let (response, sent) = Response::new(Fields::new(), None, no_trailers());
    let (contents, trailing) = Response::consume_body(response, result(Ok(())));
    drop(trailing);
    same!(contents.collect().await.len(), 0);
    sent.await.good()
}

async fn body_early_end() -> Outcome {
    let (mut to, contents) = wit_stream::new();
    let (response, _sent) = Response::new(Fields::new(), Some(contents), no_trailers());
    let (contents, _trailing) = Response::consume_body(response, result(Ok(())));
    drop(contents);
    same!(to.write_all(b"nobody reads".to_vec()).await.len(), 12);
    Ok(())
}

/// The trailers of an answer, handed on: no component can read a future of resources that it writes itself.
async fn with_trailers() -> Outcome {
    let answer = client::send(get("/trailers")?).await.good()?;
    let (contents, trailing) = Response::consume_body(answer, result(Ok(())));
    contents.collect().await;
    let (response, sent) = Response::new(Fields::new(), None, trailing);
    let (contents, trailing) = Response::consume_body(response, result(Ok(())));
    let (text, trailing) = text(contents, trailing).await.good()?;
    same!(text, "");
    same!(values(&trailing.good()?, "x-trailer"), "yes");
    sent.await.good()
}

/// The result of the body's reader reaches the maker of the response.
async fn body_result() -> Outcome {
    let (response, sent) = Response::new(Fields::new(), Some(stream_of(b"text".to_vec())), no_trailers());
    let (contents, trailing) = Response::consume_body(response, result(Err(ErrorCode::LoopDetected)));
    drop(trailing);
    same!(contents.collect().await.len(), 4);
    fails!(sent.await, ErrorCode::LoopDetected);
    Ok(())
}
