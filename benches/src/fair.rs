//! What a neighbour's requests take while a component spins in as many calls as it may: Wharf, and `wasmtime serve`, where
//! the neighbour is the same component, since it has but one.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::inside::{Client, percentile};
use crate::process::{Server, program};
use crate::{Result, goal, guest};

const SPINNING: usize = 64;
const SECONDS: u64 = 5;

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
    let mut ratios = Vec::new();
    for (server, path) in &servers {
        let running = server.start()?;
        let quiet = sample(running.address, path)?;
        let spinning: Vec<TcpStream> = (0..SPINNING).map(|_| spin(running.address)).collect::<Result<_>>()?;
        let loaded = sample(running.address, path)?;
        drop(spinning);
        let shown = |[p50, p99]: [f64; 2]| format!("{p50:.0} / {p99:.0}");
        println!(
            "| {} | {} | {} |",
            server.name,
            quiet.map_or("-".into(), shown),
            loaded.map_or("none answered".into(), shown)
        );
        ratios.push(quiet.zip(loaded).map(|(quiet, loaded)| loaded[1] / quiet[1]));
    }
    std::fs::remove_dir_all(&folder).ok();
    goal("a neighbour's p99 beside a component that spins, of its quiet one", ratios[0].unwrap_or(f64::INFINITY), 3.0);
    Ok(())
}

/// A request that is never answered.
fn spin(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /spin HTTP/1.1\r\nhost: spins.test\r\n\r\n")?;
    Ok(stream)
}

/// The neighbour's p50 and p99 in microseconds, of requests one after the other; `None` when none is answered.
fn sample(address: SocketAddr, path: &str) -> Result<Option<[f64; 2]>> {
    // The first moments of what spins are no steady state.
    std::thread::sleep(Duration::from_secs(1));
    let mut client = Client::new(address)?;
    client.patience(Duration::from_secs(SECONDS))?;
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < Duration::from_secs(SECONDS) {
        match client.ask("neighbour.test", path) {
            Ok(time) => times.push(time.as_secs_f64() * 1e6),
            Err(_) if times.is_empty() => return Ok(None),
            Err(_) => break,
        }
    }
    Ok(Some([percentile(&mut times, 50), percentile(&mut times, 99)]))
}
