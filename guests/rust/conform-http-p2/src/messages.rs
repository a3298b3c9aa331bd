//! wasi:http/types: requests, their options and responses, as long as they stay here.

use wasip2::http::types::{Fields, Method, OutgoingRequest, OutgoingResponse, RequestOptions, Scheme};

use crate::Test;
use crate::conform::Check;
use crate::fields::list;

pub const TESTS: &[Test] = &[
    Test::new(
        "outgoing-request",
        request,
        &[
            "wasi:http/types#[constructor]outgoing-request",
            "wasi:http/types#[method]outgoing-request.headers",
            "wasi:http/types#[method]outgoing-request.body",
        ],
    ),
    Test::new(
        "outgoing-request-method",
        method,
        &["wasi:http/types#[method]outgoing-request.method", "wasi:http/types#[method]outgoing-request.set-method"],
    ),
    Test::new(
        "outgoing-request-path",
        path,
        &[
            "wasi:http/types#[method]outgoing-request.path-with-query",
            "wasi:http/types#[method]outgoing-request.set-path-with-query",
        ],
    ),
    Test::new(
        "outgoing-request-scheme",
        scheme,
        &["wasi:http/types#[method]outgoing-request.scheme", "wasi:http/types#[method]outgoing-request.set-scheme"],
    ),
    Test::new("outgoing-request-scheme-start", scheme_start, &["wasi:http/types#[method]outgoing-request.set-scheme"]),
    Test::new(
        "outgoing-request-authority",
        authority,
        &[
            "wasi:http/types#[method]outgoing-request.authority",
            "wasi:http/types#[method]outgoing-request.set-authority",
        ],
    ),
    Test::new(
        "request-options",
        options,
        &[
            "wasi:http/types#[constructor]request-options",
            "wasi:http/types#[method]request-options.connect-timeout",
            "wasi:http/types#[method]request-options.set-connect-timeout",
            "wasi:http/types#[method]request-options.first-byte-timeout",
            "wasi:http/types#[method]request-options.set-first-byte-timeout",
            "wasi:http/types#[method]request-options.between-bytes-timeout",
            "wasi:http/types#[method]request-options.set-between-bytes-timeout",
        ],
    ),
    Test::new(
        "outgoing-response",
        response,
        &[
            "wasi:http/types#[constructor]outgoing-response",
            "wasi:http/types#[method]outgoing-response.status-code",
            "wasi:http/types#[method]outgoing-response.set-status-code",
            "wasi:http/types#[method]outgoing-response.headers",
            "wasi:http/types#[method]outgoing-response.body",
        ],
    ),
];

fn new() -> OutgoingRequest {
    OutgoingRequest::new(Fields::new())
}

fn request() -> Check {
    let pairs = list(&[("x-a", "1"), ("x-b", "2")]);
    let request = OutgoingRequest::new(ok!(Fields::from_list(&pairs)));
    let mut entries = request.headers().entries();
    entries.sort();
    equal!(entries, pairs);
    ensure!(matches!(request.method(), Method::Get));
    ensure!(request.path_with_query().is_none() && request.scheme().is_none() && request.authority().is_none());
    let body = ok!(request.body());
    fails!(request.body(), ());
    drop(body);
    fails!(request.body(), ());
    Ok(())
}

fn method() -> Check {
    let request = new();
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
        Method::Other("PURGE".into()),
    ];
    for method in all {
        ok!(request.set_method(&method));
        equal!(format!("{:?}", request.method()), format!("{method:?}"));
    }
    for wrong in ["", "two words", "a\nb", "ü"] {
        fails!(request.set_method(&Method::Other(wrong.into())), ());
    }
    ensure!(matches!(request.method(), Method::Other(name) if name == "PURGE"));
    Ok(())
}

fn path() -> Check {
    let request = new();
    for path in ["/", "/a/b?c=d&e=%20f", "/?", "/a?b?c"] {
        ok!(request.set_path_with_query(Some(path)));
        equal!(request.path_with_query().as_deref(), Some(path));
    }
    for wrong in ["/two words", "/a\nb", "/\0"] {
        fails!(request.set_path_with_query(Some(wrong)), ());
    }
    equal!(request.path_with_query().as_deref(), Some("/a?b?c"));
    ok!(request.set_path_with_query(None));
    ensure!(request.path_with_query().is_none());
    Ok(())
}

fn scheme() -> Check {
    let request = new();
    for scheme in [Scheme::Http, Scheme::Https, Scheme::Other("ftp+x".into())] {
        ok!(request.set_scheme(Some(&scheme)));
        equal!(format!("{:?}", request.scheme()), format!("{:?}", Some(scheme)));
    }
    for wrong in ["two words", "a:b", "a/b", "ü"] {
        fails!(request.set_scheme(Some(&Scheme::Other(wrong.into()))), ());
    }
    ensure!(matches!(request.scheme(), Some(Scheme::Other(name)) if name == "ftp+x"));
    ok!(request.set_scheme(None));
    ensure!(request.scheme().is_none());
    Ok(())
}

/// A scheme begins with a letter.
fn scheme_start() -> Check {
    for wrong in ["", "1a", "+a"] {
        fails!(new().set_scheme(Some(&Scheme::Other(wrong.into()))), ());
    }
    Ok(())
}

fn authority() -> Check {
    let request = new();
    for authority in ["example.com", "example.com:80", "127.0.0.1:1", "[::1]:80"] {
        ok!(request.set_authority(Some(authority)));
        equal!(request.authority().as_deref(), Some(authority));
    }
    for wrong in ["two words", "a/b", "[::1", "a\nb"] {
        fails!(request.set_authority(Some(wrong)), ());
    }
    equal!(request.authority().as_deref(), Some("[::1]:80"));
    ok!(request.set_authority(None));
    ensure!(request.authority().is_none());
    Ok(())
}

fn options() -> Check {
    let options = RequestOptions::new();
    let times = || [options.connect_timeout(), options.first_byte_timeout(), options.between_bytes_timeout()];
    let all_but = |at: usize, time| std::array::from_fn(|number| if number == at { time } else { None });
    equal!(times(), [None; 3]);
    let setters = [
        RequestOptions::set_connect_timeout,
        RequestOptions::set_first_byte_timeout,
        RequestOptions::set_between_bytes_timeout,
    ];
    for (at, set) in setters.into_iter().enumerate() {
        for time in [1, 5_000_000_000, 86_400_000_000_000] {
            // A host may say that it does not know this one; then nothing has changed.
            let set: Result<(), ()> = set(&options, Some(time));
            let wanted: [_; 3] = all_but(at, set.is_ok().then_some(time));
            equal!(times(), wanted);
        }
        set(&options, None).ok();
        equal!(times(), [None; 3]);
    }
    Ok(())
}

fn response() -> Check {
    let pairs = list(&[("x-a", "1"), ("x-b", "2")]);
    let response = OutgoingResponse::new(ok!(Fields::from_list(&pairs)));
    let mut entries = response.headers().entries();
    entries.sort();
    equal!(entries, pairs);
    equal!(response.status_code(), 200);
    for status in [100, 204, 404, 503, 599] {
        ok!(response.set_status_code(status));
        equal!(response.status_code(), status);
    }
    for wrong in [0, 99, 1000, 65535] {
        fails!(response.set_status_code(wrong), ());
    }
    equal!(response.status_code(), 599);
    let body = ok!(response.body());
    fails!(response.body(), ());
    drop(body);
    Ok(())
}
