//! wasi:http/types: the ways to answer.
//!
//! A handler cannot see what comes of its answer. So these tests ask their own server for `/answers/WAY`, whose handler
//! answers in that way, and look at what came.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam, http_error_code,
};
use wasip2::io::error::Error;
use wasip2::io::streams::StreamError;

use crate::Test;
use crate::ask::{Reply, ask, request, send};
use crate::bytes::write_all;
use crate::conform::Check;
use crate::fields::list;

pub const TESTS: &[Test] = &[
    Test::asked(
        "answer-whole",
        whole,
        &["wasi:http/types#[static]response-outparam.set", "wasi:http/types#[constructor]outgoing-response"],
    ),
    Test::asked(
        "answer-empty",
        empty,
        &["wasi:http/types#[static]response-outparam.set", "wasi:http/types#[method]outgoing-response.set-status-code"],
    ),
    Test::asked("answer-error", error, &["wasi:http/types#[static]response-outparam.set"]),
    Test::asked("answer-none", none, &["wasi:http/incoming-handler#handle"]),
    Test::asked(
        "answer-trailers",
        trailers,
        &["wasi:http/types#[static]outgoing-body.finish", "wasi:http/types#[method]future-trailers.get"],
    ),
    Test::asked("answer-broken-off", broken_off, &["wasi:http/types#[method]incoming-body.stream"]),
    Test::asked("answer-broken-off-code", broken_off_code, &["wasi:http/types#http-error-code"]),
];

/// Answers in the way that one of the tests asks for.
pub fn answer(way: &str, out: ResponseOutparam) {
    let headers = match way {
        "whole" => list(&[("x-answer", "whole"), ("content-length", "5")]),
        "trailers" => list(&[("trailer", "x-sum")]),
        _ => Vec::new(),
    };
    let response = OutgoingResponse::new(Fields::from_list(&headers).unwrap());
    let body = response.body().unwrap();
    match way {
        "whole" => response.set_status_code(201).unwrap(),
        "empty" => response.set_status_code(204).unwrap(),
        "error" => return ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("asked for".into())))),
        // It gives `out` up without an answer.
        "none" => return,
        _ => {}
    }
    ResponseOutparam::set(out, Ok(response));
    if way != "empty" {
        let to = body.write().unwrap();
        write_all(&to, b"hello").unwrap();
    }
    match way {
        // Dropped without its end, but not before what was written has gone.
        "broken-off" => subscribe_duration(100_000_000).block(),
        "trailers" => {
            let fields = Fields::from_list(&list(&[("x-sum", "5")])).unwrap();
            OutgoingBody::finish(body, Some(fields)).unwrap();
        }
        _ => OutgoingBody::finish(body, None).unwrap(),
    }
}

fn get(asked: &IncomingRequest, way: &str) -> Result<Reply, String> {
    let here = some!(asked.authority());
    ask(request(&here, &Method::Get, &format!("/answers/{way}"), &[("te", "trailers")])?, None)
}

fn whole(asked: IncomingRequest) -> Check {
    let reply = get(&asked, "whole")?;
    equal!((reply.status, reply.header("x-answer").as_str()), (201, "whole"));
    equal!(reply.header("content-length"), "5");
    equal!(reply.body, b"hello");
    Ok(())
}

fn empty(asked: IncomingRequest) -> Check {
    let reply = get(&asked, "empty")?;
    equal!((reply.status, reply.body.len()), (204, 0));
    Ok(())
}

/// The host decides how it says so, but it must be an error.
fn error(asked: IncomingRequest) -> Check {
    ensure!((500..600).contains(&get(&asked, "error")?.status));
    Ok(())
}

fn none(asked: IncomingRequest) -> Check {
    ensure!((500..600).contains(&get(&asked, "none")?.status));
    Ok(())
}

fn trailers(asked: IncomingRequest) -> Check {
    let reply = get(&asked, "trailers")?;
    equal!(reply.body, b"hello");
    equal!(reply.trailer("x-sum"), "5");
    Ok(())
}

/// What reading a body gives that has no end.
fn read_broken_off(asked: &IncomingRequest) -> Result<Error, String> {
    let here = some!(asked.authority());
    let response = ok!(send(request(&here, &Method::Get, "/answers/broken-off", &[])?, None)?);
    let body = ok!(response.consume());
    let from = ok!(body.stream());
    let mut bytes = Vec::new();
    loop {
        match from.blocking_read(100) {
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed) => return Err("the body came to an end".into()),
            Err(StreamError::LastOperationFailed(error)) => {
                equal!(bytes, b"hello");
                fails!(from.read(1), StreamError::Closed);
                return Ok(error);
            }
        }
    }
}

/// It must not look like one that has an end.
fn broken_off(asked: IncomingRequest) -> Check {
    ensure!(!read_broken_off(&asked)?.to_debug_string().is_empty());
    Ok(())
}

/// The error is one of HTTP.
fn broken_off_code(asked: IncomingRequest) -> Check {
    ensure!(http_error_code(&read_broken_off(&asked)?).is_some());
    Ok(())
}
