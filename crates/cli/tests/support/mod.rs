//! Starts the program, and sends HTTP requests to it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod breakout;
pub mod echo;
pub mod names;
pub mod postgres;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

/// How long a test waits for anything before it fails.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The component of a fixture guest.
pub fn guest(name: &str) -> PathBuf {
    root().join("guests/prebuilt").join(format!("{name}.wasm"))
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The program, with a cache that the tests share.
pub fn wharf() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    command.env("WHARF_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")).env_remove("WHARF_LOG");
    command.stdin(Stdio::null());
    command
}

/// Runs the program until it exits.
pub fn run(args: &[&str]) -> Output {
    wharf().args(args).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A temporary folder with a manifest.
pub fn manifest(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wharf.toml"), text).unwrap();
    folder
}

/// A running server. Dropping it kills the process.
pub struct Server {
    pub child: Child,
    pub address: String,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Server {
    pub fn up(folder: &Path) -> Self {
        let mut command = wharf();
        command.arg("up").arg(folder).args(["--listen", "127.0.0.1:0"]);
        Self::start(command)
    }

    pub fn serve(component: &str, args: &[&str]) -> Self {
        let mut command = wharf();
        command.arg("serve").arg(guest(component)).args(["--listen", "127.0.0.1:0"]).args(args);
        Self::start(command)
    }

    /// Starts a command that serves, and waits for the line with its address.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut server = Self { child, address: String::new(), lines, seen: Vec::new() };
        let line = server.wait_for("Serving HTTP");
        let url = line.split(" on ").nth(1).unwrap().trim();
        server.address = url.split("//").nth(1).unwrap().trim_end_matches('/').to_owned();
        server
    }

    /// Waits for a line on standard error that contains this text, and returns the line.
    pub fn wait_for(&mut self, text: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => {
                    panic!("no line on standard error contains `{text}`; the lines are:\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// How many of the lines seen so far contain this text.
    pub fn lines_with(&self, text: &str) -> usize {
        self.seen.iter().filter(|line| line.contains(text)).count()
    }

    /// Discards the lines seen so far, so that the next wait is for a new line.
    pub fn forget(&mut self) {
        self.seen.clear();
    }

    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Sends one request on a new connection.
    pub async fn ask(&self, request: http::Request<Full<Bytes>>) -> http::Response<Bytes> {
        self.connect().await.ask(request).await
    }

    pub async fn get(&self, path: &str) -> http::Response<Bytes> {
        self.ask(get(path)).await
    }

    pub async fn connect(&self) -> Connection {
        let stream = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Connection { sender }
    }

    /// Connects with HTTP/2 by prior knowledge.
    pub async fn connect_h2<B>(&self) -> hyper::client::conn::http2::SendRequest<B>
    where
        B: http_body_util::BodyExt<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
            + Send
            + Unpin
            + 'static,
    {
        let stream = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A keep-alive connection.
pub struct Connection {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Sends a request; `None` when the server is gone before it has answered.
    pub async fn try_ask(&mut self, request: http::Request<Full<Bytes>>) -> Option<http::StatusCode> {
        self.sender.ready().await.ok()?;
        let response = self.sender.send_request(request).await.ok()?;
        Some(response.status())
    }

    pub async fn ask(&mut self, request: http::Request<Full<Bytes>>) -> http::Response<Bytes> {
        self.sender.ready().await.unwrap();
        let response = tokio::time::timeout(PATIENCE, self.sender.send_request(request)).await.unwrap().unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        http::Response::from_parts(parts, body)
    }
}

pub fn get(path: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(path).header("host", "localhost").body(Full::default()).unwrap()
}

pub fn text(response: &http::Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}
