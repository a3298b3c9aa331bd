//! The time from the start of the process to its first response, with the compiled code in the cache: Wharf, and
//! `wasmtime serve` with its own cache.

use crate::process::{Server, program};
use crate::{Result, goal, guest, median};

const ROUNDS: usize = 21;

pub(crate) fn run() -> Result {
    let (wharf, wasmtime) = (program("wharf")?, program("wasmtime")?);
    let hello = guest("hello-p2").display().to_string();
    let itself = std::env::current_exe()?.display().to_string();
    let servers = [
        Server::new("bare hyper", &[&itself, "floor", "{address}"]),
        Server::new("wharf", &[&wharf, "serve", &hello, "--listen", "{address}"]),
        Server::new("wasmtime serve, cache", &[&wasmtime, "serve", "-C", "cache", "--addr", "{address}", &hello]),
    ];
    let mut figures = vec![Vec::new(); servers.len()];
    // The first round fills the caches and is not counted.
    for round in 0..=ROUNDS {
        for (server, figures) in servers.iter().zip(&mut figures) {
            let first = server.start()?.first_answer.as_secs_f64() * 1e3;
            if round > 0 {
                figures.push(first);
            }
        }
    }
    let medians: Vec<f64> = figures.into_iter().map(median).collect();
    for (server, ms) in servers.iter().zip(&medians) {
        println!("| {} | {ms:.1} ms |", server.name);
    }
    goal("start to first response, ratio to wasmtime serve", medians[1] / medians[2], 1.0);
    Ok(())
}
