//! The HTTP server as its clients see it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{PATIENCE, Server, get, guest, manifest, text};
use tokio::sync::mpsc;

#[tokio::test]
async fn components_of_both_wasi_versions_respond() {
    for (name, body) in [("hello-p2", "Hello from WASI 0.2\n"), ("hello-p3", "Hello from WASI 0.3\n")] {
        let server = Server::serve(name, &[]);
        let mut connection = server.connect().await;
        let mut whole = 0;
        for _ in 0..20 {
            let response = connection.ask(get("/")).await;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(text(&response), body);
            whole += u32::from(response.headers().get("content-length").is_some_and(|n| n == &*body.len().to_string()));
        }
        // A response whose guest yields halfway through is streamed instead.
        assert!(whole >= 10, "only {whole} of 20 small responses are sent whole");
    }
}

/// A request body that the test writes while it reads the response.
fn channel_body()
-> (mpsc::Sender<Frame<Bytes>>, StreamBody<impl futures_core::Stream<Item = Result<Frame<Bytes>, Infallible>>>) {
    let (sender, mut frames) = mpsc::channel::<Frame<Bytes>>(4);
    let stream = futures_util::stream::poll_fn(move |cx| frames.poll_recv(cx).map(|frame| frame.map(Ok)));
    (sender, StreamBody::new(stream))
}

#[tokio::test]
async fn bodies_stream_in_both_directions_with_trailers() {
    for name in ["echo-p2", "echo-p3"] {
        let server = Server::serve(name, &[]);
        let mut sender = server.connect_h2().await;
        let (body, stream) = channel_body();
        let request =
            Request::post(format!("http://{}/", server.address)).header("x-kept", "yes").header("dropped", "no");
        let answer = tokio::spawn(sender.send_request(request.body(stream).unwrap()));
        body.send(Frame::data(Bytes::from_static(b"first"))).await.unwrap();
        let response = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap().unwrap();
        assert_eq!(response.headers()["x-kept"], "yes", "{name}");
        assert!(!response.headers().contains_key("dropped"));
        let mut incoming = response.into_body();
        let mut next = async || tokio::time::timeout(PATIENCE, incoming.frame()).await.unwrap();
        // The first piece is echoed before the request is complete.
        assert_eq!(next().await.unwrap().unwrap().into_data().unwrap(), "first", "{name}");
        body.send(Frame::data(Bytes::from_static(b"second"))).await.unwrap();
        assert_eq!(next().await.unwrap().unwrap().into_data().unwrap(), "second", "{name}");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "11".parse().unwrap());
        body.send(Frame::trailers(trailers.clone())).await.unwrap();
        drop(body);
        assert_eq!(next().await.unwrap().unwrap().into_trailers().unwrap(), trailers, "{name}");
        assert!(next().await.is_none());
    }
}

#[tokio::test]
async fn a_large_body_comes_back_whole() {
    for name in ["echo-p2", "echo-p3"] {
        let server = Server::serve(name, &[]);
        let body: Bytes = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
        let request = Request::post("/").header("host", "a").body(Full::new(body.clone())).unwrap();
        let response = server.ask(request).await;
        assert!(response.body() == &body, "{name}: {} bytes of {}", response.body().len(), body.len());
    }
}

#[tokio::test]
async fn many_streams_share_an_http2_connection() {
    let server = Server::serve("hello-p2", &[]);
    let sender = server.connect_h2::<Full<Bytes>>().await;
    let url = format!("http://{}/", server.address);
    let answers = (0..20).map(|_| {
        let (mut sender, request) = (sender.clone(), Request::get(&url).body(Full::default()).unwrap());
        async move { sender.send_request(request).await.unwrap().status() }
    });
    let answers = futures_util::future::join_all(answers).await;
    assert!(answers.iter().all(|status| *status == StatusCode::OK));
}

#[tokio::test]
async fn the_route_with_the_host_and_the_longest_path_wins() {
    let folder = manifest(&format!(
        r#"
        name = "routes"
        [components.any]
        source = "{hello}"
        [components.inspector]
        source = "{inspector}"
        [components.front]
        source = "{front}"
        env = {{ WHO = "front" }}
        [components.trap]
        source = "{traps}"
        [[triggers.http]]
        component = "any"
        [[triggers.http]]
        component = "front"
        path = "/mine"
        [[triggers.http]]
        component = "trap"
        path = "/deep/..."
        [[triggers.http]]
        component = "trap"
        host = "traps.example"
        "#,
        hello = guest("hello-p2").display(),
        inspector = guest("inspector-p2").display(),
        front = guest("front-p2").display(),
        traps = guest("traps").display(),
    ));
    let mut server = Server::up(folder.path());
    assert_eq!(text(&server.get("/").await), "Hello from WASI 0.2\n");
    assert_eq!(text(&server.get("/deeper").await), "Hello from WASI 0.2\n", "segments match whole");
    assert_eq!(text(&server.get("/deep").await), "");
    assert_eq!(text(&server.get("/deep/er").await), "");
    let ask = Request::get("/mine").header("host", "b").header("ask", "env WHO").body(Full::default()).unwrap();
    assert_eq!(text(&server.ask(ask).await), "front");
    let named = Request::get("/trap").header("host", "Traps.Example:80").body(Full::default()).unwrap();
    assert_eq!(server.ask(named).await.status(), StatusCode::BAD_GATEWAY);
    server.wait_for("* /mine → front");
}

