//! The cost of a call between two components: fused by Wharf, and the same pair composed as by `wac plug`.

use std::time::Instant;

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Engine, Inlining, Store};

use crate::{Result, goal, guest};

const FUNCTIONS: [(&str, &str, u32, u32); 3] = [
    ("two integers", "adds", 20_000_000, 0),
    ("a short string", "greets", 1_000_000, 0),
    ("1 KiB there and back", "reverses", 50_000, 1024),
];

pub(crate) fn run() -> Result {
    let fused = fused()?;
    let plugged = plugged(&guest("caller"), &guest("adder"))?;
    let mut table = Vec::new();
    for (who, bytes, inlining) in
        [("wharf", &fused, false), ("wharf, inlining", &fused, true), ("wac plug", &plugged, false)]
    {
        let mut config = Config::new();
        config.wasm_component_model_async(true);
        if inlining {
            config.compiler_inlining(Inlining::Yes);
        }
        let engine = Engine::new(&config)?;
        let begun = Instant::now();
        let component = Component::new(&engine, bytes)?;
        println!(
            "{who}: compiled in {:.1} ms, {} bytes of code",
            begun.elapsed().as_secs_f64() * 1e3,
            component.serialize()?.len()
        );
        table.push((who, Linker::<()>::new(&engine).instantiate_pre(&component)?, [const { Vec::new() }; 3]));
    }
    // The rounds alternate, so that a slowdown of the machine affects all of them.
    for _ in 0..7 {
        for (_, pre, figures) in &mut table {
            for (i, (_, function, times, size)) in FUNCTIONS.iter().enumerate() {
                figures[i].push(measure(pre, function, *times, *size)?);
            }
        }
    }
    // The minimum of the rounds: other processes can only slow down a loop of pure computation.
    let least: Vec<[f64; 3]> =
        table.iter().map(|(.., f)| f.clone().map(|ns| ns.into_iter().fold(f64::INFINITY, f64::min))).collect();
    println!("| ns a call | {} |", FUNCTIONS.map(|(what, ..)| what).join(" | "));
    for ((who, ..), figures) in table.iter().zip(&least) {
        println!("| {who} | {} |", figures.map(|ns| format!("{ns:.1}")).join(" | "));
    }
    goal("two integers, ns", least[0][0], 10.0);
    goal("a short string, ns", least[0][1], 110.0);
    goal("two integers, ratio to wac plug", least[0][0] / least[2][0], 1.1);
    goal("a short string, ratio to wac plug", least[0][1] / least[2][1], 1.1);
    Ok(())
}

/// The time of one call in nanoseconds.
fn measure(pre: &InstancePre<()>, function: &str, times: u32, size: u32) -> Result<f64> {
    let mut store = Store::new(pre.engine(), ());
    let instance = pre.instantiate(&mut store)?;
    let interface = instance.get_export_index(&mut store, None, "wharf:fixture/bench@0.1.0").ok_or("no interface")?;
    let index = instance.get_export_index(&mut store, Some(&interface), function).ok_or("no function")?;
    let begun;
    if size == 0 {
        let call = instance.get_typed_func::<(u32,), (u32,)>(&mut store, &index)?;
        begun = Instant::now();
        call.call(&mut store, (times,))?;
    } else {
        let call = instance.get_typed_func::<(u32, u32), (u32,)>(&mut store, &index)?;
        begun = Instant::now();
        call.call(&mut store, (times, size))?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e9 / f64::from(times))
}

/// The pair as Wharf fuses it.
fn fused() -> Result<Vec<u8>> {
    use wharf::workload::{Workload, manifest::Component};
    let workload = ["caller", "adder"].iter().try_fold(Workload::new("pair".parse()?), |workload, name| {
        Ok::<_, Box<dyn std::error::Error>>(workload.with_component(name.parse()?, Component::from_path(guest(name))))
    })?;
    let host = wharf::Host::builder(wharf::Engine::builder().pooling(false).build()?).build()?;
    let plan = tokio::runtime::Runtime::new()?.block_on(host.plan(&workload));
    let unit = plan.resolution.units.first().ok_or("no unit")?;
    Ok(wharf::prepare::fuse::fuse(unit, &plan.resolution, &plan.loaded.code)?.bytes.to_vec())
}

/// The pair composed as by `wac plug <socket> --plug <plug>`, with the function that the command calls.
pub(crate) fn plugged(socket: &std::path::Path, plug: &std::path::Path) -> Result<Vec<u8>> {
    use wac_graph::{CompositionGraph, EncodeOptions, types::Package};
    let mut graph = CompositionGraph::new();
    let mut register = |name: &str, path: &std::path::Path| -> Result<_> {
        let package = Package::from_file(&format!("bench:{name}"), None, path, graph.types_mut())?;
        Ok(graph.register_package(package)?)
    };
    let (socket, plug) = (register("socket", socket)?, register("plug", plug)?);
    wac_graph::plug(&mut graph, vec![plug], socket)?;
    Ok(graph.encode(EncodeOptions::default())?)
}
