//! The latency of a neighbour's requests while many calls of another component spin, on a quiet machine and on one where other
//! processes compute: Wharf, and `wasmtime serve`, which serves only one component, so that the neighbour is the same one.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::inside::{Client, percentile};
use crate::process::{Server, program};
use crate::{Result, goal, guest, median};

const SPINNING: usize = 64;
const CONNECTIONS: [usize; 3] = [1, 4, 32];
const SAMPLE: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 5;
/// The timeout for one response of the peer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run() -> Result {
    let (wharf, wasmtime) = (program("wharf")?, program("wasmtime")?);
    let folder = std::env::temp_dir().join(format!("wharf-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let manifest = folder.join("wharf.toml");
    std::fs::write(
        &manifest,
        format!(
            "name = 'fair'\n[components.spins]\nsource = '{}'\nlimits = {{ concurrency = {SPINNING}, cpu = '1h', time = '1h' }}\n\
             [components.neighbour]\nsource = '{}'\n[[triggers.http]]\ncomponent = 'spins'\nhost = 'spins.test'\n\
             [[triggers.http]]\ncomponent = 'neighbour'\n",
            guest("abuse-p2").display(),
            guest("hello-p2").display()
        ),
    )?;
    let manifest = manifest.display().to_string();
    let abuse = guest("abuse-p2").display().to_string();
    let servers = [
        (Server::new("wharf", &[&wharf, "up", &manifest, "--listen", "{address}"]).on_all_cores(), "/"),
        (
            Server::new(
                "wasmtime serve",
                &[&wasmtime, "serve", "-S", "cli", "-W", "timeout=3600s", "--addr", "{address}", &abuse],
            )
            .with_path("/hello")
            .on_all_cores(),
            "/hello",
        ),
    ];
    println!(
        "p50 / p90 / p99 in µs\n| | connections | without | with {SPINNING} spinning calls | ratio of p90, of p99 |\n|---|---|---|---|---|"
    );
    let [wharf, wasmtime] = &servers;
    {
        let running = wharf.0.start()?;
        for machine in [Machine::Quiet, Machine::Busy] {
            for connections in CONNECTIONS {
                compare(running.address, machine, connections)?;
            }
        }
    }
    let running = wasmtime.0.start()?;
    let alone = sample(running.address, wasmtime.1, 1)?;
    let _spinning = spinners(running.address)?;
    let beside = sample(running.address, wasmtime.1, 1)?;
    let shown = |times: Option<[f64; 3]>| times.map_or("none answered".into(), shown);
    println!("| {}, quiet | 1 | {} | {} | |", wasmtime.0.name, shown(alone), shown(beside));
    std::fs::remove_dir_all(&folder).ok();
    Ok(())
}

/// The load of the machine besides the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machine {
    Quiet,
    /// One other process for each core computes.
    Busy,
}

/// Processes that compute. Dropping this kills them.
struct Others(Vec<Child>);

impl Others {
    fn of(machine: Machine) -> Result<Self> {
        let cores = if machine == Machine::Busy { std::thread::available_parallelism()?.get() } else { 0 };
        let compute = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
        Ok(Self((0..cores).map(|_| compute()).collect::<std::io::Result<_>>()?))
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        for other in &mut self.0 {
            other.kill().ok();
            other.wait().ok();
        }
    }
}

/// Compares the neighbour's latency without and with spinning calls. The two alternate.
fn compare(address: SocketAddr, machine: Machine, connections: usize) -> Result {
    let _others = Others::of(machine)?;
    let (mut without, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(sample(address, "/", connections)?.ok_or("the neighbour does not respond")?);
        let _spinning = spinners(address)?;
        beside.push(sample(address, "/", connections)?.ok_or("the neighbour does not respond while calls spin")?);
    }
    let middle = |times: &[[f64; 3]], index: usize| median(times.iter().map(|times| times[index]).collect());
    let of = |times: &[[f64; 3]]| [0, 1, 2].map(|index| middle(times, index));
    let ratio = |index: usize| middle(&beside, index) / middle(&without, index);
    let (p90, p99) = (ratio(1), ratio(2));
    let name = format!("{machine:?}").to_lowercase();
    println!(
        "| Wharf, {name} | {connections} | {} | {} | {p90:.2}, {p99:.2} |",
        shown(of(&without)),
        shown(of(&beside))
    );
    goal(&format!("the neighbour's p90 and p99, {name}, {connections} connections"), p90.max(p99), 3.0);
    Ok(())
}

fn shown([p50, p90, p99]: [f64; 3]) -> String {
    format!("{p50:.0} / {p90:.0} / {p99:.0}")
}

/// Starts requests that spin and never get a response.
fn spinners(address: SocketAddr) -> Result<Vec<TcpStream>> {
    let spin = || -> Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /spin HTTP/1.1\r\nhost: spins.test\r\n\r\n")?;
        Ok(stream)
    };
    (0..SPINNING).map(|_| spin()).collect()
}

/// The neighbour's p50, p90 and p99 in microseconds, for requests one after the other on each connection. `None` if no request
/// gets a response.
fn sample(address: SocketAddr, path: &str, connections: usize) -> Result<Option<[f64; 3]>> {
    // Wait until the spinning calls are in a steady state.
    std::thread::sleep(Duration::from_millis(500));
    let clients = (0..connections).map(|_| {
        let client = Client::new(address)?;
        client.patience(PATIENCE)?;
        Ok(client)
    });
    let clients = clients.collect::<Result<Vec<_>>>()?;
    let mut times: Vec<f64> = std::thread::scope(|scope| {
        let asking: Vec<_> = clients.into_iter().map(|client| scope.spawn(move || ask(client, path))).collect();
        asking.into_iter().flat_map(|asking| asking.join().unwrap_or_default()).collect()
    });
    if times.is_empty() {
        return Ok(None);
    }
    Ok(Some([50, 90, 99].map(|percent| percentile(&mut times, percent))))
}

fn ask(mut client: Client, path: &str) -> Vec<f64> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < SAMPLE {
        match client.ask("neighbour.test", path) {
            Ok(time) => times.push(time.as_secs_f64() * 1e6),
            Err(_) => break,
        }
    }
    times
}
