//! A host in this process, with its HTTP server, for measurements from within.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use wharf::workload::manifest::{Component, HttpPath, HttpTrigger};
use wharf::workload::{Name, Workload};
use wharf::{Engine, Host};
use wharf_http::{HttpPlugin, HttpServer, Settings};

use crate::Result;

pub(crate) struct Inside {
    pub(crate) host: Host,
    pub(crate) address: SocketAddr,
}

impl Inside {
    /// Starts the host and its server. Must run in a tokio runtime.
    pub(crate) async fn new(cache: &Path) -> Result<Self> {
        let server = HttpServer::bind(Settings::new(([127, 0, 0, 1], 0).into())).await?;
        let engine = Engine::builder().cache(cache, 64 << 30).build()?;
        let host = Host::builder(engine).plugin(HttpPlugin).trigger(server.clone()).build()?;
        server.accept();
        Ok(Self { host, address: server.local_addr() })
    }
}

/// A workload of one component that serves the host name `<name>.test`.
pub(crate) fn workload(name: &str, component: Component) -> Result<Workload> {
    let name: Name = name.parse()?;
    let mut workload = Workload::new(name.clone()).with_component(name.clone(), component);
    let host = Some(format!("{name}.test"));
    workload.triggers.push(HttpTrigger { component: name, host, path: HttpPath::default() })?;
    Ok(workload)
}

/// A client on one connection.
pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Sets the timeout for a response.
    pub(crate) fn patience(&self, time: Duration) -> Result {
        Ok(self.0.set_read_timeout(Some(time))?)
    }

    /// The time of a request until the last byte of its response. An error if the status is not 200.
    pub(crate) fn ask(&mut self, host: &str, path: &str) -> Result<Duration> {
        let begun = Instant::now();
        write!(self.0, "GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")?;
        let (mut buffer, mut filled) = ([0; 4096], 0);
        loop {
            let read = self.0.read(&mut buffer[filled..])?;
            filled += read;
            let text = std::str::from_utf8(&buffer[..filled])?;
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                if !head.starts_with("HTTP/1.1 200") {
                    return Err(head.into());
                }
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                if length.is_some_and(|length| body.len() >= length) || body.ends_with("0\r\n\r\n") {
                    return Ok(begun.elapsed());
                }
            }
            if read == 0 {
                return Err("the server closed the connection".into());
            }
        }
    }
}

/// A percentile of the values.
pub(crate) fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// This process's resident memory, in KiB.
pub(crate) fn resident() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}
