//! Updates of a workload with a service, under load: how long each takes, and whether a request fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use wharf::workload::Workload;
use wharf::workload::manifest::{Component, Service};

use crate::inside::{Client, Inside, percentile, workload};
use crate::{Result, goal, guest, median};

const SWAPS: usize = 100;
const CLIENTS: usize = 4;

pub(crate) fn run() -> Result {
    let runtime = tokio::runtime::Runtime::new()?;
    for (name, version) in [("service-p2", with_service as fn(usize) -> Result<Workload>), ("worker-p3", worker)] {
        let cache = std::env::temp_dir().join("wharf-bench-swap");
        let inside = runtime.block_on(Inside::new(&cache))?;
        let failed = measure(&runtime, &inside, name, version)?;
        goal(&format!("{name}: failed requests"), f64::from(failed), 0.0);
        runtime.block_on(inside.host.shutdown());
    }
    Ok(())
}

/// A client on HTTP, and a service on the loopback that it asks.
fn with_service(version: usize) -> Result<Workload> {
    let mut service = Component::from_path(guest("service-p2"));
    service.service = Some(Service::default());
    service.env.insert("VERSION".to_owned(), version.to_string());
    Ok(workload("w", Component::from_path(guest("client-p2")))?.with_component("service".parse()?, service))
}

/// A service that takes the requests in its own instance.
fn worker(version: usize) -> Result<Workload> {
    let mut worker = Component::from_path(guest("worker-p3"));
    worker.service = Some(Service::default());
    worker.env.insert("VERSION".to_owned(), version.to_string());
    workload("w", worker)
}

/// Returns the number of requests that failed.
fn measure(
    runtime: &tokio::runtime::Runtime,
    inside: &Inside,
    name: &str,
    version: fn(usize) -> Result<Workload>,
) -> Result<u32> {
    runtime.block_on(inside.host.workload_start(version(0)?))?;
    let done = Arc::new(AtomicBool::new(false));
    let path = if name == "service-p2" { "/ask?line=a" } else { "/count" };
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, done) = (inside.address, done.clone());
            std::thread::spawn(move || {
                let (mut times, mut failed) = (Vec::new(), 0_u32);
                let mut client = Client::new(address).ok();
                while !done.load(Ordering::Relaxed) {
                    if let Some(Ok(time)) = client.as_mut().map(|client| client.ask("w.test", path)) {
                        times.push(time.as_secs_f64() * 1e3);
                    } else {
                        failed += 1;
                        client = Client::new(address).ok();
                    }
                }
                (times, failed)
            })
        })
        .collect();
    let mut swaps = Vec::new();
    for n in 1..=SWAPS {
        let begun = Instant::now();
        runtime.block_on(inside.host.workload_update(version(n)?))?;
        swaps.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    done.store(true, Ordering::Relaxed);
    let (mut times, mut failed) = (Vec::new(), 0);
    for client in clients {
        let (these, errors) = client.join().map_err(|_| "a client panicked")?;
        times.extend(these);
        failed += errors;
    }
    let answered = times.len();
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    println!("{name}: {SWAPS} updates, {:.1} ms each (median)", median(swaps));
    println!("{name}: {answered} requests answered, {failed} failed; {p50:.2} ms p50, {p99:.2} ms p99");
    Ok(failed)
}
