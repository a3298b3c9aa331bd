//! Thousands of workloads in one host: the memory of an idle one, the time to start all, and the latency of a request to any.

use std::time::Instant;

use wharf::workload::manifest::Component;

use crate::inside::{Client, Inside, percentile, resident, workload};
use crate::{Result, goal, guest};

const SAME: usize = 10_000;
const DISTINCT: usize = 1_000;
const REQUESTS: usize = 5_000;

pub(crate) fn run() -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let hello: std::sync::Arc<[u8]> = std::fs::read(guest("hello-p2"))?.into();
    let same = measure(&runtime, "of one component", SAME, |_| Component::from_bytes(hello.clone()))?;
    let distinct = measure(&runtime, "of distinct components", DISTINCT, |n| {
        // A custom section gives each component distinct bytes.
        let mut bytes = hello.to_vec();
        bytes.extend([0, 5, 1, b'n']);
        bytes.extend(n.to_le_bytes()[..3].iter());
        Component::from_bytes(bytes)
    })?;
    goal("KiB for an idle workload, one component", same, 64.0);
    goal("KiB for an idle workload, distinct components", distinct, 512.0);
    Ok(())
}

/// Starts this many workloads. Returns the KiB of each.
fn measure(
    runtime: &tokio::runtime::Runtime,
    what: &str,
    count: usize,
    component: impl Fn(usize) -> Component,
) -> Result<f64> {
    let many = f64::from(u32::try_from(count)?);
    let cache = std::env::temp_dir().join(format!("wharf-bench-{}", std::process::id()));
    let inside = runtime.block_on(Inside::new(&cache))?;
    // The pool and the first instance exist before the measurement begins.
    runtime.block_on(inside.host.workload_start(workload("first", component(count))?))?;
    Client::new(inside.address)?.ask("first.test", "/")?;
    let before = resident()?;
    let begun = Instant::now();
    for n in 0..count {
        let started = inside.host.workload_start(workload(&format!("w{n}"), component(n))?);
        runtime.block_on(started)?;
    }
    let took = begun.elapsed();
    let each = (resident()? - before) / many;
    let mut client = Client::new(inside.address)?;
    let mut times = Vec::new();
    let mut n = 1;
    for _ in 0..REQUESTS {
        // A fixed pseudo-random order, without the same workload twice in a row.
        n = (n * 7919 + 13) % count;
        times.push(client.ask(&format!("w{n}.test"), "/")?.as_secs_f64() * 1e6);
    }
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    println!(
        "| {count} workloads {what} | {:.1} s to start ({:.2} ms each) | {each:.1} KiB each | p50 {p50:.0} µs, p99 {p99:.0} µs |",
        took.as_secs_f64(),
        took.as_secs_f64() * 1e3 / many,
    );
    std::fs::remove_dir_all(&cache).ok();
    Ok(each)
}
