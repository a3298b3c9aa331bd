//! A host with an HTTP server in the test's process, and clients for it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod http1_client;
pub mod volumes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wharf::api::WorkloadStatus;
use wharf::workload::Workload;
use wharf::workload::manifest::{Format, parse};
use wharf::{Engine, Host, HostBuilder, Limit};
use wharf_http::{HttpPlugin, HttpServer, Settings};

/// How long a test waits for an event before it fails.
pub const TIMEOUT: Duration = Duration::from_mins(1);
/// The id of the workload under test.
pub const WORKLOAD_ID: &str = "default/w";

/// The path of a fixture guest's component.
pub fn guest_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../guests/prebuilt").join(format!("{name}.wasm"))
}

/// A workload with a route for the host name `host` to one guest. `more` is appended to the component's manifest
/// section.
pub fn workload(name: &str, host: &str, component: &str, more: &str) -> Workload {
    let path = guest_path(component);
    let text = format!(
        "name = '{name}'\n[components.it]\nsource = '{}'\n{more}\n[[triggers.http]]\ncomponent = 'it'\nhost = '{host}'\n",
        path.display()
    );
    parse_workload(&text)
}

/// Parses a manifest that must have no problems.
pub fn parse_workload(text: &str) -> Workload {
    let parsed = parse(text, Format::Toml);
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    parsed.workload.unwrap()
}

/// A host with an HTTP server.
pub struct TestServer {
    pub host: Host,
    pub http: HttpServer,
}

impl TestServer {
    pub async fn new() -> Self {
        Self::with(Engine::builder(), |host| host).await
    }

    pub async fn with(engine: wharf::EngineBuilder, host: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        Self::with_settings(Self::settings(), engine, host).await
    }

    pub fn settings() -> Settings {
        Settings::new(([127, 0, 0, 1], 0).into())
    }

    pub async fn with_settings(
        settings: Settings,
        engine: wharf::EngineBuilder,
        host: impl FnOnce(HostBuilder) -> HostBuilder,
    ) -> Self {
        let server = HttpServer::bind(settings).await.unwrap();
        let builder = Host::builder(engine.build().unwrap()).plugin(HttpPlugin).trigger(server.clone());
        let host = host(builder).build().unwrap();
        server.accept();
        Self { host, http: server }
    }

    /// Starts the guest as the workload `w` on `w.test`, and a neighbour on `neighbour.test`.
    pub async fn with_guest(component: &str, more: &str) -> Self {
        let server = Self::new().await;
        server.host.workload_start(workload("w", "w.test", component, more)).await.unwrap();
        server.host.workload_start(workload("n", "neighbour.test", "hello-p2", "")).await.unwrap();
        server
    }

    pub async fn status(&self) -> WorkloadStatus {
        self.host.workload_status(WORKLOAD_ID).await.unwrap()
    }

    /// How often a limit of the workload was reached.
    pub async fn refusals(&self, limit: Limit) -> u64 {
        self.status().await.refusals.get(&limit).copied().unwrap_or(0)
    }

    /// Waits until the workload's status satisfies `condition`; `what` names it in the failure.
    pub async fn wait_until(&self, what: &str, condition: impl Fn(&WorkloadStatus) -> bool) {
        let waited = tokio::time::timeout(TIMEOUT, async {
            while !condition(&self.status().await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "timed out waiting until {what}: {:?}", self.status().await);
    }

    /// The status and body of a request to the workload, on a connection of its own.
    pub async fn get(&self, path: &str) -> (u16, String) {
        self.send(get("w.test", path)).await
    }

    pub async fn send(&self, request: http::Request<Full<Bytes>>) -> (u16, String) {
        self.connect().await.send(request).await
    }

    /// Asserts that the neighbour still serves requests.
    pub async fn assert_neighbour_responds(&self) {
        let (status, text) = self.send(get("neighbour.test", "/")).await;
        assert_eq!(status, 200, "the neighbour: {text}");
    }

    pub async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.http.local_addr()).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Connection(sender)
    }

    pub async fn connect_h2(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.http.local_addr()).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Opens a TCP connection and writes these bytes to it.
    pub async fn connect_raw(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.http.local_addr()).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }
}

/// A client's HTTP/1.1 connection, kept alive between requests.
pub struct Connection(http1::SendRequest<Full<Bytes>>);

impl Connection {
    /// The status and body of a response; for a body that ends early, the error prefixed with `truncated:`.
    pub async fn send(&mut self, request: http::Request<Full<Bytes>>) -> (u16, String) {
        self.0.ready().await.unwrap();
        let response = tokio::time::timeout(TIMEOUT, self.0.send_request(request)).await.unwrap().unwrap();
        let status = response.status().as_u16();
        match tokio::time::timeout(TIMEOUT, response.into_body().collect()).await.unwrap() {
            Ok(body) => (status, String::from_utf8_lossy(&body.to_bytes()).into_owned()),
            Err(error) => (status, format!("truncated: {error}")),
        }
    }
}

pub fn get(host: &str, path: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(path).header("host", host).body(Full::default()).unwrap()
}

/// Reads until the server closes the connection or has sent `at_most` bytes. Returns the number of bytes.
pub async fn read_up_to(stream: &mut TcpStream, at_most: usize) -> usize {
    let mut buffer = vec![0; 64 * 1024];
    let mut read = 0;
    while read < at_most {
        match tokio::time::timeout(TIMEOUT, stream.read(&mut buffer)).await.unwrap() {
            Ok(0) | Err(_) => break,
            Ok(n) => read += n,
        }
    }
    read
}

/// The number of file descriptors that this process has open.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The resident memory of this process, in KiB.
pub fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
