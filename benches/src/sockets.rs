//! The cost of a component's TCP connections: messages of 1 KiB in both directions on 32 concurrent connections, to a WASI 0.3
//! echo server that `wharf run` and `wasmtime run` execute alternately, each on one core.

use std::cell::Cell;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::process::{Running, program};
use crate::{Result, goal, guest, median};

const ROUNDS: usize = 7;
const CONNECTIONS: usize = 32;
const MESSAGE: usize = 1 << 10;
const WARM_UP: Duration = Duration::from_millis(500);
const TIME: Duration = Duration::from_secs(2);

pub(crate) fn run() -> Result {
    let (wharf, wasmtime) = (program("wharf")?, program("wasmtime")?);
    let echo = guest("tcp-echo-p3").display().to_string();
    let network = ["-C", "cache", "-W", "component-model-async", "-S", "p3,inherit-network"];
    let servers = [
        ("wharf", vec![&*wharf, "run", "--log", "warn", "--inherit-network", &echo, "--", "0"]),
        ("wasmtime run", [&[&*wasmtime, "run"], &network[..], &[&*echo, "0"]].concat()),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures: [(Vec<f64>, Vec<f64>); 2] = Default::default();
    for round in 0..ROUNDS {
        // The order alternates.
        for which in [round % 2, (round + 1) % 2] {
            let running = start(&servers[which].1)?;
            let load = |time| LocalSet::new().block_on(&runtime, load(running.address, time));
            load(WARM_UP)?;
            let before = running.cpu()?;
            let (trips, took) = load(TIME)?;
            figures[which].0.push(trips / took.as_secs_f64());
            figures[which].1.push((running.cpu()? - before) / trips);
        }
    }
    let [(our_rates, our_cpu), (their_rates, their_cpu)] = figures;
    // Ratios within each round, because the machine's speed may change between rounds.
    let ratios = |ours: &[f64], theirs: &[f64]| median(ours.iter().zip(theirs).map(|(a, b)| a / b).collect());
    let (rate, cpu) = (ratios(&their_rates, &our_rates), ratios(&our_cpu, &their_cpu));
    println!("| echo over TCP, WASI 0.3 | round trips/s | CPU µs/round trip |\n|---|---|---|");
    for ((name, _), (rates, cpu)) in servers.iter().zip([(our_rates, our_cpu), (their_rates, their_cpu)]) {
        println!("| {name} | {:.0} | {:.1} |", median(rates), median(cpu));
    }
    goal("TCP echo, rate of wasmtime run / wharf run", rate, 1.0);
    goal("TCP echo, CPU ratio to wasmtime run", cpu, 1.0);
    Ok(())
}

/// Starts the server on the first core, and waits for the port that it prints.
fn start(command: &[&str]) -> Result<Running> {
    let mut server = Command::new("taskset");
    // With RUST_BACKTRACE the engine walks the stack for errors on the normal path.
    server.env_remove("RUST_BACKTRACE").args(["-c", "0"]).args(command).stdin(Stdio::null());
    let mut child = server.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or("no output")?;
    // Dropping `running` kills the process if it prints no port.
    let mut running = Running::new(child, SocketAddr::from(([127, 0, 0, 1], 0)));
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    running.address.set_port(line.trim().parse().map_err(|_| format!("{} prints no port", command[0]))?);
    Ok(running)
}

/// The number of messages echoed, and the time.
async fn load(address: SocketAddr, time: Duration) -> Result<(f64, Duration)> {
    let count = std::rc::Rc::new(Cell::new(0_u32));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        connections.push(stream);
    }
    let begun = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|stream| {
            let count = count.clone();
            tokio::task::spawn_local(async move {
                let talked = talk(stream, begun + time, &count).await;
                talked.map_err(|error| error.to_string())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok((f64::from(count.get()), begun.elapsed()))
}

/// Sends a message and waits for its echo, until the time is over.
async fn talk(mut stream: TcpStream, until: Instant, count: &Cell<u32>) -> Result {
    let (message, mut back) = ([b'x'; MESSAGE], [0; MESSAGE]);
    while Instant::now() < until {
        stream.write_all(&message).await?;
        stream.read_exact(&mut back).await?;
        if back != message {
            return Err("the echo differs from the message".into());
        }
        count.set(count.get() + 1);
    }
    Ok(())
}
