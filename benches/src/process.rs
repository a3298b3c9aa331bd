//! Servers as processes: started on one core, asked when they are up, read for what they used.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// A server's command line, with `{address}` where its address goes.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
    /// What its first answer is asked for.
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

    /// The same on all cores; without this it has the first alone.
    pub(crate) fn on_all_cores(self) -> Self {
        Self { cores: "0-1023", ..self }
    }

    /// The same, asked for another path.
    pub(crate) fn with_path(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    /// Starts it on the first core, and waits for its first answer.
    pub(crate) fn start(&self) -> Result<Running> {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let words = self.command.iter().map(|word| word.replace("{address}", &address.to_string()));
        let begun = Instant::now();
        let mut command = Command::new("taskset");
        // Errors that are no errors would have their stacks walked.
        command.env_remove("RUST_BACKTRACE").args(["-c", self.cores]).args(words);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut running = Running { child, address, first_answer: Duration::ZERO };
        while get(address, self.path).is_err() {
            if begun.elapsed() > Duration::from_secs(30) || running.child.try_wait()?.is_some() {
                return Err(format!("{} does not answer", self.name).into());
            }
            std::thread::yield_now();
        }
        running.first_answer = begun.elapsed();
        Ok(running)
    }
}

/// One request; an error until somebody answers with 200.
fn get(address: SocketAddr, path: &str) -> Result {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    if &answer == b"HTTP/1.1 200" { Ok(()) } else { Err("not 200".into()) }
}

impl Running {
    /// One that something else started, and that answers already.
    pub(crate) fn new(child: Child, address: SocketAddr) -> Self {
        Self { child, address, first_answer: Duration::ZERO }
    }

    /// The processor time that it has used, user and system, in microseconds.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        // USER_HZ is 100 on every Linux that there is.
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

/// A program that was built beside this one, or that is on the path.
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
    found.map(|path| path.display().to_string()).ok_or_else(|| format!("`{name}` is not there: {hint}").into())
}
