//! A host in this process, and clients that speak to it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wharf::host::WorkloadStatus;
use wharf::workload::Workload;
use wharf::workload::manifest::{Format, parse};
use wharf::{Engine, Host, HostApi, HostBuilder, Limit};
use wharf_http::{HttpPlugin, HttpServer, Settings};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// The workload that the tests are about.
pub const ID: &str = "default/w";

/// A fixture guest's component.
pub fn guest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../guests/prebuilt").join(format!("{name}.wasm"))
}

/// A workload `name` that is served on the host name `host`, from one guest with more of a manifest for it.
pub fn workload(name: &str, host: &str, component: &str, more: &str) -> Workload {
    let path = guest(component);
    let text = format!(
        "name = '{name}'\n[components.it]\nsource = '{}'\n{more}\n[[triggers.http]]\ncomponent = 'it'\nhost = '{host}'\n",
        path.display()
    );
    declared(&text)
}

pub fn declared(text: &str) -> Workload {
    let parsed = parse(text, Format::Toml);
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    parsed.workload.unwrap()
}

/// A host with an HTTP server.
pub struct Served {
    pub host: Host,
    pub server: HttpServer,
}

impl Served {
    pub async fn new() -> Self {
        Self::with(Engine::builder(), |host| host).await
    }

    pub async fn with(engine: wharf::EngineBuilder, host: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        Self::on(Self::settings(), engine, host).await
    }

    pub fn settings() -> Settings {
        Settings::new(([127, 0, 0, 1], 0).into())
    }

    pub async fn on(
        settings: Settings,
        engine: wharf::EngineBuilder,
        host: impl FnOnce(HostBuilder) -> HostBuilder,
    ) -> Self {
        let server = HttpServer::bind(settings).await.unwrap();
        let builder = Host::builder(engine.build().unwrap()).plugin(HttpPlugin).trigger(server.clone());
        let host = host(builder).build().unwrap();
        server.accept();
        Self { host, server }
    }

    /// The guest as the workload `w` on `w.test`, and an untouched neighbour on `neighbour.test`.
    pub async fn of(component: &str, more: &str) -> Self {
        let served = Self::new().await;
        served.host.workload_start(workload("w", "w.test", component, more)).await.unwrap();
        served.host.workload_start(workload("n", "neighbour.test", "hello-p2", "")).await.unwrap();
        served
    }

    pub async fn status(&self) -> WorkloadStatus {
        self.host.workload_status(ID).await.unwrap()
    }

    /// How often a limit was reached.
    pub async fn refused(&self, limit: Limit) -> u64 {
        self.status().await.refusals.get(&limit).copied().unwrap_or(0)
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, so: impl Fn(&WorkloadStatus) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !so(&self.status().await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "never: {what}: {:?}", self.status().await);
    }

    /// The status and body of a request to the workload, on a connection of its own.
    pub async fn get(&self, path: &str) -> (u16, String) {
        self.send(get("w.test", path)).await
    }

    pub async fn send(&self, request: http::Request<Full<Bytes>>) -> (u16, String) {
        self.connect().await.send(request).await
    }

    pub async fn neighbour_is_well(&self) {
        let (status, text) = self.send(get("neighbour.test", "/")).await;
        assert_eq!(status, 200, "the neighbour: {text}");
    }

    pub async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.server.local_addr()).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Connection(sender)
    }

    pub async fn connect_h2(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.server.local_addr()).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// A connection to write bytes to, with these written.
    pub async fn raw(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.local_addr()).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }
}

/// A connection that is kept alive.
pub struct Connection(http1::SendRequest<Full<Bytes>>);

impl Connection {
    /// The status and body of a request; of a body that ends early, what there was of it and a word about it.
    pub async fn send(&mut self, request: http::Request<Full<Bytes>>) -> (u16, String) {
        self.0.ready().await.unwrap();
        let response = tokio::time::timeout(PATIENCE, self.0.send_request(request)).await.unwrap().unwrap();
        let status = response.status().as_u16();
        match tokio::time::timeout(PATIENCE, response.into_body().collect()).await.unwrap() {
            Ok(body) => (status, String::from_utf8_lossy(&body.to_bytes()).into_owned()),
            Err(error) => (status, format!("cut: {error}")),
        }
    }
}

pub fn get(host: &str, path: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(path).header("host", host).body(Full::default()).unwrap()
}

/// Reads until the other side ends or has sent so much.
pub async fn read(stream: &mut TcpStream, at_most: usize) -> usize {
    let mut buffer = vec![0; 64 * 1024];
    let mut read = 0;
    while read < at_most {
        match tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap() {
            Ok(0) | Err(_) => break,
            Ok(n) => read += n,
        }
    }
    read
}

/// The file descriptors that this process has open.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The memory of this process that is resident, in KiB.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
