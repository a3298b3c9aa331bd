//! wasi:http/types: the bodies of requests and of answers, their trailers, and how they fail.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, OutgoingResponse, http_error_code,
};
use wasip2::io::streams::StreamError;

use crate::Test;
use crate::ask::{answer, ask, echo, read, request};
use crate::bytes::{pattern, read_all, write_all};
use crate::conform::Check;
use crate::fields::{check_immutable, list};

pub const TESTS: &[Test] = &[
    Test::new(
        "body-echo",
        echoed,
        &["wasi:http/types#[method]outgoing-body.write", "wasi:http/types#[static]outgoing-body.finish"],
    ),
    Test::new("body-content-length", content_length, &["wasi:http/types#[static]outgoing-body.finish"]),
    Test::new("body-streaming", streaming, &["wasi:http/types#[method]outgoing-body.write"]),
    Test::new(
        "body-once",
        once,
        &["wasi:http/types#[method]outgoing-body.write", "wasi:http/types#[method]incoming-body.stream"],
    ),
    Test::new(
        "body-trailers",
        trailers,
        &[
            "wasi:http/types#[static]incoming-body.finish",
            "wasi:http/types#[method]future-trailers.subscribe",
            "wasi:http/types#[method]future-trailers.get",
        ],
    ),
    Test::new("body-no-trailers", no_trailers, &["wasi:http/types#[method]future-trailers.get"]),
    Test::new("body-request-trailers", request_trailers, &["wasi:http/types#[static]outgoing-body.finish"]),
    Test::new("body-too-short", too_short, &["wasi:http/types#[static]outgoing-body.finish"]),
    Test::new("body-too-long", too_long, &["wasi:http/types#http-error-code"]),
    Test::new("body-unread", unread, &["wasi:http/types#[static]incoming-body.finish"]),
];

fn echoed() -> Check {
    for length in [0, 1, 4096, 1 << 20] {
        let bytes = pattern(length);
        let reply = ask(request(&echo()?, &Method::Post, "/", &[])?, Some(&bytes))?;
        equal!(reply.status, 200);
        ensure!(reply.body == bytes);
    }
    Ok(())
}

/// The last byte that was announced ends the body: the stream may be closed from then on, and nothing has failed.
fn content_length() -> Check {
    let request = request(&echo()?, &Method::Post, "/", &[("content-length", "11")])?;
    let body = ok!(request.body());
    let future = ok!(handle(request, None));
    let to = ok!(body.write());
    ok!(to.blocking_write_and_flush(b"hello "));
    ok!(to.blocking_write_and_flush(b"world"));
    drop(to);
    ok!(OutgoingBody::finish(body, None));
    let reply = read(&ok!(answer(&future)?))?;
    equal!(reply.header("x-echo-content-length"), "11");
    equal!(reply.body, b"hello world");
    Ok(())
}

/// The body comes in pieces, after the request was sent.
fn streaming() -> Check {
    let request = request(&echo()?, &Method::Post, "/", &[])?;
    let body = ok!(request.body());
    let future = ok!(handle(request, None));
    let to = ok!(body.write());
    for piece in ["one ", "two ", "three"] {
        subscribe_duration(10_000_000).block();
        ok!(to.blocking_write_and_flush(piece.as_bytes()));
    }
    drop(to);
    ok!(OutgoingBody::finish(body, None));
    equal!(read(&ok!(answer(&future)?))?.body, b"one two three");
    Ok(())
}

/// Streams are given out once.
fn once() -> Check {
    let request = request(&echo()?, &Method::Post, "/", &[])?;
    let body = ok!(request.body());
    let to = ok!(body.write());
    fails!(body.write(), ());
    let future = ok!(handle(request, None));
    write_all(&to, b"hello")?;
    drop(to);
    fails!(body.write(), ());
    ok!(OutgoingBody::finish(body, None));
    let response = ok!(answer(&future)?);
    let body = ok!(response.consume());
    fails!(response.consume(), ());
    let from = ok!(body.stream());
    fails!(body.stream(), ());
    equal!(read_all(&from)?, b"hello");
    drop(from);
    fails!(body.stream(), ());
    drop(IncomingBody::finish(body));
    Ok(())
}

