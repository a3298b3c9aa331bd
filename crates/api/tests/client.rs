//! The client against a fake host: it gives what the host gives, over a Unix socket and over TCP, and a transport error
//! for every server that is no host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{Fake, failing, tcp, unix};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use wharf_api::workload::manifest::{Component, Digest};
use wharf_api::workload::{Name, Severity};
use wharf_api::{ApiError, CallRequest, Client, ErrorCode, HostApi, State, Workload};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn workload(version: &str) -> Workload {
    let mut workload = Workload::new(name("shop"));
    workload.version = Some(version.parse().unwrap());
    workload
}

/// What any host does, in process or remote.
async fn behaves_as_a_host(host: &dyn HostApi) {
    let id = "default/shop";
    assert_eq!(host.workload_update(workload("1.0.0")).await.unwrap_err().code, ErrorCode::NotRunning);
    let started = host.workload_start(workload("1.0.0")).await.unwrap();
    assert_eq!((started.id.as_str(), started.version.as_deref()), (id, Some("1.0.0")));
    assert_eq!(host.workload_start(workload("1.0.0")).await.unwrap_err().code, ErrorCode::AlreadyRunning);
    let heartbeat = host.heartbeat().await.unwrap();
    assert_eq!((heartbeat.workloads[0].id.as_str(), &*heartbeat.labels["zone"]), (id, "test"));
    let updated = host.workload_update(workload("1.1.0")).await.unwrap();
    assert_eq!(updated.version.as_deref(), Some("1.1.0"));
    assert_eq!(host.workload_status(id).await.unwrap(), updated);
    let text = "greet(\"ü, \\\"you\\\"\")";
    assert_eq!(host.call(id, CallRequest::new("web", text)).await.unwrap().results, ["web", text]);
    let page = host.workload_list(None, None).await.unwrap();
    assert_eq!((page.workloads[0].id.as_str(), page.next), (id, None));
    let page = host.workload_list(Some(id), Some(7)).await.unwrap();
    assert_eq!((page.workloads.len(), page.next.as_deref()), (0, Some("limit/7")));
    let page = host.workload_logs(id, 3, Duration::from_millis(5)).await.unwrap();
    assert_eq!((page.next, page.dropped), (3, 5));
    assert_eq!(host.workload_stop(id).await.unwrap().state, State::Stopped);
    for id in [id, "", "shop", "default/Shop", "a/b/c", "default/shop?x", "default/../shop", "default/a b"] {
        assert_eq!(host.workload_status(id).await.unwrap_err(), ApiError::no_workload(id));
        assert_eq!(host.workload_stop(id).await.unwrap_err(), ApiError::no_workload(id));
        assert_eq!(host.call(id, CallRequest::new("web", "run()")).await.unwrap_err(), ApiError::no_workload(id));
    }
}

#[tokio::test]
async fn a_remote_host_is_like_one_in_process() {
    behaves_as_a_host(&Fake::default()).await;
    let folder = TempDir::new().unwrap();
    behaves_as_a_host(&unix(Arc::default(), &folder)).await;
    behaves_as_a_host(&tcp(Arc::default()).await).await;
}

#[tokio::test]
async fn errors_of_each_code_arrive_in_full() {
    let client = tcp(Arc::default()).await;
    for code in ErrorCode::ALL {
        let id = format!("errors/{}", serde_json::to_value(code).unwrap().as_str().unwrap());
        let error = client.workload_status(&id).await.unwrap_err();
        assert_eq!(error.code, *code);
        assert_eq!(Some(error), failing(&id));
    }
}

#[tokio::test]
async fn the_host_gets_the_bytes_of_each_component_once() {
    let fake = Arc::new(Fake::default());
    let client = tcp(fake.clone()).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("web.wasm");
    std::fs::write(&file, "of a file").unwrap();
    let shop = workload("1.0.0")
        .with_component(name("web"), Component::from_path(&file))
        .with_component(name("one"), Component::from_bytes(*b"in memory"))
        .with_component(name("two"), Component::from_bytes(*b"in memory"))
        .with_component(name("large"), Component::from_bytes(vec![7; 3 << 20]));
    client.workload_start(shop.clone()).await.unwrap();
    client.workload_update(shop).await.unwrap();
    let blobs = fake.blobs.lock().unwrap();
    assert_eq!(blobs.len(), 3);
    for bytes in [b"of a file".as_slice(), b"in memory", &vec![7; 3 << 20]] {
        let (uploaded, times) = &blobs[&Digest::of(bytes).to_string()];
        assert_eq!((&uploaded[..], *times), (bytes, 1));
    }
}

