//! The cost of a request: Wharf, `wasmtime serve` with its defaults, and a bare hyper server as the floor. They alternate, each on
//! one core with `wrk` on the other.

use std::process::Command;

use crate::process::{Server, program};
use crate::{Result, goal, guest, median};

const ROUNDS: usize = 3;
const SECONDS: &str = "3";

pub(crate) struct Figures {
    cpu: Vec<f64>,
    rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// p50 with one connection.
    single: Vec<f64>,
    idle: Vec<f64>,
    resident: Vec<f64>,
}

pub(crate) fn run() -> Result {
    let (wharf, wasmtime) = (program("wharf")?, program("wasmtime")?);
    let itself = std::env::current_exe()?.display().to_string();
    let [p2, p3] = ["hello-p2", "hello-p3"].map(|name| guest(name).display().to_string());
    let folder = std::env::temp_dir().join(format!("wharf-bench-{}", std::process::id()));
    let (pair, composed) = pair(&folder)?;
    let ours = |what: &str, component: &str, more: &[&str]| {
        let command = [&[&*wharf, "serve", component, "--listen", "{address}"], more].concat();
        Server::new(&format!("{what}: wharf"), &command)
    };
    let theirs = |what: &str, component: &str, more: &[&str]| {
        let command = [&[&*wasmtime, "serve", "--addr", "{address}"], more, &[component]].concat();
        Server::new(&format!("{what}: wasmtime serve"), &command)
    };
    let (once, often) = (["--max-instance-reuse-count", "1"], ["--max-instance-reuse-count", "1000000"]);
    let servers = [
        Server::new("bare hyper", &[&itself, "floor", "{address}"]),
        ours("WASI 0.2, fresh", &p2, &[]),
        theirs("WASI 0.2, fresh", &p2, &[]),
        ours("WASI 0.2, warm", &p2, &["--warm", "64"]),
        ours("WASI 0.2, reuse", &p2, &["--reuse", "1000000"]),
        theirs("WASI 0.2, reuse", &p2, &often),
        ours("WASI 0.3, fresh", &p3, &[]),
        theirs("WASI 0.3, fresh", &p3, &once),
        ours("WASI 0.3, reuse", &p3, &["--reuse", "1000000"]),
        theirs("WASI 0.3, reuse", &p3, &often),
        Server::new("two components, fresh: wharf", &[&wharf, "up", &pair, "--listen", "{address}"]),
        theirs("two components, fresh", &composed, &once),
    ];
    let mut figures: Vec<Figures> = servers.iter().map(|_| Figures::new()).collect();
    for _ in 0..ROUNDS {
        for (server, figures) in servers.iter().zip(&mut figures) {
            figures.round(server)?;
        }
    }
    std::fs::remove_dir_all(&folder).ok();
    println!(
        "| server | CPU µs/request | requests/s | p50 µs | p99 µs | p50 µs, one connection | resident MiB, idle | after |\n\
         |---|---|---|---|---|---|---|---|"
    );
    let mut all = Vec::new();
    for (server, figures) in servers.iter().zip(figures) {
        let Figures { cpu, rate, p50, p99, single, idle, resident } = figures;
        let [cpu, rate, p50, p99, single, idle, resident] = [cpu, rate, p50, p99, single, idle, resident].map(median);
        println!(
            "| {} | {cpu:.1} | {rate:.0} | {p50:.0} | {p99:.0} | {single:.0} | {idle:.0} | {resident:.0} |",
            server.name
        );
        all.push([cpu, p50, p99, single, idle]);
    }
    goals(&all);
    Ok(())
}