#[tokio::test]
async fn a_missing_route_is_404_and_a_missing_host_is_400() {
    let folder = manifest(&format!(
        "name = 'one'\n[components.one]\nsource = '{}'\n[[triggers.http]]\ncomponent = 'one'\npath = '/one'\n",
        guest("hello-p2").display()
    ));
    let server = Server::up(folder.path());
    assert_eq!(server.get("/two").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(server.get("/one").await.status(), StatusCode::OK);
    for (request, status) in
        [("GET /one HTTP/1.1\r\nconnection: close\r\n\r\n", "400"), ("GET /one HTTP/1.0\r\n\r\n", "200")]
    {
        let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
    // Invalid HTTP ends only its own connection.
    let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
    stream.write_all(b"\x16\x03\x01 certainly not HTTP\r\n\r\n").unwrap();
    stream.read_to_end(&mut Vec::new()).ok();
    assert_eq!(server.get("/one").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_component_that_fails_is_502_and_affects_no_other_request() {
    let mut server = Server::serve("traps", &[]);
    let mut connection = server.connect().await;
    for path in ["/trap", "/silent"] {
        let response = connection.ask(get(path)).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{path}");
        assert_eq!(connection.ask(get("/")).await.status(), StatusCode::OK, "the connection stays usable");
    }
    server.wait_for("unreachable");
    server.wait_for("the handler returned without a response");
    // A component traps after its response begins: the client gets 502 if the head is not sent yet, otherwise the stream ends
    // with an error.
    let mut sender = server.connect_h2::<Full<Bytes>>().await;
    let url = |path: &str| format!("http://{}{path}", server.address);
    let late = sender.send_request(Request::get(url("/late")).body(Full::default()).unwrap());
    let late = tokio::time::timeout(PATIENCE, async {
        let response = late.await?;
        let status = response.status();
        response.into_body().collect().await.map(|_| status)
    });
    if let Ok(status) = late.await.unwrap() {
        assert_eq!(status, StatusCode::BAD_GATEWAY, "a truncated body must not look complete");
    }
    let next = sender.send_request(Request::get(url("/")).body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(next.status(), StatusCode::OK, "the connection stays usable");
}

#[tokio::test]
async fn a_component_can_work_after_its_response() {
    let mut server = Server::serve("traps", &[]);
    let response = server.get("/after").await;
    assert_eq!((text(&response), response.headers()["content-length"].to_str().unwrap()), ("ok", "2"));
    server.wait_for("done afterwards");
}

#[tokio::test]
async fn an_aborted_response_does_not_look_complete() {
    let server = Server::serve("traps", &[]);
    let mut sender = server.connect_h2::<Full<Bytes>>().await;
    let request = Request::get(format!("http://{}/abort", server.address)).body(Full::default()).unwrap();
    let answer = sender.send_request(request);
    let answer = tokio::time::timeout(PATIENCE, async {
        let (head, body) = answer.await?.into_parts();
        body.collect().await.map(|_| head.status)
    });
    // The client gets 502 if the head is not sent yet, otherwise the stream ends with an error.
    if let Ok(status) = answer.await.unwrap() {
        assert_eq!(status, StatusCode::BAD_GATEWAY);
    }
}

#[tokio::test]
async fn a_response_can_be_a_stream_of_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let large = "x".repeat(1_000_000);
    std::fs::write(folder.path().join("note"), "small").unwrap();
    std::fs::write(folder.path().join("large"), &large).unwrap();
    let server = Server::serve("files-p3", &["--dir", &format!("{}::/files::ro", folder.path().display())]);
    assert_eq!(text(&server.get("/note").await), "small");
    assert!(text(&server.get("/large").await) == large, "the file is whole");
    let request = server.get("/request").await;
    assert_eq!(text(&request), "Some(Scheme::Http) Some(\"localhost\")");
}

#[tokio::test]
async fn a_response_to_head_has_no_body() {
    for name in ["hello-p2", "hello-p3"] {
        let server = Server::serve(name, &[]);
        let request = Request::head("/").header("host", "a").body(Full::default()).unwrap();
        let response = server.ask(request).await;
        assert_eq!((response.status(), response.body().len()), (StatusCode::OK, 0));
    }
}

#[tokio::test]
async fn tls_serves_both_protocols() {
    let folder = tempfile::tempdir().unwrap();
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let args = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let mut server = Server::serve("hello-p2", &args);
    server.wait_for("https://");

    let mut roots = rustls::RootCertStore::empty();
    roots.add(signed.cert.der().clone()).unwrap();
    for protocol in ["http/1.1", "h2"] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.unwrap().with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = tokio::net::TcpStream::connect(&server.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        let request = Request::get("https://localhost/").header("host", "localhost");
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let io = TokioIo::new(stream);
        let status = if protocol == "h2" {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap().status()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap().status()
        };
        assert_eq!(status, StatusCode::OK, "{protocol}");
    }
    // A client that never completes its TLS handshake does not block the server.
    let _silent = std::net::TcpStream::connect(&server.address).unwrap();

    // A certificate that cannot be read leaves the one in use; a new one is for new connections.
    let connects = async |address: &str, roots: &rustls::RootCertStore| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots.clone()).with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect("localhost".try_into().unwrap(), stream).await.is_ok()
    };
    std::fs::write(&cert, "not a certificate").unwrap();
    server.signal("-HUP");
    server.wait_for("cannot read a certificate");
    assert!(connects(&server.address, &roots).await);
    let renewed = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(&cert, renewed.cert.pem()).unwrap();
    std::fs::write(&key, renewed.signing_key.serialize_pem()).unwrap();
    server.signal("-HUP");
    server.wait_for("Reloaded the certificate");
    assert!(!connects(&server.address, &roots).await, "the old certificate is no longer served");
    let mut new_roots = rustls::RootCertStore::empty();
    new_roots.add(renewed.cert.der().clone()).unwrap();
    assert!(connects(&server.address, &new_roots).await);
}

/// Starts a request that is in progress until the test ends its body.
async fn request_in_progress(server: &Server) -> (mpsc::Sender<Frame<Bytes>>, hyper::body::Incoming) {
    let mut sender = server.connect_h2().await;
    let (body, stream) = channel_body();
    let request = Request::post(format!("http://{}/", server.address)).body(stream).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    body.send(Frame::data(Bytes::from_static(b"begun"))).await.unwrap();
    let mut incoming = answer.await.unwrap().unwrap().into_body();
    assert_eq!(incoming.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
    (body, incoming)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_signal_drains() {
    for signal in ["-INT", "-TERM"] {
        let mut server = Server::serve("echo-p3", &[]);
        let (body, mut incoming) = request_in_progress(&server).await;
        server.signal(signal);
        server.wait_for("Draining");
        // The request in progress completes.
        body.send(Frame::data(Bytes::from_static(b"ended"))).await.unwrap();
        assert_eq!(incoming.frame().await.unwrap().unwrap().into_data().unwrap(), "ended");
        drop(body);
        assert_eq!(incoming.collect().await.unwrap().to_bytes(), "");
        assert_eq!(server.exit_code(), Some(0));
        assert!(std::net::TcpStream::connect(&server.address).is_err(), "the server does not listen any more");
    }
}

#[tokio::test]
async fn the_second_signal_aborts() {
    let mut server = Server::serve("echo-p2", &[]);
    let (_body, _incoming) = request_in_progress(&server).await;
    server.signal("-INT");
    server.wait_for("Draining");
    server.signal("-INT");
    assert_eq!(server.exit_code(), Some(6));
}

#[tokio::test]
async fn running_out_of_file_descriptors_does_not_end_the_server() {
    let mut command = std::process::Command::new("sh");
    let program = env!("CARGO_BIN_EXE_wharf");
    let script = format!(
        "ulimit -n 48; exec {program} --no-cache --log warn serve {} --listen 127.0.0.1:0",
        guest("hello-p2").display()
    );
    command.args(["-c", &script]);
    let mut server = Server::start(command);
    let held: Vec<_> = (0..60).map(|_| std::net::TcpStream::connect(&server.address).unwrap()).collect();
    server.wait_for("cannot accept a connection");
    drop(held);
    assert_eq!(server.get("/").await.status(), StatusCode::OK);
}

#[test]
fn an_invalid_request_is_400() {
    let server = Server::serve("hello-p3", &[]);
    let ask = |head: &[u8]| {
        let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
        stream.write_all(head).unwrap();
        stream.write_all(b"connection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(ask(b"GET / HTTP/1.1\r\nhost: a\r\n"), "HTTP/1.1 200 OK");
    assert_eq!(ask(b"GET / HTTP/1.1\r\n"), "HTTP/1.1 400 Bad Request");
    assert_eq!(ask(b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n"), "HTTP/1.1 400 Bad Request");
    // A guest would see this path without its first characters, and so another path than the routes.
    assert_eq!(ask(b"GET /\xf4\x8f\xbf\xbf/hello HTTP/1.1\r\nhost: a\r\n"), "HTTP/1.1 400 Bad Request");
}
