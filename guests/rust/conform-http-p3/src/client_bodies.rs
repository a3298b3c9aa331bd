//! Tests of `wasi:http`: bodies and trailers of requests that are sent, and of their answers.

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response};
use wasip3::wit_stream;
use wit_bindgen::{FutureReader, StreamReader};

use crate::body::{TrailersResult, aim, fields, get, no_trailers, pieces, read, result, text, trailers, values};
use crate::conform::{Good, Outcome, Test, both, stream_of};

const SEND: &str = "wasi:http/client#send";
const NEW: &str = "wasi:http/types#[static]request.new";
const CONSUME: &str = "wasi:http/types#[static]response.consume-body";

pub const TESTS: &[Test<Request>] = &[
    test!("client-body", body, [SEND, NEW, CONSUME]),
    test!("client-body-large", body_large, [SEND, NEW, CONSUME]),
    test!("client-body-length", body_length, [SEND, NEW]),
    test!("client-body-too-short", body_too_short, [SEND, NEW]),
    test!("client-body-too-long", body_too_long, [SEND, NEW]),
    test!("client-body-refused", body_refused, [SEND, NEW]),
    test!("client-refused-result", refused_result, [SEND, NEW]),
    test!("client-body-as-it-comes", body_as_it_comes, [SEND, NEW, CONSUME]),
    test!("client-relay", relay, [SEND, NEW, CONSUME]),
    test!("client-response-trailers", response_trailers, [SEND, CONSUME]),
    test!("client-response-early-end", response_early_end, [SEND, CONSUME]),
    test!("client-response-result", response_result, [SEND, CONSUME]),
    test!("client-request-trailers", request_trailers, [SEND, NEW]),
    test!("client-request-trailers-error", request_trailers_error, [SEND, NEW]),
    test!("client-request-trailers-error-result", request_trailers_error_result, [SEND, NEW]),
];

fn post(
    headers: Fields,
    contents: StreamReader<u8>,
    trailers: FutureReader<TrailersResult>,
) -> Result<(Request, FutureReader<Result<(), ErrorCode>>), String> {
    let (request, sent) = Request::new(headers, Some(contents), trailers, None);
    aim(&request, &Method::Post, "/")?;
    Ok((request, sent))
}

async fn body() -> Outcome {
    let (request, sent) = post(Fields::new(), pieces(100, "some text "), no_trailers())?;
    let response = client::send(request).await.good()?;
    same!(response.get_status_code(), 200);
    let (text, trailers) = read(response).await.good()?;
    same!(text, "some text ".repeat(100));
    ensure!(trailers.is_none());
    sent.await.good()
}

/// 100 bytes, of which so many are sent that no buffer holds them all.
const LINE: &str = "a hundred bytes of text, of which there are so many that no buffer has room for them: they must flow";

async fn body_large() -> Outcome {
    let (request, sent) = post(Fields::new(), pieces(20_000, LINE), no_trailers())?;
    let response = client::send(request).await.good()?;
    let (text, _) = read(response).await.good()?;
    same!(text.len(), 2_000_000);
    sent.await.good()
}

async fn body_length() -> Outcome {
    let (request, sent) = post(fields(&[("content-length", "9")])?, stream_of(b"some text".to_vec()), no_trailers())?;
    let response = client::send(request).await.good()?;
    same!(values(&response.get_headers(), "x-echo-content-length"), "9");
    same!(read(response).await.good()?.0, "some text");
    sent.await.good()
}

/// Sends a request whose body is not as long as it says.
async fn wrong_length(said: &str) -> Result<(Result<Response, ErrorCode>, Result<(), ErrorCode>), String> {
    let (request, sent) = post(fields(&[("content-length", said)])?, stream_of(b"some text".to_vec()), no_trailers())?;
    Ok(both(client::send(request), async { sent.await }).await)
}

async fn body_too_short() -> Outcome {
    let (response, sent) = wrong_length("100").await?;
    ensure!(response.is_err(), "it was answered");
    fails!(sent, ErrorCode::HttpRequestBodySize(Some(9)));
    Ok(())
}

async fn body_too_long() -> Outcome {
    let (_, sent) = wrong_length("4").await?;
    fails!(sent, ErrorCode::HttpRequestBodySize(Some(9)));
    Ok(())
}

/// The writer of a body learns that the request does not go out.
async fn body_refused() -> Outcome {
    let (mut to, contents) = wit_stream::new();
    let (request, sent) = post(Fields::new(), contents, no_trailers())?;
    request.set_authority(Some("127.0.0.1:1")).good()?;
    let (response, left) = both(client::send(request), async {
        let mut left = Vec::new();
        while left.is_empty() {
            left = to.write_all(vec![0; 100_000]).await;
        }
        left
    })
    .await;
    fails!(response, ErrorCode::ConnectionRefused);
    ensure!(!left.is_empty());
    // That it comes to an end is asked here, how it does elsewhere.
    _ = sent.await;
    Ok(())
}

