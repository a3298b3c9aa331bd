//! A NATS server for one test.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A server on a port and with a folder of its own, which it keeps over restarts.
pub(crate) struct NatsServer {
    child: Option<Child>,
    pub(crate) port: u16,
    folder: TempDir,
    arguments: Vec<String>,
}

impl NatsServer {
    /// A server that is not started.
    pub(crate) fn absent(arguments: &[&str]) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
        Self { child: None, port, folder: tempfile::tempdir().unwrap(), arguments }
    }

    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut server = Self::absent(arguments);
        server.run();
        server
    }

    pub(crate) fn run(&mut self) {
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"]).arg(self.folder.path());
        command.args(&self.arguments).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("these tests need nats-server"));
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < deadline, "nats-server does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops the process without ending it, or lets it go on.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, if is_frozen { Signal::STOP } else { Signal::CONT }).unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}
