//! A client that reuses a connection receives its own responses, each from the first byte to the last, whatever a
//! component writes as its response.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fmt::Write as _;

use bytes::Bytes;
use http::Request;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::http1_client::{Http1Client, Received, Response};
use support::{TIMEOUT, TestServer};

const GUESTS: [(&str, &str); 3] =
    [("script-p2", ""), ("script-p3", ""), ("script-p3", "instances = { mode = 'reuse' }")];
/// A short time limit for scripts that wait without end.
const LIMITS: &str = "limits = { time = '500ms', memory = '16MiB' }\n";

async fn start(guest: &str, mode: &str) -> TestServer {
    TestServer::with_guest(guest, &format!("{LIMITS}{mode}")).await
}

fn hex(text: impl AsRef<[u8]>) -> String {
    text.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// A script that declares a `content-length` and writes `written` bytes.
fn declares(length: usize, written: usize, end: &str) -> String {
    format!("header content-length {}; body; write {written}; {end}", hex(length.to_string()))
}

fn request(method: &str, script: &str) -> Vec<u8> {
    format!("{method} / HTTP/1.1\r\nhost: w.test\r\nx-script: {script}\r\n\r\n").into_bytes()
}

const HELLO: &[u8] = b"GET / HTTP/1.1\r\nhost: neighbour.test\r\nconnection: close\r\n\r\n";

fn is_hello(read: &Received) -> bool {
    matches!(read, Received::Complete(Response { status: 200, headers, body })
        if body == b"Hello from WASI 0.2\n" && headers.iter().all(|(name, _)| name != "x-forged"))
}

/// Requests a script's response and then the neighbour's, on one connection.
async fn ask(server: &TestServer, method: &str, script: &str) -> Received {
    let mut client = Http1Client::connect(server.http.local_addr()).await;
    client.send(&[&request(method, script), HELLO].concat()).await;
    let first = client.read(method).await;
    if first != Received::Truncated {
        let second = client.read("GET").await;
        // A server may close the connection after a complete response.
        assert!(
            is_hello(&second) || second == Received::Truncated,
            "{method} {script}: {first:?}, and then {second:?}"
        );
        assert!(client.is_closed_and_empty().await, "{method} {script}: bytes after the last response");
    }
    first
}

fn status(read: &Received) -> u16 {
    match read {
        Received::Complete(response) => response.status,
        Received::Truncated => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_body_of_another_length_than_declared_is_502() {
    for (guest, mode) in GUESTS {
        let server = start(guest, mode).await;
        for end in [
            "respond; leak",
            "leak; respond",
            "drop-stream; drop-body; respond",
            "respond; finish",
            "respond; drop-stream",
        ] {
            for (length, written) in [(5, 59), (9, 5), (0, 59), (5, 0)] {
                let first = ask(&server, "GET", &declares(length, written, end)).await;
                // wasmtime-wasi-http discards a body of WASI 0.3 that declares length 0.
                let empty = length == 0 && matches!(&first, Received::Complete(response) if response.body.is_empty());
                assert!(
                    empty || [502, 0].contains(&status(&first)),
                    "{guest} {mode} {length} {written} {end}: {first:?}"
                );
            }
            let first = ask(&server, "GET", &declares(59, 59, end)).await;
            // A body of WASI 0.2 that is dropped before `finish` is incomplete.
            if guest == "script-p2" && end.contains("drop") {
                assert!([502, 0].contains(&status(&first)), "{end}: {first:?}");
                continue;
            }
            assert!(
                matches!(&first, Received::Complete(Response { status: 200, body, .. }) if body.len() == 59),
                "{first:?}"
            );
        }
    }
    // The body is complete before the head is sent.
    let server = start("script-p2", "").await;
    for (length, written) in [(5, 59), (9, 5)] {
        for end in ["leak; respond", "drop-body; respond"] {
            assert_eq!(status(&ask(&server, "GET", &declares(length, written, end)).await), 502, "{end}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_body_of_another_length_is_truncated() {
    for (guest, mode) in GUESTS {
        let server = start(guest, mode).await;
        for (length, written) in [(1005, 59), (70, 59)] {
            let script = format!(
                "header content-length {}; body; respond; write 10; sleep 30; write {written}",
                hex(length.to_string())
            );
            let first = ask(&server, "GET", &script).await;
            assert!(
                matches!(first, Received::Truncated) || status(&first) == 502,
                "{guest} {mode} {length}: {first:?}"
            );
        }
        let longer = format!("header content-length {}; body; respond; write 10; sleep 30; write 59", hex("12"));
        let first = ask(&server, "GET", &longer).await;
        assert!(matches!(first, Received::Truncated) || status(&first) == 502, "{guest} {mode}: {first:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_content_have_no_body() {
    for (guest, mode) in GUESTS {
        let server = start(guest, mode).await;
        for code in [204, 205, 304] {
            let first = ask(&server, "GET", &format!("status {code}; {}", declares(5, 59, "respond; finish"))).await;
            let Received::Complete(response) = first else { panic!("{guest} {mode} {code}: truncated") };
            assert_eq!((response.status, response.body.len()), (code, 0), "{guest} {mode}");
            let length = response.header("content-length");
            // 304 may declare the length of the 200 response (RFC 9110, section 8.6).
            let expected =
                if code == 205 { length == Some("0") } else { length.is_none_or(|l| code == 304 && l == "5") };
            assert!(expected, "{guest} {mode} {code}: {length:?}");
        }
        let Received::Complete(head) = ask(&server, "HEAD", &declares(5, 59, "respond; finish")).await else {
            panic!("truncated")
        };
        assert_eq!((head.status, head.header("content-length")), (200, Some("5")));
        for code in [100, 101, 103, 199] {
            let first = ask(&server, "GET", &format!("status {code}; body; respond; write 59; finish")).await;
            assert_eq!(status(&first), 502, "{guest} {mode}: {code} is not a final status");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ignores_framing_headers_of_components() {
    for (guest, mode) in GUESTS {
        let server = start(guest, mode).await;
        let framing =
            ["transfer-encoding chunked", "connection close", "connection upgrade", "upgrade h2c", "keep-alive x"];
        for header in framing {
            let (name, value) = header.split_once(' ').unwrap();
            let script = format!("header {name} {}; body; respond; write 59; finish", hex(value));
            let Received::Complete(response) = ask(&server, "GET", &script).await else {
                panic!("{header}: truncated")
            };
            assert_eq!((response.status, response.body.len()), (200, 59), "{guest} {mode} {header}");
            assert_ne!(response.header(name), Some(value), "{guest} {mode}");
        }
        for value in ["a\r\nx-forged: yes", "a\nx-forged: yes", "a\rb", "a\0b", "a\x1b[31m", "a\x7f"] {
            let script = format!("header x-value {}; body; respond; write 59; finish", hex(value));
            let Received::Complete(response) = ask(&server, "GET", &script).await else {
                panic!("{value:?}: truncated")
            };
            assert_eq!(
                (response.header("x-value"), response.header("x-forged")),
                (None, None),
                "{guest} {mode} {value:?}"
            );
        }
        // The guest cannot set a second length.
        let script = format!("header content-length {}; {}", hex("59"), declares(5, 59, "respond; finish"));
        let Received::Complete(response) = ask(&server, "GET", &script).await else { panic!("truncated") };
        assert_eq!((response.status, response.body.len()), (200, 59), "{guest} {mode}: the second length is refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removes_forbidden_trailers() {
    for (guest, mode) in GUESTS {
        let server = start(guest, mode).await;
        let script = format!(
            "trailer x-sum {}; trailer content-length {}; trailer set-cookie {}; body; respond; write 59; finish",
            hex("1"),
            hex("5"),
            hex("a=b")
        );
        let Received::Complete(response) = ask(&server, "GET", &script).await else { panic!("truncated") };
        assert_eq!(response.body.len(), 59);
        let mut h2 = server.connect_h2().await;
        let request = Request::get("http://w.test/").header("x-script", script).body(http_body_util::Full::default());
        let response = h2.send_request(request.unwrap()).await.unwrap();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        assert_eq!(trailers.get("x-sum").map(http::HeaderValue::as_bytes), Some(&b"1"[..]), "{guest} {mode}");
        assert!(!trailers.contains_key("content-length") && !trailers.contains_key("set-cookie"), "{trailers:?}");
    }
}

fn operation() -> impl Strategy<Value = String> {
    let length = prop_oneof![Just(0_usize), Just(5), Just(59), Just(118), 0..200_usize];
    prop_oneof![
        2 => Just("body".to_owned()),
        2 => Just("respond".to_owned()),
        4 => prop_oneof![Just(5_usize), Just(59), Just(118), 0..200_000_usize].prop_map(|n| format!("write {n}")),
        2 => length.prop_map(|n| format!("header content-length {}", hex(n.to_string()))),
        1 => Just(format!("header transfer-encoding {}", hex("chunked"))),
        1 => Just(format!("header x-value {}", hex("a\r\nx-forged: yes"))),
        1 => prop_oneof![Just(200_u16), Just(204), Just(205), Just(304), Just(101), Just(500), 0..1000_u16]
            .prop_map(|code| format!("status {code}")),
        1 => Just(format!("trailer x-sum {}", hex("1"))),
        1 => Just("flush".to_owned()),
        1 => Just("drop-stream".to_owned()),
        1 => Just("drop-body".to_owned()),
        1 => Just("leak".to_owned()),
        1 => Just("finish".to_owned()),
        1 => Just("sleep 3".to_owned()),
        1 => Just("error".to_owned()),
        1 => Just("trap".to_owned()),
    ]
}

fn scripts() -> impl Strategy<Value = (String, &'static str)> {
    let script = proptest::collection::vec(operation(), 0..12).prop_map(|ops| ops.join("; "));
    // Two of three scripts begin with operations that a response requires.
    let begun = prop_oneof![Just(""), Just("body; respond; "), Just("body; ")];
    let method = prop_oneof![4 => Just("GET"), 1 => Just("HEAD"), 1 => Just("DELETE")];
    (begun, script, method).prop_map(|(begun, script, method)| (format!("{begun}{script}"), method))
}

fn runner() -> TestRunner {
    TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() })
}

#[test]
fn no_script_affects_the_next_http1_response() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (guest, mode) in GUESTS {
        let server = runtime.block_on(start(guest, mode));
        let run = |(script, method): (String, &'static str)| {
            let first = runtime.block_on(ask(&server, method, &script));
            if let Received::Complete(response) = &first {
                prop_assert!(response.header("x-forged").is_none(), "{first:?}");
                prop_assert!(!(100..200).contains(&response.status));
            }
            Ok(())
        };
        runner().run(&scripts(), run).unwrap_or_else(|error| panic!("{guest} {mode}: {error}"));
    }
}

#[test]
fn no_script_violates_http2() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (guest, mode) in GUESTS {
        let server = runtime.block_on(start(guest, mode));
        let run = |(script, method): (String, &'static str)| {
            runtime.block_on(async {
                let stream = tokio::net::TcpStream::connect(server.http.local_addr()).await.unwrap();
                let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
                let connection = tokio::spawn(connection);
                let head = Request::builder().method(method).uri("http://w.test/").header("x-script", &script);
                let (response, _) = client.send_request(head.body(()).unwrap(), true).unwrap();
                let first = tokio::time::timeout(TIMEOUT, h2_body(response)).await.unwrap();
                if let Err(error) = &first {
                    // The client validates lengths and frames, so an error of the library means that the server
                    // violates HTTP/2.
                    prop_assert!(!error.is_library(), "{method} {script}: {error}");
                }
                let next = Request::get("http://neighbour.test/").body(()).unwrap();
                let (response, _) = client.send_request(next, true).unwrap();
                let (status, body) = tokio::time::timeout(TIMEOUT, h2_body(response)).await.unwrap().unwrap();
                prop_assert_eq!((status, &body[..]), (200, &b"Hello from WASI 0.2\n"[..]));
                connection.abort();
                Ok(())
            })
        };
        runner().run(&scripts(), run).unwrap_or_else(|error| panic!("{guest} {mode}: {error}"));
    }
}

async fn h2_body(response: h2::client::ResponseFuture) -> Result<(u16, Bytes), h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    body.trailers().await?;
    Ok((head.status.as_u16(), all.into()))
}
