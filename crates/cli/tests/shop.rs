//! examples/shop from an order to its receipt: on the embedded stores, and on real servers by the host's configuration.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::postgres::Postgres;
use support::{PATIENCE, Server, root, text, wharf};

/// Starts the shop with its state in a folder.
fn shop(state: &Path, more: impl FnOnce(&mut Command)) -> Server {
    let mut command = wharf();
    command.arg("up").arg(root().join("examples/shop")).args(["--listen", "127.0.0.1:0", "--state"]).arg(state);
    more(&mut command);
    Server::start(command)
}

/// Asks until the answer has this status.
async fn wait_for(server: &Server, path: &str, status: u16) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let response = server.get(path).await;
        if response.status() == status {
            return text(&response).to_owned();
        }
        assert!(Instant::now() < deadline, "{path}: {} {}", response.status(), text(&response));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn order(server: &Server, item: &str) -> String {
    let request = http::Request::post(format!("/orders?item={item}")).header("host", "localhost");
    let response = server.ask(request.body(http_body_util::Full::default()).unwrap()).await;
    assert_eq!(response.status(), 201, "{}", text(&response));
    text(&response).trim().to_owned()
}

/// Orders something, and waits for its receipt and for the report.
async fn buys(server: &Server) {
    let id = order(server, "tea").await;
    let receipt = wait_for(server, &format!("/orders/{id}"), 200).await;
    assert!(receipt.starts_with(&format!("order {id}: tea\nsigned ")), "{receipt}");
    let deadline = Instant::now() + PATIENCE;
    while !wait_for(server, "/report", 200).await.contains("done ") {
        assert!(Instant::now() < deadline, "no report");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_shop_runs_on_embedded_stores_and_keeps_its_orders() {
    let state = tempfile::tempdir().unwrap();
    let id = {
        let mut server = shop(state.path(), |_| {});
        buys(&server).await;
        let id = order(&server, "milk").await;
        wait_for(&server, &format!("/orders/{id}"), 200).await;
        server.signal("-TERM");
        assert_eq!(server.exit_code(), Some(0));
        id
    };
    let server = shop(state.path(), |_| {});
    assert!(wait_for(&server, &format!("/orders/{id}"), 200).await.starts_with(&format!("order {id}: milk\n")));
    let next: u32 = order(&server, "jam").await.parse().unwrap();
    assert_eq!(next, id.parse::<u32>().unwrap() + 1, "the counter is kept");
}

/// A server for one test, on a free port. Dropping it kills the process.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts a server, and waits until it accepts connections.
fn serve(program: &str, arguments: impl FnOnce(u16) -> Vec<String>) -> (Process, u16) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    // Debian has some servers in a folder that only root's PATH has.
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("env");
    command.env("PATH", path).arg(program).args(arguments(port)).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process(command.spawn().unwrap());
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < deadline, "`{program}` does not start; scripts/servers.sh installs it");
        std::thread::sleep(Duration::from_millis(20));
    }
    (process, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_runs_on_real_servers() {
    let (state, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = data.path().display().to_string();
    let database = Postgres::start();
    let (_redis, redis) = serve("redis-server", |port| {
        ["--port", &port.to_string(), "--save", "", "--dir", &folder].map(str::to_owned).to_vec()
    });
    let (_nats, nats) = serve("nats-server", |port| {
        ["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", &folder].map(str::to_owned).to_vec()
    });
    let server = shop(state.path(), |command| {
        command.arg("--host-config").arg(root().join("examples/shop/host.toml"));
        command.env("DATABASE_URL", database.url());
        command.env("REDIS_URL", format!("redis://127.0.0.1:{redis}"));
        command.env("NATS_URL", format!("nats://127.0.0.1:{nats}"));
    });
    buys(&server).await;
    assert_eq!(database.query("SELECT item, state FROM orders"), "tea|done");
    assert!(!state.path().join("default").exists(), "nothing is embedded");
}
