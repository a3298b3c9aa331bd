//! Clients that exhaust connections, streams, time or memory. The server disconnects each in bounded time, and still
//! serves other clients.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use support::http1_client::{Http1Client, Received};
use support::{TIMEOUT, TestServer, get, read_up_to, resident_kib, workload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use wharf::{Engine, Limit};
use wharf_http::Settings;

/// Starts a server with short time-outs, a workload from a guest, and a neighbour.
async fn start(guest: &str, more: &str, settings: impl FnOnce(&mut Settings)) -> TestServer {
    let mut short = TestServer::settings();
    short.header_timeout = Duration::from_millis(300);
    short.write_timeout = Duration::from_millis(300);
    settings(&mut short);
    let server = TestServer::with_settings(short, Engine::builder(), |host| host).await;
    server.host.workload_start(workload("w", "w.test", guest, more)).await.unwrap();
    server.host.workload_start(workload("n", "neighbour.test", "hello-p2", "")).await.unwrap();
    server
}

/// Connects an HTTP/2 client with this initial window, and spawns its connection.
async fn connect_h2(
    server: &TestServer,
    window: u32,
) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(server.http.local_addr()).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (client, connection) = builder.initial_window_size(window).handshake(stream).await.unwrap();
    (client, tokio::spawn(connection))
}

/// Sends a GET request on a connection.
fn ask(client: &mut SendRequest<Bytes>, path: &str) -> ResponseFuture {
    let request = Request::get(format!("http://w.test{path}")).body(()).unwrap();
    client.send_request(request, true).unwrap().0
}