fn trailers() -> Check {
    let future = ok!(handle(request(&echo()?, &Method::Get, "/trailers", &[("te", "trailers")])?, None));
    let response = ok!(answer(&future)?);
    let body = ok!(response.consume());
    let from = ok!(body.stream());
    read_all(&from)?;
    drop(from);
    let future = IncomingBody::finish(body);
    let ready = future.subscribe();
    ready.block();
    ensure!(ready.ready());
    let fields = some!(ok!(ok!(some!(future.get()))));
    equal!(fields.get("x-trailer"), [b"yes"]);
    check_immutable(&fields)?;
    // They are given once.
    ensure!(matches!(future.get(), Some(Err(()))));
    Ok(())
}

fn no_trailers() -> Check {
    let future = ok!(handle(request(&echo()?, &Method::Get, "/", &[])?, None));
    let response = ok!(answer(&future)?);
    let body = ok!(response.consume());
    read_all(&ok!(body.stream()))?;
    let future = IncomingBody::finish(body);
    future.subscribe().block();
    let fields = ok!(ok!(some!(future.get())));
    ensure!(fields.is_none_or(|fields| fields.entries().is_empty()));
    Ok(())
}

fn request_trailers() -> Check {
    let request = request(&echo()?, &Method::Post, "/", &[("trailer", "x-sum")])?;
    let body = ok!(request.body());
    let future = ok!(handle(request, None));
    write_all(&ok!(body.write()), b"hello")?;
    ok!(OutgoingBody::finish(body, Some(ok!(Fields::from_list(&list(&[("x-sum", "5")]))))));
    equal!(read(&ok!(answer(&future)?))?.body, b"hello");
    Ok(())
}

/// Less than the length that was announced, in a request and in an answer.
fn too_short() -> Check {
    let headers = || Fields::from_list(&list(&[("content-length", "5")]));
    let response = OutgoingResponse::new(ok!(headers()));
    let body = ok!(response.body());
    fails!(OutgoingBody::finish(body, None), ErrorCode::HttpResponseBodySize(_));
    let request = OutgoingRequest::new(ok!(headers()));
    let body = ok!(request.body());
    let to = ok!(body.write());
    ensure!(ok!(to.check_write()) >= 2);
    ok!(to.write(b"he"));
    drop(to);
    fails!(OutgoingBody::finish(body, None), ErrorCode::HttpRequestBodySize(_));
    Ok(())
}

/// More than the length that was announced.
fn too_long() -> Check {
    let request = request(&echo()?, &Method::Post, "/", &[("content-length", "1")])?;
    let body = ok!(request.body());
    let _future = ok!(handle(request, None));
    let to = ok!(body.write());
    match to.blocking_write_and_flush(b"hello") {
        Err(StreamError::LastOperationFailed(error)) => {
            ensure!(!error.to_debug_string().is_empty());
            ensure!(matches!(http_error_code(&error), Some(ErrorCode::HttpRequestBodySize(_))));
        }
        other => return Err(format!("a body that is too long gave {other:?}")),
    }
    drop(to);
    fails!(OutgoingBody::finish(body, None), ErrorCode::HttpRequestBodySize(_));
    Ok(())
}

/// A body of which only a part is read, and one of which nothing is.
fn unread() -> Check {
    let bytes = pattern(100_000);
    let post = |path| -> Result<_, String> {
        let request = request(&echo()?, &Method::Post, path, &[])?;
        let body = ok!(request.body());
        let future = ok!(handle(request, None));
        write_all(&ok!(body.write()), &bytes)?;
        ok!(OutgoingBody::finish(body, None));
        Ok(ok!(answer(&future)?))
    };
    let response = post("/")?;
    let body = ok!(response.consume());
    let from = ok!(body.stream());
    ensure!(!ok!(from.blocking_read(10)).is_empty());
    drop(from);
    drop(IncomingBody::finish(body));
    drop(post("/")?);
    // The next exchange goes as if nothing had been.
    equal!(ask(request(&echo()?, &Method::Post, "/", &[])?, Some(b"next"))?.body, b"next");
    Ok(())
}
