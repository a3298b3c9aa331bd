//! Whatever a component does with its answer, a client that reuses the connection reads the answers that were meant for
//! it, each from its first byte to its last.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fmt::Write as _;

use bytes::Bytes;
use http::Request;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::wire::{Answer, Read, Wire};
use support::{PATIENCE, Served};

const GUESTS: [(&str, &str); 3] =
    [("script-p2", ""), ("script-p3", ""), ("script-p3", "instances = { mode = 'reuse' }")];
/// Scripts that wait for what never comes are ended soon.
const LIMITS: &str = "limits = { time = '500ms', memory = '16MiB' }\n";

async fn served(guest: &str, mode: &str) -> Served {
    Served::of(guest, &format!("{LIMITS}{mode}")).await
}

fn hex(text: impl AsRef<[u8]>) -> String {
    text.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// A script whose response declares a length, and writes so many bytes.
fn declares(length: usize, written: usize, end: &str) -> String {
    format!("header content-length {}; body; write {written}; {end}", hex(length.to_string()))
}

fn request(method: &str, script: &str) -> Vec<u8> {
    format!("{method} / HTTP/1.1\r\nhost: w.test\r\nx-script: {script}\r\n\r\n").into_bytes()
}

const HELLO: &[u8] = b"GET / HTTP/1.1\r\nhost: neighbour.test\r\nconnection: close\r\n\r\n";

fn is_hello(read: &Read) -> bool {
    matches!(read, Read::Whole(Answer { status: 200, headers, body })
        if body == b"Hello from WASI 0.2\n" && headers.iter().all(|(name, _)| name != "x-forged"))
}

/// Asks for a script's answer and then for the neighbour's, on one connection.
async fn ask(served: &Served, method: &str, script: &str) -> Read {
    let mut wire = Wire::connect(served.server.local_addr()).await;
    wire.send(&[&request(method, script), HELLO].concat()).await;
    let first = wire.read(method).await;
    if first != Read::Cut {
        let second = wire.read("GET").await;
        // A server may close a connection after an answer that it sent whole.
        assert!(is_hello(&second) || second == Read::Cut, "{method} {script}: {first:?}, and then {second:?}");
        assert!(wire.is_at_its_end().await, "{method} {script}: bytes after the last answer");
    }
    first
}

fn status(read: &Read) -> u16 {
    match read {
        Read::Whole(answer) => answer.status,
        Read::Cut => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_body_of_another_length_than_its_header_is_502() {
    for (guest, mode) in GUESTS {
        let served = served(guest, mode).await;
        for end in [
            "respond; leak",
            "leak; respond",
            "drop-stream; drop-body; respond",
            "respond; finish",
            "respond; drop-stream",
        ] {
            for (length, written) in [(5, 59), (9, 5), (0, 59), (5, 0)] {
                let first = ask(&served, "GET", &declares(length, written, end)).await;
                // The engine takes nothing of a body of WASI 0.3 that is to be empty.
                let empty = length == 0 && matches!(&first, Read::Whole(answer) if answer.body.is_empty());
                assert!(
                    empty || [502, 0].contains(&status(&first)),
                    "{guest} {mode} {length} {written} {end}: {first:?}"
                );
            }
            let first = ask(&served, "GET", &declares(59, 59, end)).await;
            // Dropped before it was finished, it has no end.
            if guest == "script-p2" && end.contains("drop") {
                assert!([502, 0].contains(&status(&first)), "{end}: {first:?}");
                continue;
            }
            assert!(matches!(&first, Read::Whole(Answer { status: 200, body, .. }) if body.len() == 59), "{first:?}");
        }
    }
    // All of it is there before the head goes out.
    let served = served("script-p2", "").await;
    for (length, written) in [(5, 59), (9, 5)] {
        for end in ["leak; respond", "drop-body; respond"] {
            assert_eq!(status(&ask(&served, "GET", &declares(length, written, end)).await), 502, "{end}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_body_of_another_length_is_cut() {
    for (guest, mode) in GUESTS {
        let served = served(guest, mode).await;
        for (length, written) in [(1005, 59), (70, 59)] {
            let script = format!(
                "header content-length {}; body; respond; write 10; sleep 30; write {written}",
                hex(length.to_string())
            );
            let first = ask(&served, "GET", &script).await;
            assert!(matches!(first, Read::Cut) || status(&first) == 502, "{guest} {mode} {length}: {first:?}");
        }
        let longer = format!("header content-length {}; body; respond; write 10; sleep 30; write 59", hex("12"));
        let first = ask(&served, "GET", &longer).await;
        assert!(matches!(first, Read::Cut) || status(&first) == 502, "{guest} {mode}: {first:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_content_have_none() {
    for (guest, mode) in GUESTS {
        let served = served(guest, mode).await;
        for code in [204, 205, 304] {
            let first = ask(&served, "GET", &format!("status {code}; {}", declares(5, 59, "respond; finish"))).await;
            let Read::Whole(answer) = first else { panic!("{guest} {mode} {code}: cut") };
            assert_eq!((answer.status, answer.body.len()), (code, 0), "{guest} {mode}");
            let length = answer.header("content-length");
            // Of 304 it may be that of the answer that has content (RFC 9110, section 8.6).
            let expected =
                if code == 205 { length == Some("0") } else { length.is_none_or(|l| code == 304 && l == "5") };
            assert!(expected, "{guest} {mode} {code}: {length:?}");
        }
        let Read::Whole(head) = ask(&served, "HEAD", &declares(5, 59, "respond; finish")).await else { panic!("cut") };
        assert_eq!((head.status, head.header("content-length")), (200, Some("5")));
        for code in [100, 101, 103, 199] {
            let first = ask(&served, "GET", &format!("status {code}; body; respond; write 59; finish")).await;
            assert_eq!(status(&first), 502, "{guest} {mode}: {code} is not an answer");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_frame_a_message_are_the_servers_alone() {
    for (guest, mode) in GUESTS {
        let served = served(guest, mode).await;
        let framing =
            ["transfer-encoding chunked", "connection close", "connection upgrade", "upgrade h2c", "keep-alive x"];
        for header in framing {
            let (name, value) = header.split_once(' ').unwrap();
            let script = format!("header {name} {}; body; respond; write 59; finish", hex(value));
            let Read::Whole(answer) = ask(&served, "GET", &script).await else { panic!("{header}: cut") };
            assert_eq!((answer.status, answer.body.len()), (200, 59), "{guest} {mode} {header}");
            assert_ne!(answer.header(name), Some(value), "{guest} {mode}");
        }
        for value in ["a\r\nx-forged: yes", "a\nx-forged: yes", "a\rb", "a\0b", "a\x1b[31m", "a\x7f"] {
            let script = format!("header x-value {}; body; respond; write 59; finish", hex(value));
            let Read::Whole(answer) = ask(&served, "GET", &script).await else { panic!("{value:?}: cut") };
            assert_eq!((answer.header("x-value"), answer.header("x-forged")), (None, None), "{guest} {mode} {value:?}");
        }
        // Two lengths, equal or not, are one too many.
        let script = format!("header content-length {}; {}", hex("59"), declares(5, 59, "respond; finish"));
        let Read::Whole(answer) = ask(&served, "GET", &script).await else { panic!("cut") };
        assert_eq!((answer.status, answer.body.len()), (200, 59), "{guest} {mode}: the second was refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_do_not_become_headers() {
    for (guest, mode) in GUESTS {
        let served = served(guest, mode).await;
        let script = format!(
            "trailer x-sum {}; trailer content-length {}; trailer set-cookie {}; body; respond; write 59; finish",
            hex("1"),
            hex("5"),
            hex("a=b")
        );
        let Read::Whole(answer) = ask(&served, "GET", &script).await else { panic!("cut") };
        assert_eq!(answer.body.len(), 59);
        let mut h2 = served.connect_h2().await;
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
    // Half of them at least begin as an answer does.
    let begun = prop_oneof![Just(""), Just("body; respond; "), Just("body; ")];
    let method = prop_oneof![4 => Just("GET"), 1 => Just("HEAD"), 1 => Just("DELETE")];
    (begun, script, method).prop_map(|(begun, script, method)| (format!("{begun}{script}"), method))
}

fn runner() -> TestRunner {
    TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() })
}

#[test]
fn any_script_leaves_the_next_answer_alone() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (guest, mode) in GUESTS {
        let served = runtime.block_on(served(guest, mode));
        let run = |(script, method): (String, &'static str)| {
            let first = runtime.block_on(ask(&served, method, &script));
            if let Read::Whole(answer) = &first {
                prop_assert!(answer.header("x-forged").is_none(), "{first:?}");
                prop_assert!(!(100..200).contains(&answer.status));
            }
            Ok(())
        };
        runner().run(&scripts(), run).unwrap_or_else(|error| panic!("{guest} {mode}: {error}"));
    }
}

#[test]
fn any_script_keeps_to_http_2() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (guest, mode) in GUESTS {
        let served = runtime.block_on(served(guest, mode));
        let run = |(script, method): (String, &'static str)| {
            runtime.block_on(async {
                let stream = tokio::net::TcpStream::connect(served.server.local_addr()).await.unwrap();
                let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
                let connection = tokio::spawn(connection);
                let head = Request::builder().method(method).uri("http://w.test/").header("x-script", &script);
                let (response, _) = client.send_request(head.body(()).unwrap(), true).unwrap();
                let first = tokio::time::timeout(PATIENCE, h2_body(response)).await.unwrap();
                if let Err(error) = &first {
                    // The client checks lengths, and whatever else it finds wrong is the server's fault.
                    prop_assert!(!error.is_library(), "{method} {script}: {error}");
                }
                let next = Request::get("http://neighbour.test/").body(()).unwrap();
                let (response, _) = client.send_request(next, true).unwrap();
                let (status, body) = tokio::time::timeout(PATIENCE, h2_body(response)).await.unwrap().unwrap();
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
