//! The cost of a call of a component that the host provides, and of the same call of a sibling.

use wharf::wasmtime::component::Val;
use wharf::workload::Workload;
use wharf::workload::manifest::Component;
use wharf::{Engine, Host};

use crate::{Result, goal, guest};

/// The functions of the caller, with how often each calls and the goal's name.
const FUNCTIONS: [(&str, &str, u32); 2] =
    [("two integers", "adds", 20_000_000), ("a short string", "greets", 1_000_000)];
const ROUNDS: usize = 7;

fn workload(components: &[&str]) -> Result<Workload> {
    components.iter().try_fold(Workload::new("w".parse()?), |workload, name| {
        Ok(workload.with_component(name.parse()?, Component::from_path(guest(name))))
    })
}

pub(crate) fn run() -> Result {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(measure())
}

async fn measure() -> Result {
    let host = || Ok::<_, Box<dyn std::error::Error>>(Host::builder(Engine::builder().build()?).build()?);
    let (sibling, provided) = (host()?, host()?);
    sibling.workload_start(workload(&["caller", "adder"])?).await?;
    provided.provide(workload(&["adder"])?).await?;
    provided.workload_start(workload(&["caller"])?).await?;
    println!("| ns a call | sibling | provided |");
    for (what, function, times) in FUNCTIONS {
        // Alternating rounds, of which the least is the one that other processes disturbed least.
        let mut least = [f64::INFINITY; 2];
        for _ in 0..ROUNDS {
            for (host, least) in [&sibling, &provided].into_iter().zip(&mut least) {
                let function = format!("wharf:fixture/bench@0.1.0#{function}");
                let begun = std::time::Instant::now();
                host.call_values("default/w", "caller", &function, &[Val::U32(times)]).await?;
                *least = least.min(begun.elapsed().as_secs_f64() * 1e9 / f64::from(times));
            }
        }
        println!("| {what} | {:.1} | {:.1} |", least[0], least[1]);
        goal(&format!("{what}, provided to sibling"), least[1] / least[0], 1.2);
    }
    Ok(())
}
