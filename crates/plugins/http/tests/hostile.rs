//! Clients that take what they can: connections, streams, time and memory. Each is ended in bounded time, and no other client
//! notices.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use support::wire::{Read, Wire};
use support::{PATIENCE, Served, get, read, resident, workload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use wharf::{Engine, HostApi as _, Limit};
use wharf_http::Settings;

/// A server with short timeouts, one workload from a guest, and a neighbour.
async fn served(guest: &str, more: &str, settings: impl FnOnce(&mut Settings)) -> Served {
    let mut short = Served::settings();
    short.header_timeout = Duration::from_millis(300);
    short.write_timeout = Duration::from_millis(300);
    settings(&mut short);
    let served = Served::on(short, Engine::builder(), |host| host).await;
    served.host.workload_start(workload("w", "w.test", guest, more)).await.unwrap();
    served.host.workload_start(workload("n", "neighbour.test", "hello-p2", "")).await.unwrap();
    served
}

/// A real client of HTTP/2, with its initial window, and its connection at work.
async fn client(served: &Served, window: u32) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(served.server.local_addr()).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (client, connection) = builder.initial_window_size(window).handshake(stream).await.unwrap();
    (client, tokio::spawn(connection))
}

fn ask(client: &mut SendRequest<Bytes>, path: &str) -> ResponseFuture {
    let request = Request::get(format!("http://w.test{path}")).body(()).unwrap();
    client.send_request(request, true).unwrap().0
}

