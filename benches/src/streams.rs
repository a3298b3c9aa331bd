//! The throughput of a stream between two fused components: 1 GiB in pieces of 64 KiB, written by one and read by the other.

use std::time::Instant;

use wharf::workload::Workload;
use wharf::workload::manifest::Component;
use wharf::{Engine, Host};

use crate::{Result, goal, guest, median};

const ROUNDS: usize = 7;
const BYTES: u32 = 1 << 30;

pub(crate) fn run() -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut workload = Workload::new("streams".parse()?);
    for name in ["stream-taker", "stream-maker"] {
        workload = workload.with_component(name.parse()?, Component::from_path(guest(name)));
    }
    let mut seconds = Vec::new();
    runtime.block_on(async {
        let host = Host::builder(Engine::builder().build()?).build()?;
        host.workload_start(workload).await?;
        let call = format!("fixture:streams/sink#take({BYTES})");
        // The first round is not counted.
        for round in 0..=ROUNDS {
            let begun = Instant::now();
            let taken = host.call_wave("default/streams", "stream-taker", &call).await?;
            if round > 0 {
                seconds.push(begun.elapsed().as_secs_f64());
            }
            if taken != [BYTES.to_string()] {
                return Err(format!("received {taken:?} of {BYTES} bytes").into());
            }
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    let took = median(seconds);
    println!("| a stream between two fused components | {:.1} GiB/s |\n|---|---|", 1.0 / took);
    goal("seconds for 1 GiB between two fused components", took, 0.5);
    Ok(())
}
