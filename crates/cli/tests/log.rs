//! The log: neither a component that writes much nor a slow reader of standard error affects other components.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use support::{PATIENCE, Server, get, guest, manifest, stderr, text, wharf};

/// A server whose standard error is read only until the line with its address.
struct Unread {
    child: Child,
    address: String,
    stderr: Option<BufReader<ChildStderr>>,
}

impl Unread {
    fn start(more: &str) -> (Self, tempfile::TempDir) {
        let folder = manifest(&format!(
            "name = 'w'\n[components.it]\nsource = '{}'\n{more}\n[[triggers.http]]\ncomponent = 'it'\n",
            guest("abuse-p2").display()
        ));
        let mut command = wharf();
        command.arg("up").arg(folder.path()).args(["--listen", "127.0.0.1:0"]).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("Serving HTTP") {
            line.clear();
            stderr.read_line(&mut line).unwrap();
        }
        let address = line.split("//").nth(1).unwrap().trim().trim_end_matches('/').to_owned();
        (Self { child, address, stderr: Some(stderr) }, folder)
    }

    async fn get(&self, path: &str) -> u16 {
        let stream = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        let stream = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(get(path))).await;
        answer.expect("the server is blocked").unwrap().status().as_u16()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn a_stalled_reader_does_not_block_the_server() {
    let (mut server, _folder) = Unread::start("limits = { log-rate = 1000000 }");
    // Far more than the pipe and the writer buffer.
    for _ in 0..20 {
        assert_eq!(server.get("/log?n=20000").await, 200);
    }
    assert_eq!(server.get("/unreachable").await, 502);
    assert_eq!(server.get("/hello").await, 200);
    // Once it is read again, the log has the number of dropped lines and all lines of the host.
    let (sender, lines) = std::sync::mpsc::channel();
    let stderr = server.stderr.take().unwrap();
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            sender.send(line).ok();
        }
    });
    let (mut dropped, mut trapped) = (0, false);
    while dropped == 0 || !trapped {
        let line = lines.recv_timeout(PATIENCE).expect("the log ends too early");
        if let Some((_, rest)) = line.split_once("… dropped ") {
            assert!(rest.contains(" and 0 of the host"), "{line}");
            dropped += rest.split(' ').next().unwrap().parse::<u64>().unwrap();
        }
        trapped |= line.contains("the component failed: wasm trap");
    }
    assert!(dropped > 10_000, "{dropped}");
}

#[tokio::test]
async fn the_program_exits_although_its_log_is_not_read() {
    let (mut server, _folder) = Unread::start("limits = { log-rate = 1000000 }");
    for _ in 0..10 {
        assert_eq!(server.get("/log?n=20000").await, 200);
    }
    let id = server.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let begun = Instant::now();
    while server.child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "the exit waits for the reader of the log");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut rest = Vec::new();
    server.stderr.take().unwrap().read_to_end(&mut rest).unwrap();
}

fn logger(limits: &str) -> Server {
    let folder = manifest(&format!(
        "name = 'w'\n[components.it]\nsource = '{}'\n{limits}\n[[triggers.http]]\ncomponent = 'it'\n",
        guest("logger-p2").display()
    ));
    Server::up(folder.path())
}

#[tokio::test]
async fn control_characters_in_log_messages_are_escaped() {
    let mut server = logger("");
    let shown = "a\\u{1b}[2Jb\\r2026-01-01T00:00:00Z ERROR forged\\u{85}c\\u{202e}d";
    for path in ["/forge-log", "/forge-print"] {
        assert_eq!(text(&server.get(path).await), "logged");
        let line = server.wait_for("forged");
        assert!(line.contains(shown) && !line.starts_with("2026-01-01"), "{path}: {line}");
        server.forget();
    }
}

#[tokio::test]
async fn the_lines_of_a_call_have_its_number() {
    let mut server = logger("");
    let mut calls = Vec::new();
    for _ in 0..2 {
        server.get("/forge-log").await;
        let line = server.wait_for("forged");
        server.forget();
        let call = line.split_whitespace().find_map(|field| field.strip_prefix("call=")).expect("a field `call`");
        calls.push(call.parse::<u64>().unwrap());
    }
    assert!(calls[0] < calls[1], "{calls:?}");
}

#[tokio::test]
async fn a_message_is_bounded_and_its_length_counts() {
    let mut server = logger("limits = { log-rate = 100, memory = '512MiB' }");
    server.get("/long?50000000").await;
    let line = server.wait_for("bytes more)");
    // The message is cut at 16 KiB, its context at a quarter of one.
    assert!(line.len() < 18_000, "{} bytes", line.len());
    server.forget();
    // Each message counts as 16 lines, and the limit is a hundred lines a second.
    for _ in 0..20 {
        server.get("/long?50000").await;
    }
    server.wait_for("log-rate");
    server.forget();
    // A message of very many lines costs no more than its first lines.
    server.get("/lines?5000000").await;
}

#[test]
fn control_characters_in_function_names_of_a_trap_are_escaped() {
    // The function's name imitates a line of the log.
    let wat = r#"(component
        (core module $m (func $f (@name "x\n2026-01-01 ERROR forged\1b[31m") (export "run") unreachable))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#;
    let wat = wat.replace("(export \"run\") unreachable", "(export \"run\") (result i32) unreachable");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forger.wasm");
    std::fs::write(&path, wat::parse_str(wat).unwrap()).unwrap();
    let output = support::run(&["run", path.to_str().unwrap()]);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{error}");
    assert!(error.contains("forged\\u{1b}[31m"), "{error}");
    assert!(error.lines().all(|line| !line.starts_with("2026")), "{error}");
}