fn goals(all: &[[f64; 5]]) {
    let [cpu, p50, p99, single, idle] = [0, 1, 2, 3, 4];
    let ratio = |a: usize, b: usize| all[a][cpu] / all[b][cpu];
    goal("WASI 0.2 fresh, CPU ratio to wasmtime serve", ratio(1, 2), 0.4);
    goal("WASI 0.3 fresh, CPU ratio to wasmtime serve", ratio(6, 7), 0.45);
    goal("two components fresh, CPU ratio to wasmtime serve", ratio(10, 11), 0.45);
    goal("WASI 0.2 reuse, CPU ratio to wasmtime serve's best", ratio(4, 5), 1.0);
    goal("WASI 0.2 reuse, CPU ratio to the floor", ratio(4, 0), 1.9);
    goal("WASI 0.3 reuse, CPU ratio to wasmtime serve's best", ratio(8, 9), 0.8);
    goal("µs between the p50 of a warm and a reused instance, one connection", all[3][single] - all[4][single], 15.0);
    for (name, row) in [("0.2 fresh", 1), ("0.2 warm", 3), ("0.2 reuse", 4), ("0.3 fresh", 6), ("0.3 reuse", 8)] {
        goal(&format!("WASI {name}, p99 / p50"), all[row][p99] / all[row][p50], 3.0);
    }
    goal("MiB of an idle host", all[1][idle], 12.0);
}

/// A middleware in front of the hello guest: as a manifest, and composed by wac.
fn pair(folder: &std::path::Path) -> Result<(String, String)> {
    std::fs::create_dir_all(folder)?;
    let (front, hello) = (guest("middleware-p3"), guest("hello-p3"));
    let manifest = folder.join("wharf.toml");
    std::fs::write(
        &manifest,
        format!(
            "name = 'pair'\n[components.front]\nsource = '{}'\n[components.hello]\nsource = '{}'\n\
             [[links]]\nfrom = 'front'\nimport = 'wasi:http/handler'\nto = 'hello'\n[[triggers.http]]\ncomponent = 'front'\n",
            front.display(),
            hello.display()
        ),
    )?;
    let composed = folder.join("pair.wasm");
    std::fs::write(&composed, crate::calls::plugged(&front, &hello)?)?;
    Ok((manifest.display().to_string(), composed.display().to_string()))
}

impl Figures {
    pub(crate) fn new() -> Self {
        let [cpu, rate, p50, p99, single, idle, resident] = std::array::from_fn(|_| Vec::new());
        Self { cpu, rate, p50, p99, single, idle, resident }
    }

    /// The median of the CPU time of a request, in microseconds.
    pub(crate) fn cpu(self) -> f64 {
        median(self.cpu)
    }

    pub(crate) fn round(&mut self, server: &Server) -> Result {
        let running = server.start()?;
        let url = format!("http://{}/", running.address);
        let wrk = |connections: &str, seconds: &str| -> Result<String> {
            let mut command = Command::new("taskset");
            let load = ["-t1", connections, "--latency", "-d", seconds, &url];
            let command = command.args(["-c", "1", &program("wrk")?]).args(load);
            Ok(String::from_utf8(command.output()?.stdout)?)
        };
        self.idle.push(running.resident()?);
        self.single.push(micros(&number(&wrk("-c1", "1")?, "50%", 1)?)?);
        wrk("-c32", "1")?;
        let before = running.cpu()?;
        let report = wrk("-c32", SECONDS)?;
        let used = running.cpu()? - before;
        if report.contains("Non-2xx") {
            return Err(format!("{}: {report}", server.name).into());
        }
        let requests: f64 = report
            .lines()
            .find(|line| line.contains(" requests in "))
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .ok_or("wrk reports no count of requests")?;
        self.cpu.push(used / requests);
        self.rate.push(number(&report, "Requests/sec:", 1)?.parse()?);
        self.p50.push(micros(&number(&report, "50%", 1)?)?);
        self.p99.push(micros(&number(&report, "99%", 1)?)?);
        self.resident.push(running.resident()?);
        Ok(())
    }
}

/// A number in one line of wrk's report.
fn number(report: &str, line: &str, at: usize) -> Result<String> {
    let found = report
        .lines()
        .find(|l| l.trim_start().starts_with(line))
        .ok_or(format!("no line `{line}` in the report of wrk: {report}"))?;
    Ok(found.split_whitespace().nth(at).ok_or("no number")?.to_owned())
}

/// Parses a time of wrk's report. Returns microseconds.
fn micros(text: &str) -> Result<f64> {
    for (unit, factor) in [("us", 1.0), ("ms", 1e3), ("s", 1e6)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * factor);
        }
    }
    Err(format!("invalid time `{text}`").into())
}
