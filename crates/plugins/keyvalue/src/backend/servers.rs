//! Servers for tests: each on a free port, in a temporary folder, killed at the end.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A server.
pub(super) struct Server {
    folder: TempDir,
    port: u16,
    program: &'static str,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// A Redis server.
    pub(super) fn redis(arguments: &[&str]) -> Self {
        let mut fixed = vec!["--save", "", "--bind", "127.0.0.1", "--port", "{port}", "--dir", "{folder}"];
        fixed.extend(arguments);
        Self::start("/usr/bin/redis-server", &fixed)
    }

    /// A NATS server with `JetStream`.
    pub(super) fn nats(arguments: &[&str]) -> Self {
        let mut fixed = vec!["--jetstream", "--addr", "127.0.0.1", "--port", "{port}", "--store_dir", "{folder}"];
        fixed.extend(arguments);
        Self::start("/usr/sbin/nats-server", &fixed)
    }

    /// A NATS server without `JetStream`.
    pub(super) fn nats_without_jetstream() -> Self {
        Self::start("/usr/sbin/nats-server", &["--addr", "127.0.0.1", "--port", "{port}"])
    }

    fn start(program: &'static str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut server = Self { folder: tempfile::tempdir().unwrap(), port: 0, program, arguments, child: None };
        // Another process may take the port between its choice and its use.
        for _ in 0..5 {
            server.port = free_port();
            if server.run() {
                return server;
            }
        }
        panic!("{program} does not start: {}", server.log());
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Starts the server again after [`Self::stop`].
    pub(super) fn restart(&mut self) {
        assert!(self.run(), "{} does not start again: {}", self.program, self.log());
    }

    /// Kills the server.
    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops the server from running, or lets it go on.
    pub(super) fn pause(&self, paused: bool) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, if paused { Signal::STOP } else { Signal::CONT }).unwrap();
    }

    fn run(&mut self) -> bool {
        let folder = self.folder.path().to_str().unwrap().to_owned();
        let fill = |argument: &String| argument.replace("{port}", &self.port.to_string()).replace("{folder}", &folder);
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(self.program);
        command.args(self.arguments.iter().map(fill)).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.program));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                self.child = Some(child);
                return true;
            }
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        false
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A port that is free now.
pub(super) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
