//! Servers that are absent, killed and back again, seen from a guest: the interface's error in bounded time, and a host that stays well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{host, open, run_in, workload};
use wharf::Host;

/// How long a test waits for a server, and how much longer than its time-out an operation may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server's process. Dropping it kills the process.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(program: &str, port: u16, folder: &Path) -> Server {
    let (port, folder) = (port.to_string(), folder.to_str().unwrap());
    let arguments = match program {
        "/usr/bin/redis-server" => vec!["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir", folder],
        _ => vec!["--addr", "127.0.0.1", "--port", &port, "--jetstream", "--store_dir", folder],
    };
    let mut command = Command::new(program);
    Server(
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server is installed"),
    )
}

/// Waits until an operation on the store has this outcome.
async fn wait_for(host: &Host, operation: &str, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = run_in(host, "it", operation).await.join("");
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "`{operation}`: expected `{expected}`, found `{found}`");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a guest sees while the server is away.
async fn is_away(host: &Host) {
    let begun = Instant::now();
    let script = "draft s get a\ndraft2 s set a 1\nwasmcloud s get a\nwasmcloud s set a 1\nwasmcloud s increment n 1";
    for found in run_in(host, "it", script).await {
        let typed = found == "error StoreUnavailable" || found == "error Timeout" || found.starts_with("error Other(");
        assert!(typed, "{found}");
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    // Other stores do not wait, the workload runs, and the host says what is wrong.
    assert_eq!(run_in(host, "it", "wasmcloud m set a 1\nwasmcloud m get a").await, ["ok", "1"]);
    let heartbeat = host.heartbeat().await;
    let [unhealthy] = heartbeat.workloads[0].unhealthy.as_slice() else { panic!("{heartbeat:?}") };
    assert_eq!(unhealthy.plugin, "keyvalue");
    assert!(unhealthy.detail.as_ref().unwrap().contains("store `s`"), "{unhealthy:?}");
}

async fn fails_and_recovers(program: &str, backend: &str, scheme: &str) {
    let (state, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = host(open(state.path()));
    let manifest = format!(
        "[components.it]\nsource = 'GUEST'\nkeyvalue = ['s', 'm']\n[keyvalue.s]\nbackend = '{backend}'\n\
         url = '{scheme}://127.0.0.1:{port}'\ntimeout = '1s'\n[keyvalue.m]\nbackend = 'memory'"
    );
    host.workload_start(workload(&host, &manifest)).await.expect("a workload starts without its server");
    is_away(&host).await;
    let server = start(program, port, folder.path());
    wait_for(&host, "wasmcloud s set a 1", "ok").await;
    wait_for(&host, "draft s get a", "1").await;
    assert!(host.heartbeat().await.workloads[0].unhealthy.is_empty());
    drop(server);
    is_away(&host).await;
    let _server = start(program, port, folder.path());
    wait_for(&host, "wasmcloud s set a 2", "ok").await;
    wait_for(&host, "draft2 s get a", "2").await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_fails_and_recovers() {
    fails_and_recovers("/usr/bin/redis-server", "redis", "redis").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_fails_and_recovers() {
    fails_and_recovers("/usr/sbin/nats-server", "nats", "nats").await;
}
