//! wasi:http/outgoing-handler: requests to a server that echoes, and their answers.

use wasip2::clocks::monotonic_clock::now;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{ErrorCode, Fields, Method, OutgoingRequest, RequestOptions, Scheme};
use wasip2::io::poll::poll;

use crate::Test;
use crate::ask::{answer, ask, echo, read, request, send};
use crate::conform::Check;
use crate::fields::check_immutable;

pub const TESTS: &[Test] = &[
    Test::new(
        "exchange-get",
        get,
        &[
            "wasi:http/outgoing-handler#handle",
            "wasi:http/types#[method]incoming-response.status",
            "wasi:http/types#[method]incoming-response.headers",
            "wasi:http/types#[method]incoming-response.consume",
        ],
    ),
    Test::new("exchange-methods", methods, &["wasi:http/outgoing-handler#handle"]),
    Test::new("exchange-default-path", default_path, &["wasi:http/outgoing-handler#handle"]),
    Test::new(
        "exchange-future",
        future,
        &[
            "wasi:http/types#[method]future-incoming-response.subscribe",
            "wasi:http/types#[method]future-incoming-response.get",
        ],
    ),
    Test::new("exchange-timeout", timeout, &["wasi:http/types#[method]request-options.set-first-byte-timeout"]),
    Test::new("exchange-options", options, &["wasi:http/outgoing-handler#handle"]),
    Test::new("exchange-refused", refused, &["wasi:http/outgoing-handler#handle"]),
    Test::new("exchange-invalid", invalid, &["wasi:http/outgoing-handler#handle"]),
    Test::new("exchange-many", many, &["wasi:http/types#[method]future-incoming-response.subscribe"]),
];

fn get() -> Check {
    let headers = [("x-one", "1"), ("x-two", "a"), ("x-two", "b")];
    let asked = request(&echo()?, &Method::Get, "/some/path?with=query", &headers)?;
    let response = ok!(send(asked, None)?);
    equal!(response.status(), 200);
    check_immutable(&response.headers())?;
    let reply = read(&response)?;
    fails!(response.consume(), ());
    equal!(reply.header("x-echo-method"), "GET");
    equal!(reply.header("x-echo-path"), "/some/path?with=query");
    equal!(reply.header("x-echo-x-one"), "1");
    equal!(reply.header("x-echo-x-two"), "a, b");
    equal!(reply.header("x-echo-host"), echo()?);
    ensure!(reply.body.is_empty());
    Ok(())
}

fn methods() -> Check {
    let all = [
        (Method::Post, "POST"),
        (Method::Put, "PUT"),
        (Method::Delete, "DELETE"),
        (Method::Options, "OPTIONS"),
        (Method::Patch, "PATCH"),
        (Method::Other("PURGE".into()), "PURGE"),
        // One of the known methods under the name of another.
        (Method::Other("GET".into()), "GET"),
    ];
    for (method, name) in all {
        let body = (name == "POST" || name == "PUT" || name == "PATCH").then_some(&b"body"[..]);
        let reply = ask(request(&echo()?, &method, "/", &[])?, body)?;
        equal!(reply.header("x-echo-method"), name);
        equal!(reply.body, body.unwrap_or_default());
    }
    // An answer without a body, whatever its headers say.
    let reply = ask(request(&echo()?, &Method::Head, "/", &[])?, None)?;
    equal!((reply.status, reply.body.len()), (200, 0));
    Ok(())
}

fn default_path() -> Check {
    let request = OutgoingRequest::new(Fields::new());
    ok!(request.set_scheme(Some(&Scheme::Http)));
    ok!(request.set_authority(Some(&echo()?)));
    let reply = ask(request, None)?;
    equal!(reply.header("x-echo-method"), "GET");
    equal!(reply.header("x-echo-path"), "/");
    Ok(())
}

fn future() -> Check {
    let future = ok!(handle(request(&echo()?, &Method::Get, "/slow", &[])?, None));
    ensure!(future.get().is_none());
    let ready = future.subscribe();
    ensure!(!ready.ready());
    ready.block();
    ensure!(ready.ready());
    let response = ok!(ok!(some!(future.get())));
    equal!(response.status(), 200);
    // The answer is given once.
    ensure!(matches!(future.get(), Some(Err(()))));
    future.subscribe().block();
    Ok(())
}

fn timeout() -> Check {
    let options = RequestOptions::new();
    ok!(options.set_first_byte_timeout(Some(30_000_000)));
    let start = now();
    let late = send(request(&echo()?, &Method::Get, "/slow", &[])?, Some(options))?;
    ensure!(now() - start >= 30_000_000);
    use ErrorCode::{ConnectionReadTimeout, ConnectionTimeout, HttpResponseTimeout};
    fails!(late, ConnectionReadTimeout | ConnectionTimeout | HttpResponseTimeout);
    Ok(())
}

/// Times that are long enough change nothing.
fn options() -> Check {
    let options = RequestOptions::new();
    options.set_connect_timeout(Some(20_000_000_000)).ok();
    options.set_first_byte_timeout(Some(20_000_000_000)).ok();
    options.set_between_bytes_timeout(Some(20_000_000_000)).ok();
    let response = ok!(send(request(&echo()?, &Method::Get, "/slow", &[])?, Some(options))?);
    equal!(read(&response)?.header("x-echo-path"), "/slow");
    Ok(())
}

/// The first port has no listener.
fn refused() -> Check {
    fails!(send(request("127.0.0.1:1", &Method::Get, "/", &[])?, None)?, ErrorCode::ConnectionRefused);
    Ok(())
}

/// What `handle` has to reject, at once or through the future.
fn invalid() -> Check {
    let without_authority = OutgoingRequest::new(Fields::new());
    ok!(without_authority.set_scheme(Some(&Scheme::Http)));
    ok!(without_authority.set_path_with_query(Some("/")));
    ensure!(send(without_authority, None)?.is_err());
    let unknown = request(&echo()?, &Method::Get, "/", &[])?;
    ok!(unknown.set_scheme(Some(&Scheme::Other("ftp".into()))));
    ensure!(send(unknown, None)?.is_err());
    let bodiless = request(&echo()?, &Method::Post, "/", &[("content-length", "5")])?;
    ensure!(send(bodiless, None)?.is_err());
    Ok(())
}

/// Twenty at once; the answers come as they come, each to its own request.
fn many() -> Check {
    let mut futures = Vec::new();
    for number in 0..20 {
        let path = if number % 2 == 0 { format!("/slow?{number}") } else { format!("/?{number}") };
        futures.push((ok!(handle(request(&echo()?, &Method::Get, &path, &[])?, None)), path));
    }
    while !futures.is_empty() {
        let ready: Vec<_> = futures.iter().map(|(future, _)| future.subscribe()).collect();
        let mut came = poll(&ready.iter().collect::<Vec<_>>());
        drop(ready);
        ensure!(!came.is_empty());
        came.sort_unstable();
        for at in came.into_iter().rev() {
            let (future, path) = futures.remove(at as usize);
            equal!(read(&ok!(answer(&future)?))?.header("x-echo-path"), path);
        }
    }
    Ok(())
}