/// A request that never went out was not transmitted.
async fn refused_result() -> Outcome {
    let (request, sent) = post(Fields::new(), stream_of(b"some text".to_vec()), no_trailers())?;
    request.set_authority(Some("127.0.0.1:1")).good()?;
    fails!(client::send(request).await, ErrorCode::ConnectionRefused);
    fails!(sent.await, ErrorCode::ConnectionRefused);
    Ok(())
}

/// The body's first piece is with the server before the second is written.
async fn body_as_it_comes() -> Outcome {
    let (mut to, contents) = wit_stream::new();
    let (request, sent) = post(Fields::new(), contents, no_trailers())?;
    let (response, left) = both(client::send(request), async { to.write_all(b"first".to_vec()).await.len() }).await;
    same!(left, 0);
    let (mut contents, trailing) = Response::consume_body(response.good()?, result(Ok(())));
    let mut first = Vec::new();
    while first.len() < 5 {
        first.push(contents.next().await.good()?);
    }
    same!(String::from_utf8_lossy(&first), "first");
    same!(to.write_all(b"second".to_vec()).await.len(), 0);
    drop(to);
    same!(text(contents, trailing).await.good()?.0, "second");
    sent.await.good()
}

/// The stream of an answer is the body of the next request as it is.
async fn relay() -> Outcome {
    let (request, _) = post(Fields::new(), pieces(10_000, "some text "), no_trailers())?;
    let response = client::send(request).await.good()?;
    let (contents, trailing) = Response::consume_body(response, result(Ok(())));
    let (request, sent) = post(Fields::new(), contents, trailing)?;
    let response = client::send(request).await.good()?;
    same!(read(response).await.good()?.0.len(), 100_000);
    sent.await.good()
}

async fn response_trailers() -> Outcome {
    let response = client::send(get("/trailers")?).await.good()?;
    same!(response.get_status_code(), 200);
    let (_, trailers) = read(response).await.good()?;
    same!(values(&trailers.good()?, "x-trailer"), "yes");
    Ok(())
}

async fn response_early_end() -> Outcome {
    let (request, _sent) = post(Fields::new(), pieces(10_000, "some text "), no_trailers())?;
    let response = client::send(request).await.good()?;
    let (mut contents, _trailing) = Response::consume_body(response, result(Ok(())));
    ensure!(contents.next().await.is_some());
    drop(contents);
    // Others are not concerned.
    same!(client::send(get("/")?).await.good()?.get_status_code(), 200);
    Ok(())
}

/// That the reader found a fault does not keep it from the rest.
async fn response_result() -> Outcome {
    let (request, _sent) = post(Fields::new(), pieces(10, "some text "), no_trailers())?;
    let response = client::send(request).await.good()?;
    let (contents, trailing) = Response::consume_body(response, result(Err(ErrorCode::HttpProtocolError)));
    same!(text(contents, trailing).await.good()?.0, "some text ".repeat(10));
    Ok(())
}

async fn request_trailers() -> Outcome {
    let trailing = trailers(Ok(Some(fields(&[("x-end", "yes")])?)));
    let (request, sent) = post(fields(&[("trailer", "x-end")])?, pieces(10, "some text "), trailing)?;
    let response = client::send(request).await.good()?;
    same!(read(response).await.good()?.0, "some text ".repeat(10));
    sent.await.good()
}

/// Sends a body that ends with an error; returns the outcomes of the response and of the transmission.
async fn broken_off() -> Result<(Result<(), ErrorCode>, Result<(), ErrorCode>), String> {
    let trailing = trailers(Err(ErrorCode::InternalError(Some("on purpose".into()))));
    let (request, sent) = post(Fields::new(), pieces(10, "some text "), trailing)?;
    let (response, sent) = both(client::send(request), async { sent.await }).await;
    let read = match response {
        Ok(response) => read(response).await.map(|_| ()),
        Err(error) => Err(error),
    };
    Ok((read, sent))
}

/// A body that ends with an error takes the connection with it.
async fn request_trailers_error() -> Outcome {
    let (answer, _) = broken_off().await?;
    ensure!(answer.is_err(), "the server took it for a whole request");
    Ok(())
}

async fn request_trailers_error_result() -> Outcome {
    let (_, sent) = broken_off().await?;
    ensure!(sent.is_err(), "it is said to have been transmitted");
    Ok(())
}
