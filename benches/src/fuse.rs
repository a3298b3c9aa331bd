//! The time to load, resolve and fuse: three real components, and chains of up to a hundred.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use wharf::prepare::fuse::fuse;
use wharf::workload::manifest::{Component, Format, parse_bytes};
use wharf::workload::{Name, Workload};
use wharf::{Engine, Host};

use crate::{Result, goal, median};

pub(crate) fn run() -> Result {
    let host = Host::builder(Engine::builder().pooling(false).build()?).plugin(Http).build()?;
    let guestbook = guestbook()?;
    let three = time(&host, &guestbook)?;
    println!("guestbook, 3 components: {three:.2} ms");
    let sizes = [10_u32, 20, 50, 100];
    let mut figures = Vec::new();
    for size in sizes {
        let workload = chain(size)?;
        figures.push(time(&host, &workload)?);
        println!("{size} components, each with its own environment: {:.2} ms", figures[figures.len() - 1]);
    }
    goal("3 components, ms", three, 20.0);
    goal("100 components, ms", figures[3], 1000.0);
    // n log n from 10 to 100 is a factor of 20.
    goal("growth from 10 to 100, ratio to n log n", figures[3] / figures[0] / 20.0, 1.0);
    Ok(())
}

/// The median time in milliseconds.
fn time(host: &Host, workload: &Workload) -> Result<f64> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut times = Vec::new();
    for _ in 0..9 {
        let begun = Instant::now();
        let plan = runtime.block_on(host.plan(workload));
        if !plan.is_runnable() {
            return Err(format!("{:?} {:?}", plan.unloaded, plan.problems).into());
        }
        for unit in &plan.resolution.units {
            fuse(unit, &plan.resolution, &plan.loaded.code)?;
        }
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times))
}

fn guestbook() -> Result<Workload> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/guestbook");
    let parsed = parse_bytes(&std::fs::read(folder.join("wharf.toml"))?, Format::Toml);
    Ok(parsed.workload.ok_or("the guestbook's manifest does not parse")?.under(&folder))
}

/// Components that each import an interface of the next, and the environment from WASI.
fn chain(size: u32) -> Result<Workload> {
    let mut workload = Workload::new("chain".parse()?);
    for n in 0..size {
        let mut text = "(component".to_owned();
        if n + 1 < size {
            write!(text, " (import \"t:t/e{}\" (instance (export \"f\" (func))))", n + 1)?;
        }
        write!(
            text,
            r#" (import "wasi:cli/environment@0.2.0" (instance (export "get-arguments" (func (result (list string))))))
                (core module $m (func (export "f"))) (core instance $i (instantiate $m))
                (func $f (canon lift (core func $i "f"))) (instance $e (export "f" (func $f)))
                (export "t:t/e{n}" (instance $e)))"#
        )?;
        let name = Name::nearest(&format!("c{n}"));
        workload = workload.with_component(name, Component::from_bytes(wat::parse_str(&text)?));
    }
    Ok(workload)
}

/// Declares that the host provides `wasi:http`, so that the guestbook resolves. It links nothing.
struct Http;

impl wharf::Plugin for Http {
    fn name(&self) -> &'static str {
        "http"
    }
    fn interfaces(&self) -> Vec<wharf::plugin::Provided> {
        vec![wharf::plugin::Provided::shared("wasi:http/types@0.3.0")]
    }
    fn link(&self, _: &mut wharf::Link<'_>) -> wasmtime::Result<()> {
        Ok(())
    }
}
