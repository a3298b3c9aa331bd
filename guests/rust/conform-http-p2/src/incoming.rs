//! wasi:http/incoming-handler: the request that asks for the test.

use wasip2::http::types::{IncomingBody, IncomingRequest, Method, Scheme};

use crate::Test;
use crate::ask::{ask, request as to, trailers};
use crate::bytes::read_all;
use crate::conform::Check;
use crate::fields::check_immutable;

pub const TESTS: &[Test] = &[
    Test::asked(
        "incoming-request",
        request,
        &[
            "wasi:http/incoming-handler#handle",
            "wasi:http/types#[method]incoming-request.method",
            "wasi:http/types#[method]incoming-request.path-with-query",
            "wasi:http/types#[method]incoming-request.scheme",
            "wasi:http/types#[method]incoming-request.authority",
            "wasi:http/types#[method]incoming-request.headers",
            "wasi:http/types#[method]incoming-request.consume",
        ],
    ),
    Test::asked(
        "incoming-body",
        body,
        &[
            "wasi:http/types#[method]incoming-request.consume",
            "wasi:http/types#[method]incoming-body.stream",
            "wasi:http/types#[static]incoming-body.finish",
        ],
    ),
    Test::asked(
        "incoming-seen",
        seen,
        &[
            "wasi:http/types#[method]incoming-request.method",
            "wasi:http/types#[method]incoming-request.path-with-query",
            "wasi:http/types#[method]incoming-request.headers",
        ],
    ),
];

fn request(request: IncomingRequest) -> Check {
    ensure!(matches!(request.method(), Method::Get | Method::Post));
    let path = some!(request.path_with_query());
    equal!(path.split('?').next(), Some("/incoming-request"));
    ensure!(matches!(request.scheme(), Some(Scheme::Http | Scheme::Https)));
    ensure!(!some!(request.authority()).is_empty());
    let headers = request.headers();
    check_immutable(&headers)?;
    // They may be asked for again.
    equal!(request.headers().entries(), headers.entries());
    drop(headers);
    let body = ok!(request.consume());
    fails!(request.consume(), ());
    drop(body);
    fails!(request.consume(), ());
    Ok(())
}

fn body(request: IncomingRequest) -> Check {
    let length = request.headers().get("content-length").pop();
    let body = ok!(request.consume());
    let from = ok!(body.stream());
    fails!(body.stream(), ());
    let bytes = read_all(&from)?;
    if let Some(length) = length {
        equal!(String::from_utf8_lossy(&length), bytes.len().to_string());
    }
    drop(from);
    trailers(&IncomingBody::finish(body))?;
    Ok(())
}

/// Sends a request to itself, so that the test knows what arrives: the response describes it.
fn seen(request: IncomingRequest) -> Check {
    if request.path_with_query().as_deref() == Some("/incoming-seen?by=itself") {
        ensure!(matches!(request.method(), Method::Other(name) if name == "PURGE"));
        equal!(request.headers().get("x-asked"), [b"by itself"]);
        let body = ok!(request.consume());
        let from = ok!(body.stream());
        equal!(read_all(&from)?, b"a body");
        drop(from);
        trailers(&IncomingBody::finish(body))?;
        return Ok(());
    }
    let here = some!(request.authority());
    let purge = Method::Other("PURGE".into());
    let reply = ask(to(&here, &purge, "/incoming-seen?by=itself", &[("x-asked", "by itself")])?, Some(b"a body"))?;
    equal!((reply.status, String::from_utf8_lossy(&reply.body)), (200, "ok".into()));
    Ok(())
}
