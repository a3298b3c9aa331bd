//! Servers for tests: each on a free port, with a temporary folder. Dropping one kills it.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);

/// A server process.
pub(super) struct Server {
    program: String,
    arguments: Vec<String>,
    pub(super) port: u16,
    pub(super) folder: TempDir,
    child: Option<Child>,
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Server {
    fn new(program: &str, arguments: impl FnOnce(u16, &str) -> Vec<String>) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let arguments = arguments(port, folder.path().to_str().unwrap());
        Self { program: program.to_owned(), arguments, port, folder, child: None }
    }

    /// Starts the server.
    pub(super) fn running(mut self) -> Self {
        self.restart();
        self
    }

    /// `moto_server` (pip: `moto[server]`), which behaves as S3 and keeps the objects in memory.
    #[cfg(feature = "s3")]
    pub(super) fn s3() -> Self {
        // scripts/servers.sh installs it in a folder of its own, unless it is installed.
        let cache = std::env::var_os("XDG_CACHE_HOME").map(std::path::PathBuf::from);
        let cache = cache.unwrap_or_else(|| std::env::home_dir().unwrap_or_default().join(".cache"));
        let installed = cache.join("wharf/moto/bin/moto_server");
        let program = if installed.exists() { installed.to_str().unwrap() } else { "moto_server" };
        Self::new(program, |port, _| ["-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned).to_vec())
    }

    /// `nats-server` with `JetStream`.
    #[cfg(feature = "nats")]
    pub(super) fn nats() -> Self {
        let program = if std::path::Path::new("/usr/sbin/nats-server").exists() {
            "/usr/sbin/nats-server"
        } else {
            "nats-server"
        };
        Self::new(program, |port, folder| {
            ["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", folder].map(str::to_owned).to_vec()
        })
    }

    /// Starts the server, again with its folder and port.
    pub(super) fn restart(&mut self) {
        self.kill();
        let log = File::create(self.folder.path().join("server.log")).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("`{}` cannot be started: {error}", self.program));
        self.child = Some(child);
        let end = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let exited = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(exited.is_none() && Instant::now() < end, "`{}` does not start: {}", self.program, self.log());
            std::thread::sleep(POLL);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// Kills the server at once.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the server's process without ending it: its connections stay open and silent.
    pub(super) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused server go on.
    pub(super) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(child.id().cast_signed())).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
