//! An HTTP server that echoes requests.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

/// Starts the server and returns its authority. A response has the method, path and headers of the request as `x-echo-…`
/// headers, and streams back its body. `/slow` responds after a second, `/trailers` with trailers.
pub async fn start() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serve =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            // Some tests disconnect, so an error is expected.
            tokio::spawn(async move { serve.await.ok() });
        }
    });
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, hyper::Error>>, Infallible> {
    let (head, body) = request.into_parts();
    if head.uri.path().starts_with("/slow") {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut response = Response::builder().header("x-echo-method", head.method.as_str());
    response = response.header("x-echo-path", head.uri.path_and_query().map_or("", |path| path.as_str()));
    for (name, value) in &head.headers {
        response = response.header(format!("x-echo-{name}"), value);
    }
    let body = if head.uri.path().starts_with("/trailers") {
        response = response.header("trailer", "x-trailer");
        let trailers = HeaderMap::from_iter([("x-trailer".parse().unwrap(), HeaderValue::from_static("yes"))]);
        // The request's own trailers are dropped.
        let data = body.map_frame(|frame| {
            frame.into_data().map_or_else(|_| hyper::body::Frame::data(Bytes::new()), hyper::body::Frame::data)
        });
        data.with_trailers(async { Some(Ok(trailers)) }).boxed()
    } else {
        body.boxed()
    };
    Ok(response.body(body).unwrap())
}