#[tokio::test]
async fn files_that_cannot_be_read_are_all_named() {
    let client = tcp(Arc::default()).await;
    let folder = TempDir::new().unwrap();
    let shop = workload("1.0.0")
        .with_component(name("web"), Component::from_path(folder.path().join("web.wasm")))
        .with_component(name("worker"), Component::from_path(folder.path()));
    let error = client.workload_start(shop).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Invalid);
    let places: Vec<_> = error.diagnostics.iter().map(|found| found.place.as_deref().unwrap()).collect();
    assert_eq!(places, ["components.web.source", "components.worker.source"]);
    assert!(error.diagnostics.iter().all(|found| found.severity == Severity::Error && found.hint.is_some()));
}

/// A client of a server that reads one request, writes `response` and hangs up, for each connection.
fn answering(folder: &TempDir, response: &'static [u8]) -> Client {
    let path = folder.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // A request without a body is small enough to arrive in one piece.
            let read = stream.read(&mut [0; 4096]).await.unwrap();
            assert!(read > 0, "the client sends a request");
            stream.write_all(response).await.ok();
        }
    });
    Client::unix(path)
}

async fn refused(client: &Client, message: &str) -> ApiError {
    let error = client.heartbeat().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Transport, "{error}");
    assert!(error.message.contains(message), "{error}");
    error
}

#[tokio::test]
async fn a_server_that_hangs_up_is_a_transport_error() {
    for response in [
        b"".as_slice(),
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"id\"",
    ] {
        let error = refused(&answering(&TempDir::new().unwrap(), response), "failed before the response").await;
        assert!(!error.causes.is_empty(), "{error}");
    }
}

#[tokio::test]
async fn garbage_is_a_transport_error() {
    let garbage = b"\x16\x03\x01 this is not HTTP\r\n\r\n";
    refused(&answering(&TempDir::new().unwrap(), garbage), "failed before the response").await;
    let page = b"HTTP/1.1 404 Not Found\r\ncontent-length: 13\r\n\r\n<html></html>";
    refused(&answering(&TempDir::new().unwrap(), page), "status 404").await;
    let other = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";
    let error = refused(&answering(&TempDir::new().unwrap(), other), "status 200").await;
    assert!(error.causes[0].contains("missing field `id`"), "{error}");
    let elsewhere = b"HTTP/1.1 302 Found\r\nlocation: /v1/other\r\ncontent-length: 0\r\n\r\n";
    refused(&answering(&TempDir::new().unwrap(), elsewhere), "status 302").await;
}

#[tokio::test]
async fn a_response_above_the_limit_is_refused() {
    let folder = TempDir::new().unwrap();
    let client = unix(Arc::default(), &folder);
    client.heartbeat().await.unwrap();
    refused(&client.with_max_response(10), "limit reached: response body (10 bytes)").await;
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\naaaaaaaa\r\n8\r\nbbbbbbbb\r\n0\r\n\r\n";
    let folder = TempDir::new().unwrap();
    let client = answering(&folder, chunked);
    refused(&client.with_max_response(10), "limit reached: response body (10 bytes)").await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_too_late_is_a_transport_error() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("api.sock");
    // It accepts connections by the system's queue, and answers none.
    let _listener = UnixListener::bind(&path).unwrap();
    let client = Client::unix(&path);
    refused(&client, "within 120s").await;
    refused(&client.with_timeout(Duration::from_millis(250)), "within 250ms").await;
}

#[tokio::test]
async fn an_address_without_a_host_is_a_transport_error() {
    let folder = TempDir::new().unwrap();
    let error = refused(&Client::unix(folder.path().join("none.sock")), "none.sock`; check the address").await;
    assert_eq!(error.causes.len(), 1, "{error}");
    refused(&Client::tcp("no address at all"), "cannot connect to `tcp:no address at all`").await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    refused(&Client::tcp(free.to_string()), "cannot connect").await;
}

#[tokio::test]
async fn a_server_that_fails_a_head_request_stops_the_upload() {
    let shop = workload("1.0.0").with_component(name("web"), Component::from_bytes(*b"web"));
    let folder = TempDir::new().unwrap();
    let client = answering(&folder, b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n");
    let error = client.workload_start(shop).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Transport);
    assert!(error.message.contains("status 500"), "{error}");
}

#[tokio::test]
async fn an_operation_that_is_dropped_closes_its_connection() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let client = Client::unix(path);
    let received = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let read = stream.read(&mut [0; 4096]).await.unwrap();
        assert!(read > 0, "the client sends a request");
        stream
    };
    let mut stream = tokio::select! {
        response = client.heartbeat() => panic!("{response:?}"),
        stream = received => stream,
    };
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}
