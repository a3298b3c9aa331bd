//! What a request costs: Wharf, `wasmtime serve` by its defaults, and a bare hyper server as the floor, in turns, each on
//! one core with `wrk` on the other.

use std::process::Command;

use crate::process::{Server, program};
use crate::{Result, goal, guest, median};

const ROUNDS: usize = 5;
const SECONDS: &str = "4";

struct Figures {
    cpu: Vec<f64>,
    rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    resident: Vec<f64>,
}

pub(crate) fn run() -> Result {
    let (wharf, wasmtime) = (program("wharf")?, program("wasmtime")?);
    let itself = std::env::current_exe()?.display().to_string();
    let [p2, p3] = ["hello-p2", "hello-p3"].map(|name| guest(name).display().to_string());
    let servers = [
        Server::new("bare hyper", &[&itself, "floor", "{address}"]),
        Server::new("WASI 0.2, fresh: wharf", &[&wharf, "serve", &p2, "--listen", "{address}"]),
        Server::new("WASI 0.2, fresh: wasmtime serve", &[&wasmtime, "serve", "--addr", "{address}", &p2]),
        Server::new("WASI 0.3, fresh: wharf", &[&wharf, "serve", &p3, "--listen", "{address}"]),
        Server::new(
            "WASI 0.3, fresh: wasmtime serve, reuse 1",
            &[&wasmtime, "serve", "--max-instance-reuse-count", "1", "--addr", "{address}", &p3],
        ),
    ];
    let mut figures: Vec<Figures> = servers.iter().map(|_| Figures::new()).collect();
    for _ in 0..ROUNDS {
        for (server, figures) in servers.iter().zip(&mut figures) {
            figures.round(server)?;
        }
    }
    println!("| server | CPU µs/request | requests/s | p50 µs | p99 µs | resident MiB |\n|---|---|---|---|---|---|");
    let mut cpu = Vec::new();
    for (server, figures) in servers.iter().zip(figures) {
        let [c, rate, p50, p99, resident] =
            [figures.cpu, figures.rate, figures.p50, figures.p99, figures.resident].map(median);
        println!("| {} | {c:.1} | {rate:.0} | {p50:.0} | {p99:.0} | {resident:.0} |", server.name);
        cpu.push(c);
    }
    goal("WASI 0.2, CPU of wasmtime serve's", cpu[1] / cpu[2], 0.7);
    goal("WASI 0.3, CPU of wasmtime serve's", cpu[3] / cpu[4], 0.7);
    Ok(())
}

impl Figures {
    fn new() -> Self {
        Self { cpu: Vec::new(), rate: Vec::new(), p50: Vec::new(), p99: Vec::new(), resident: Vec::new() }
    }

    fn round(&mut self, server: &Server) -> Result {
        let running = server.start()?;
        let url = format!("http://{}/", running.address);
        let wrk = |seconds: &str| -> Result<String> {
            let mut command = Command::new("taskset");
            let command = command.args(["-c", "1", &program("wrk")?, "-t1", "-c32", "--latency", "-d", seconds, &url]);
            Ok(String::from_utf8(command.output()?.stdout)?)
        };
        wrk("1")?;
        let before = running.cpu()?;
        let report = wrk(SECONDS)?;
        let used = running.cpu()? - before;
        let number = |line: &str, at: usize| -> Result<String> {
            let found =
                report.lines().find(|l| l.trim_start().starts_with(line)).ok_or(format!("no `{line}`: {report}"))?;
            Ok(found.split_whitespace().nth(at).ok_or("no number")?.to_owned())
        };
        if report.contains("Non-2xx") {
            return Err(format!("{}: {report}", server.name).into());
        }
        let requests: f64 = report
            .lines()
            .find(|line| line.contains(" requests in "))
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .ok_or("no count of requests")?;
        self.cpu.push(used / requests);
        self.rate.push(number("Requests/sec:", 1)?.parse()?);
        self.p50.push(micros(&number("50%", 1)?)?);
        self.p99.push(micros(&number("99%", 1)?)?);
        self.resident.push(running.resident()?);
        Ok(())
    }
}

/// A time as wrk writes it, in microseconds.
fn micros(text: &str) -> Result<f64> {
    for (unit, factor) in [("us", 1.0), ("ms", 1e3), ("s", 1e6)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * factor);
        }
    }
    Err(format!("`{text}` is no time").into())
}
