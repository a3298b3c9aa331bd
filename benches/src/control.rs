//! The control socket of a host with 10,000 workloads: the latency of `status`, and the time to list all of them, page by page.

use std::time::Instant;

use wharf::Host;
use wharf::api::HostApi as _;
use wharf::workload::Workload;
use wharf::workload::manifest::Component;
use wharf_api::Client;
use wharf_control::{Blobs, Control, ControlServer};

use crate::inside::percentile;
use crate::{Result, goal, guest};

const WORKLOADS: usize = 10_000;
const CALLS: usize = 2_000;
const LISTS: usize = 10;

pub(crate) fn run() -> Result {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure())
}

async fn measure() -> Result {
    let folder = std::env::temp_dir().join(format!("wharf-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let engine = wharf::Engine::builder().cache(folder.join("cache"), 1 << 30).build()?;
    let blobs = Blobs::temporary()?;
    let host = Host::builder(engine).sources(blobs.clone()).build()?;
    let adder: std::sync::Arc<[u8]> = std::fs::read(guest("adder"))?.into();
    for n in 0..WORKLOADS {
        let workload = Workload::new(format!("w{n}").parse()?);
        let workload = workload.with_component("adder".parse()?, Component::from_bytes(adder.clone()));
        host.workload_start(workload).await?;
    }
    let socket = folder.join("s");
    let serving = ControlServer::bind_unix(&socket)?.serve(Control::new(host.clone(), blobs));
    let client = Client::unix(&socket);
    let mut times = Vec::new();
    for n in 0..CALLS {
        let begun = Instant::now();
        client.workload_status(&format!("default/w{}", n * 7919 % WORKLOADS)).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    println!("status: p50 {p50:.3} ms, p99 {p99:.3} ms");
    let mut times = Vec::new();
    for _ in 0..LISTS {
        let begun = Instant::now();
        let (mut after, mut count) = (None, 0);
        loop {
            let page = client.workload_list(after.as_deref(), Some(1000)).await?;
            count += page.workloads.len();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if count != WORKLOADS {
            return Err(format!("{count} workloads are listed, not {WORKLOADS}").into());
        }
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let list = percentile(&mut times, 50);
    println!("list of {WORKLOADS} workloads: {list:.0} ms");
    goal("ms for a status, p50", p50, 1.0);
    goal("ms to list 10,000 workloads", list, 200.0);
    serving.stop().await;
    host.shutdown().await;
    std::fs::remove_dir_all(&folder).ok();
    Ok(())
}
