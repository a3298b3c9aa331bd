//! Servers as processes: starts them on one core, waits until they respond, and reads their CPU time and memory.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// A server's command line, with `{address}` in place of its address.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
    /// The path of its first request.
    path: &'static str,
    cores: &'static str,
}

pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) first_answer: Duration,
}

impl Server {
    pub(crate) fn new(name: &str, command: &[&str]) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Self { name: name.to_owned(), command, path: "/", cores: "0" }
    }

    /// Runs the server on all cores instead of the first.
    pub(crate) fn on_all_cores(self) -> Self {
        Self { cores: "0-1023", ..self }
    }

    /// Sets the path of the first request.
    pub(crate) fn with_path(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    /// Starts the server, and waits for its first response.
    pub(crate) fn start(&self) -> Result<Running> {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let words = self.command.iter().map(|word| word.replace("{address}", &address.to_string()));
        let begun = Instant::now();
        let mut command = Command::new("taskset");
        // With RUST_BACKTRACE the engine walks the stack for errors on the normal path.
        command.env_remove("RUST_BACKTRACE").args(["-c", self.cores]).args(words);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut running = Running { child, address, first_answer: Duration::ZERO };
        while get(address, self.path).is_err() {
            if begun.elapsed() > Duration::from_secs(30) || running.child.try_wait()?.is_some() {
                return Err(format!("{} does not respond", self.name).into());
            }
            std::thread::yield_now();
        }
        running.first_answer = begun.elapsed();
        Ok(running)
    }
}

/// Sends one request. An error unless the status is 200.
fn get(address: SocketAddr, path: &str) -> Result {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    if &answer == b"HTTP/1.1 200" { Ok(()) } else { Err("the status is not 200".into()) }
}

impl Running {
    /// A server that the caller has started, and that responds.
    pub(crate) fn new(child: Child, address: SocketAddr) -> Self {
        Self { child, address, first_answer: Duration::ZERO }
    }

    /// Its user and system CPU time in microseconds.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        // USER_HZ is 100 on Linux.
        Ok(ticks * 10_000.0)
    }

    /// Its resident memory, in MiB.
    pub(crate) fn resident(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<f64>()? / 1024.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The path of a program that was built beside this one, or that is on the PATH.
pub(crate) fn program(name: &str) -> Result<String> {
    let beside = std::env::current_exe()?.with_file_name(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join(name));
    let found = std::iter::once(beside).chain(on_path).find(|path: &PathBuf| path.exists());
    let hint = match name {
        "wasmtime" => "cargo install wasmtime-cli --version 48.0.8 --locked",
        "wrk" => "apt-get install wrk",
        _ => "cargo build --release --workspace",
    };
    found.map(|path| path.display().to_string()).ok_or_else(|| format!("cannot find `{name}`; run `{hint}`").into())
}
