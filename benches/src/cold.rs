//! The time from `workload_start` to the first response in this process, with the compiled code in the cache.

use std::fmt::Write as _;
use std::time::Instant;

use wharf::workload::Workload;
use wharf::workload::manifest::{Component, HttpPath, HttpTrigger};

use crate::inside::{Client, Inside, workload};
use crate::{Result, goal, guest, median};

const ROUNDS: usize = 21;
const CHAIN: usize = 10;

pub(crate) fn run() -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let hello = workload("hello", Component::from_path(guest("hello-p2")))?;
    let one = measure(&runtime, &hello, "hello.test")?;
    let ten = measure(&runtime, &chain()?, "chain.test")?;
    println!(
        "| hello, from the cache | {one:.2} ms |\n| one unit of {CHAIN} components, from the cache | {ten:.2} ms |"
    );
    parts(&runtime, &chain()?)?;
    goal("ms from start to first response, hello", one, 2.0);
    goal("ms from start to first response, ten components", ten, 10.0);
    Ok(())
}

/// Prints the time of loading and resolving, and of fusing.
fn parts(runtime: &tokio::runtime::Runtime, workload: &Workload) -> Result {
    let inside = runtime.block_on(Inside::new(&std::env::temp_dir().join("wharf-bench-none")))?;
    let (mut planned, mut fused) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let plan = runtime.block_on(inside.host.plan(workload));
        planned.push(begun.elapsed().as_secs_f64() * 1e3);
        let begun = Instant::now();
        for unit in &plan.resolution.units {
            wharf::prepare::fuse::fuse(unit, &plan.resolution, &plan.loaded.code)?;
        }
        fused.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "| of which loading and resolving | {:.2} ms |\n| of which fusing | {:.2} ms |",
        median(planned),
        median(fused)
    );
    Ok(())
}

/// Middlewares in front of a handler, fused into one unit.
fn chain() -> Result<Workload> {
    let mut text = String::from("name = 'chain'\n");
    for n in 0..CHAIN {
        let guest = guest(if n + 1 == CHAIN { "hello-p3" } else { "middleware-p3" });
        writeln!(text, "[components.c{n}]\nsource = '{}'", guest.display())?;
        if n + 1 < CHAIN {
            writeln!(text, "[[links]]\nfrom = 'c{n}'\nimport = 'wasi:http/handler'\nto = 'c{}'", n + 1)?;
        }
    }
    let parsed = wharf::workload::manifest::parse(&text, wharf::workload::manifest::Format::Toml);
    let mut workload = parsed.workload.ok_or_else(|| format!("{:?}", parsed.problems))?;
    let host = Some("chain.test".to_owned());
    workload.triggers.push(HttpTrigger { component: "c0".parse()?, host, path: HttpPath::default() })?;
    Ok(workload)
}

fn measure(runtime: &tokio::runtime::Runtime, workload: &Workload, host: &str) -> Result<f64> {
    let cache = std::env::temp_dir().join(format!("wharf-bench-{}", std::process::id()));
    let mut times = Vec::new();
    // The first round fills the cache. Each round has a new host, so that only the cache's files are warm.
    for round in 0..=ROUNDS {
        let inside = runtime.block_on(Inside::new(&cache))?;
        let mut client = Client::new(inside.address)?;
        let begun = Instant::now();
        runtime.block_on(inside.host.workload_start(workload.clone()))?;
        client.ask(host, "/")?;
        if round > 0 {
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    std::fs::remove_dir_all(&cache).ok();
    Ok(median(times))
}