/// Waits for a future, and fails the test after [`TIMEOUT`].
async fn within_timeout<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, future).await.expect("timed out")
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnects_idle_http2_connections_that_answer_pings() {
    let server = start("abuse-p2", "", |_| {}).await;
    let (_idle, connection) = connect_h2(&server, 65_535).await;
    within_timeout(connection).await.unwrap().ok();
    // A connection that had a request is idle again after it.
    let (mut once, connection) = connect_h2(&server, 65_535).await;
    assert_eq!(within_timeout(ask(&mut once, "/hello")).await.unwrap().status(), 200);
    within_timeout(connection).await.unwrap().ok();
    // A connection that waits for a slow response is not idle.
    let (mut slow, _connection) = connect_h2(&server, 65_535).await;
    assert_eq!(within_timeout(ask(&mut slow, "/sleep?ms=1500")).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_a_stream_that_its_client_does_not_read() {
    // Responses that are complete before the head is sent, and responses that are still being written.
    for (guest, path) in
        [("abuse-p2", "/hello"), ("abuse-p2", "/output"), ("abuse-p3", "/hello"), ("abuse-p3", "/output")]
    {
        let server = start(guest, "limits = { concurrency = 1 }", |_| {}).await;
        let (mut client, connection) = connect_h2(&server, 0).await;
        let response = within_timeout(ask(&mut client, path)).await.unwrap();
        let mut body = response.into_body();
        let error = within_timeout(body.data()).await.unwrap().unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{guest} {path}: {error}");
        // The call no longer counts against `concurrency`.
        server.wait_until("the call has ended", |status| status.calls == 0).await;
        assert_eq!(server.get("/hello").await.0, 200, "{guest} {path}");
        within_timeout(connection).await.unwrap().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_waits_for_its_client_counts_as_a_call() {
    let server = start("abuse-p2", "limits = { concurrency = 2, time = '200ms' }", |settings| {
        settings.write_timeout = Duration::from_mins(10);
    });
    let server = server.await;
    let (mut slow, _connection) = connect_h2(&server, 0).await;
    let mut unread = Vec::new();
    for _ in 0..2 {
        unread.push(within_timeout(ask(&mut slow, "/hello")).await.unwrap());
    }
    assert_eq!(server.status().await.calls, 2);
    assert_eq!(server.get("/hello").await.0, 503, "unread responses are limited by `concurrency`");
    drop(unread);
    server.wait_until("the unread responses were dropped", |status| status.calls == 0).await;
    assert_eq!(server.get("/hello").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_a_client_with_a_window_of_one_byte() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let server = start(guest, "", |_| {}).await;
        let (mut client, _connection) = connect_h2(&server, 1).await;
        let mut body = within_timeout(ask(&mut client, "/output?bytes=300")).await.unwrap().into_body();
        let mut length = 0;
        while let Some(data) = within_timeout(body.data()).await {
            let data = data.unwrap();
            assert!(data.len() <= 1, "the frame exceeds the window");
            length += data.len();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        assert_eq!(length, 300, "{guest}");
        server.assert_neighbour_responds().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnects_a_client_that_resets_every_request() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let server = start(guest, "limits = { concurrency = 1000 }", |_| {}).await;
        let (client, connection) = connect_h2(&server, 65_535).await;
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
        within_timeout(reset).await;
        within_timeout(connection).await.unwrap().ok();
        assert!(asked < 5000, "{guest}: {asked} requests before it was disconnected");
        server.wait_until("no call is in flight", |status| status.calls == 0).await;
        server.assert_neighbour_responds().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_a_client_that_cancels_occasionally() {
    let server = start("abuse-p2", "", |_| {}).await;
    let (mut client, _connection) = connect_h2(&server, 65_535).await;
    for round in 0..150 {
        let cancelled = ask(&mut client, "/sleep?ms=60000");
        drop(cancelled);
        assert_eq!(within_timeout(ask(&mut client, "/hello")).await.unwrap().status(), 200, "round {round}");
        client = within_timeout(client.ready()).await.unwrap();
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Encodes an HTTP/2 frame (RFC 9113, section 4.1).
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

/// Writes frames without reading until the server disconnects. Returns the number of bytes written.
async fn flood(server: &TestServer, first: &[Bytes], repeated: &Bytes) -> u64 {
    let mut stream = TcpStream::connect(server.http.local_addr()).await.unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    for frame in first {
        stream.write_all(frame).await.unwrap();
    }
    let many = repeated.repeat(64 * 1024 / repeated.len());
    let mut written = 0;
    loop {
        match tokio::time::timeout(TIMEOUT, stream.write(&many)).await.expect("the server does not disconnect") {
            Ok(0) | Err(_) => return written,
            Ok(count) => written += count as u64,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnects_clients_that_flood_frames_without_using_memory() {
    let server = start("abuse-p2", "", |_| {}).await;
    server.assert_neighbour_responds().await;
    let before = resident_kib();
    let begun = frame(HEADERS, 0, 1, &[0x82]);
    // Each frame contains one header: `x-n: <100 bytes>`, never indexed.
    let mut header = vec![0x10, 3, b'x', b'-', b'n', 100];
    header.extend([b'v'; 100]);
    let continued = frame(CONTINUATION, 0, 1, &header);
    let written = flood(&server, std::slice::from_ref(&begun), &continued).await;
    assert!(written < 32 << 20, "endless headers: {written} bytes");
    let written = flood(&server, &[begun], &frame(CONTINUATION, 0, 1, &[])).await;
    assert!(written < 32 << 20, "endless empty CONTINUATION frames: {written} bytes");
    // Each of these frames requires an acknowledgement, and the client reads none: the server stops reading, and
    // disconnects.
    for flooding in [frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]), frame(PING, 0, 0, &[0; 8])] {
        flood(&server, &[], &flooding).await;
    }
    server.assert_neighbour_responds().await;
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_idle_clients() {
    let server = start("hello-p2", "", |settings| settings.drain = Duration::from_mins(10)).await;
    // The client never acknowledges the ping that follows GOAWAY.
    let silent = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let mut connections = Vec::new();
    for bytes in [&silent[..], b"GET / HTTP/1.1\r\nx: "] {
        let mut stream = TcpStream::connect(server.http.local_addr()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        connections.push(stream);
    }
    // A response to a later connection shows that the server has accepted both.
    assert_eq!(server.get("/").await.0, 200);
    within_timeout(server.host.shutdown()).await;
    for mut stream in connections {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnects_a_client_that_sends_half_a_frame() {
    let server = start("abuse-p2", "", |_| {}).await;
    let half = frame(HEADERS, 4, 1, &[0x82; 64]);
    for begun in [&half[..4], &half[..20], &frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])] {
        let mut stream = TcpStream::connect(server.http.local_addr()).await.unwrap();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), begun].concat()).await.unwrap();
        within_timeout(stream.read_to_end(&mut Vec::new())).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_request_body_fails_in_the_component() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let server = start(guest, "", |settings| settings.body_timeout = Duration::from_millis(200)).await;
        for body in ["content-length: 100\r\n\r\nbegun", "transfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n"] {
            let mut client = Http1Client::connect(server.http.local_addr()).await;
            client.send(format!("POST /read-body HTTP/1.1\r\nhost: w.test\r\n{body}").as_bytes()).await;
            let response = within_timeout(client.read("POST")).await;
            assert!(
                matches!(&response, Received::Complete(response) if response.text().starts_with('5'))
                    || response == Received::Truncated
            );
        }
        // In HTTP/2 only the stream fails, and the connection stays open.
        let (mut client, _connection) = connect_h2(&server, 65_535).await;
        let request = Request::post("http://w.test/read-body").body(()).unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"begun"), false).unwrap();
        let response = within_timeout(response).await.unwrap();
        assert_eq!(response.status(), 200, "{guest}");
        assert_eq!(within_timeout(ask(&mut client, "/hello")).await.unwrap().status(), 200);
        server.wait_until("no call is in flight", |status| status.calls == 0).await;
    }
}

/// Connects from another loopback address, which the server counts as another client.
async fn connect_from(client: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Sends a request to the neighbour, and returns whether the response arrived.
async fn hello(stream: &mut TcpStream) -> bool {
    if stream.write_all(b"GET / HTTP/1.1\r\nhost: neighbour.test\r\n\r\n").await.is_err() {
        return false;
    }
    let mut response = Vec::new();
    while !response.ends_with(b"Hello from WASI 0.2\n") {
        if !matches!(within_timeout(stream.read_buf(&mut response)).await, Ok(1..)) {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_cannot_use_all_connections() {
    let server = start("abuse-p2", "", |settings| {
        settings.max_connections = 8;
        settings.header_timeout = Duration::from_mins(10);
    });
    let server = server.await;
    let address = server.http.local_addr();
    let mut first_client = Vec::new();
    for _ in 0..8 {
        let mut stream = connect_from([127, 0, 0, 1], address).await;
        assert!(hello(&mut stream).await);
        first_client.push(stream);
    }
    let mut refused = connect_from([127, 0, 0, 1], address).await;
    let mut response = String::new();
    within_timeout(refused.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 503") && response.contains("retry-after: 1"), "{response}");
    assert!(response.ends_with("\r\n\r\ntoo many connections\n"), "{response}");
    // Another client may open its share, which displaces idle connections.
    let mut second_client = Vec::new();
    for _ in 0..4 {
        let mut stream = connect_from([127, 0, 0, 2], address).await;
        assert!(hello(&mut stream).await, "a client within its share is admitted");
        second_client.push(stream);
    }
    let mut left = 0;
    for stream in &mut first_client {
        left += usize::from(hello(stream).await);
    }
    assert_eq!(left, 4, "both clients have equal shares");
    for stream in &mut second_client {
        assert!(hello(stream).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_headers_in_http1_and_http2() {
    let more = "limits = { headers = '128KiB' }";
    let server = start("abuse-p2", more, |_| {}).await;
    let with = |count: usize, size: usize| {
        let mut request = get("w.test", "/hello");
        for n in 0..count {
            request.headers_mut().append("x-many", format!("{n:0size$}").parse().unwrap());
        }
        request
    };
    // Many small headers, and few large ones; each counts 32 bytes in addition to its text.
    for (count, size, status) in [(500, 100, 200), (900, 20, 200), (3, 30_000, 200), (900, 200, 431), (5, 30_000, 431)]
    {
        let before = server.refusals(Limit::Headers).await;
        assert_eq!(server.send(with(count, size)).await.0, status, "HTTP/1.1: {count} of {size}");
        let (mut client, _connection) = connect_h2(&server, 65_535).await;
        let mut request = with(count, size).map(|_| ());
        *request.uri_mut() = "http://w.test/hello".parse().unwrap();
        let response = within_timeout(client.send_request(request, true).unwrap().0).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "HTTP/2: {count} of {size}");
        let refused = server.refusals(Limit::Headers).await - before;
        assert_eq!(refused, if status == 431 { 2 } else { 0 }, "refusals of {count} headers of {size} bytes");
    }
    // hyper rejects headers that are far larger than any workload's limit.
    let mut stream = server.connect_raw("GET /hello HTTP/1.1\r\nhost: w.test\r\n").await;
    while stream.write_all("x-more: y\r\n".repeat(1000).as_bytes()).await.is_ok() {}
    read_up_to(&mut stream, usize::MAX).await;
    server.assert_neighbour_responds().await;
}