async fn patient<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("this takes for ever")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_answers_pings_is_disconnected() {
    let served = served("abuse-p2", "", |_| {}).await;
    let (_idle, connection) = client(&served, 65_535).await;
    patient(connection).await.unwrap().ok();
    // One that had a request is no better afterwards.
    let (mut once, connection) = client(&served, 65_535).await;
    assert_eq!(patient(ask(&mut once, "/hello")).await.unwrap().status(), 200);
    patient(connection).await.unwrap().ok();
    // One whose answer takes longer than that is waited for.
    let (mut slow, _connection) = client(&served, 65_535).await;
    assert_eq!(patient(ask(&mut slow, "/sleep?ms=1500")).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_read_is_reset() {
    // Answers that are there before the head goes out, and answers that are still being written.
    for (guest, path) in
        [("abuse-p2", "/hello"), ("abuse-p2", "/output"), ("abuse-p3", "/hello"), ("abuse-p3", "/output")]
    {
        let served = served(guest, "limits = { concurrency = 1 }", |_| {}).await;
        let (mut client, connection) = client(&served, 0).await;
        let response = patient(ask(&mut client, path)).await.unwrap();
        let mut body = response.into_body();
        let error = patient(body.data()).await.unwrap().unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{guest} {path}: {error}");
        // Its place is free again.
        served.until("the call has ended", |status| status.calls == 0).await;
        assert_eq!(served.get("/hello").await.0, 200, "{guest} {path}");
        patient(connection).await.unwrap().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_waits_for_its_reader_takes_a_calls_place() {
    let served = served("abuse-p2", "limits = { concurrency = 2, time = '200ms' }", |settings| {
        settings.write_timeout = Duration::from_mins(10);
    });
    let served = served.await;
    let (mut hoarder, _connection) = client(&served, 0).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(patient(ask(&mut hoarder, "/hello")).await.unwrap());
    }
    assert_eq!(served.status().await.calls, 2);
    assert_eq!(served.get("/hello").await.0, 503, "what is held for readers is bounded");
    drop(held);
    served.until("they were given up", |status| status.calls == 0).await;
    assert_eq!(served.get("/hello").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_one_byte_is_slow_and_no_more() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let served = served(guest, "", |_| {}).await;
        let (mut client, _connection) = client(&served, 1).await;
        let mut body = patient(ask(&mut client, "/output?bytes=300")).await.unwrap().into_body();
        let mut length = 0;
        while let Some(data) = patient(body.data()).await {
            let data = data.unwrap();
            assert!(data.len() <= 1, "more than the window has room for");
            length += data.len();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        assert_eq!(length, 300, "{guest}");
        served.neighbour_is_well().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_what_it_asks_for_is_disconnected() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let served = served(guest, "limits = { concurrency = 1000 }", |_| {}).await;
        let (client, connection) = client(&served, 65_535).await;
        let mut asked = 0;
        let reset = async {
            let mut client = client;
            loop {
                let Ok(ready) = client.ready().await else { return };
                client = ready;
                let request = Request::get("http://w.test/sleep?ms=60000").body(()).unwrap();
                let Ok((response, mut stream)) = client.send_request(request, true) else { return };
                stream.send_reset(h2::Reason::CANCEL);
                drop(response);
                asked += 1;
                tokio::task::yield_now().await;
            }
        };
        patient(reset).await;
        patient(connection).await.unwrap().ok();
        assert!(asked < 5000, "{guest}: {asked} requests until it was disconnected");
        served.until("nothing goes on", |status| status.calls == 0).await;
        served.neighbour_is_well().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cancels_now_and_then_is_not() {
    let served = served("abuse-p2", "", |_| {}).await;
    let (mut client, _connection) = client(&served, 65_535).await;
    for round in 0..150 {
        let cancelled = ask(&mut client, "/sleep?ms=60000");
        drop(cancelled);
        assert_eq!(patient(ask(&mut client, "/hello")).await.unwrap().status(), 200, "round {round}");
        client = patient(client.ready()).await.unwrap();
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_uint(payload.len() as u64, 3);
    frame.put_u8(kind);
    frame.put_u8(flags);
    frame.put_u32(stream);
    frame.extend_from_slice(payload);
    frame.freeze()
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Writes a flood of frames without reading, until the server has had enough. Gives how many bytes it took.
async fn flood(served: &Served, first: &[Bytes], repeated: &Bytes) -> u64 {
    let mut stream = TcpStream::connect(served.server.local_addr()).await.unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    for frame in first {
        stream.write_all(frame).await.unwrap();
    }
    let many = repeated.repeat(64 * 1024 / repeated.len());
    let mut written = 0;
    loop {
        match tokio::time::timeout(PATIENCE, stream.write(&many)).await.expect("the server never gives up") {
            Ok(0) | Err(_) => return written,
            Ok(count) => written += count as u64,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_end_and_take_no_memory() {
    let served = served("abuse-p2", "", |_| {}).await;
    served.neighbour_is_well().await;
    let before = resident();
    let begun = frame(HEADERS, 0, 1, &[0x82]);
    // A header of its own each time: `x-n: <100 bytes>`, never indexed.
    let mut header = vec![0x10, 3, b'x', b'-', b'n', 100];
    header.extend([b'v'; 100]);
    let continued = frame(CONTINUATION, 0, 1, &header);
    let written = flood(&served, std::slice::from_ref(&begun), &continued).await;
    assert!(written < 32 << 20, "headers without end: {written} bytes");
    let written = flood(&served, &[begun], &frame(CONTINUATION, 0, 1, &[])).await;
    assert!(written < 32 << 20, "empty pieces of headers without end: {written} bytes");
    // Each of these wants an answer, and the client reads none: the server stops reading, and then gives up.
    for flooding in [frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]), frame(PING, 0, 0, &[0; 8])] {
        flood(&served, &[], &flooding).await;
    }
    served.neighbour_is_well().await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drains_does_not_wait_for_clients_that_ask_for_nothing() {
    let served = served("hello-p2", "", |settings| settings.drain = Duration::from_mins(10)).await;
    // It never acknowledges the ping that asks whether it has read that the server ends.
    let silent = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let mut connections = Vec::new();
    for bytes in [&silent[..], b"GET / HTTP/1.1\r\nx: "] {
        let mut stream = TcpStream::connect(served.server.local_addr()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        connections.push(stream);
    }
    // Both are being served.
    assert_eq!(served.get("/").await.0, 200);
    patient(served.host.shutdown()).await;
    for mut stream in connections {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_half_a_frame_is_disconnected() {
    let served = served("abuse-p2", "", |_| {}).await;
    let half = frame(HEADERS, 4, 1, &[0x82; 64]);
    for begun in [&half[..4], &half[..20], &frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])] {
        let mut stream = TcpStream::connect(served.server.local_addr()).await.unwrap();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), begun].concat()).await.unwrap();
        patient(stream.read_to_end(&mut Vec::new())).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_go_on_fails_in_the_component() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let served = served(guest, "", |settings| settings.body_timeout = Duration::from_millis(200)).await;
        for body in ["content-length: 100\r\n\r\nbegun", "transfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n"] {
            let mut wire = Wire::connect(served.server.local_addr()).await;
            wire.send(format!("POST /read-body HTTP/1.1\r\nhost: w.test\r\n{body}").as_bytes()).await;
            let answer = patient(wire.read("POST")).await;
            assert!(matches!(&answer, Read::Whole(answer) if answer.text().starts_with('5')) || answer == Read::Cut);
        }
        // In HTTP/2 the stream alone is concerned.
        let (mut client, _connection) = client(&served, 65_535).await;
        let request = Request::post("http://w.test/read-body").body(()).unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"begun"), false).unwrap();
        let response = patient(response).await.unwrap();
        assert_eq!(response.status(), 200, "{guest}");
        assert_eq!(patient(ask(&mut client, "/hello")).await.unwrap().status(), 200);
        served.until("nothing goes on", |status| status.calls == 0).await;
    }
}

/// Connects from an address of this machine's own, as if from another client.
async fn connect_from(client: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

async fn hello(stream: &mut TcpStream) -> bool {
    if stream.write_all(b"GET / HTTP/1.1\r\nhost: neighbour.test\r\n\r\n").await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b"Hello from WASI 0.2\n") {
        if !matches!(patient(stream.read_buf(&mut answer)).await, Ok(1..)) {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_cannot_take_all_connections() {
    let served = served("abuse-p2", "", |settings| {
        settings.max_connections = 8;
        settings.header_timeout = Duration::from_mins(10);
    });
    let served = served.await;
    let address = served.server.local_addr();
    let mut greedy = Vec::new();
    for _ in 0..8 {
        let mut stream = connect_from([127, 0, 0, 1], address).await;
        assert!(hello(&mut stream).await);
        greedy.push(stream);
    }
    let mut refused = connect_from([127, 0, 0, 1], address).await;
    let mut answer = String::new();
    patient(refused.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ntoo many connections\n"), "{answer}");
    // Another client has its share, and takes the place of connections that are idle.
    let mut modest = Vec::new();
    for _ in 0..4 {
        let mut stream = connect_from([127, 0, 0, 2], address).await;
        assert!(hello(&mut stream).await, "a share is a share");
        modest.push(stream);
    }
    let mut left = 0;
    for stream in &mut greedy {
        left += usize::from(hello(stream).await);
    }
    assert_eq!(left, 4, "the shares are even");
    for stream in &mut modest {
        assert!(hello(stream).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_headers_holds_for_both_versions() {
    let more = "limits = { headers = '128KiB' }";
    let served = served("abuse-p2", more, |_| {}).await;
    let with = |count: usize, size: usize| {
        let mut request = get("w.test", "/hello");
        for n in 0..count {
            request.headers_mut().append("x-many", format!("{n:0size$}").parse().unwrap());
        }
        request
    };
    // Many small ones, and few large ones; each counts 32 bytes more.
    for (count, size, status) in [(500, 100, 200), (900, 20, 200), (3, 30_000, 200), (900, 200, 431), (5, 30_000, 431)]
    {
        let before = served.refused(Limit::Headers).await;
        assert_eq!(served.send(with(count, size)).await.0, status, "HTTP/1.1: {count} of {size}");
        let (mut client, _connection) = client(&served, 65_535).await;
        let mut request = with(count, size).map(|_| ());
        *request.uri_mut() = "http://w.test/hello".parse().unwrap();
        let response = patient(client.send_request(request, true).unwrap().0).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "HTTP/2: {count} of {size}");
        let refused = served.refused(Limit::Headers).await - before;
        assert_eq!(refused, if status == 431 { 2 } else { 0 }, "both are counted: {count} of {size}");
    }
    // What is far larger than any limit never gets as far as a workload.
    let mut stream = served.raw("GET /hello HTTP/1.1\r\nhost: w.test\r\n").await;
    while stream.write_all("x-more: y\r\n".repeat(1000).as_bytes()).await.is_ok() {}
    read(&mut stream, usize::MAX).await;
    served.neighbour_is_well().await;
}
