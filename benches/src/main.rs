//! The benchmarks, with the peers that they compare Wharf with. Figures are ratios within one run; docs/performance.md
//! records them.
//!
//! `cargo run --release -p wharf-benches -- calls | fuse | serve | start | cold | dense | fair | bodies | disk | sockets | streams | swap | features | manifest | provided | stores | control`

mod bodies;
mod calls;
mod cold;
mod control;
mod dense;
mod disk;
mod fair;
mod features;
mod floor;
mod fuse;
mod inside;
mod manifest;
mod process;
mod provided;
mod serve;
mod sockets;
mod start;
mod stores;
mod streams;
mod swap;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["calls"] => calls::run(),
        ["fuse"] => fuse::run(),
        ["serve"] => serve::run(),
        ["start"] => start::run(),
        ["cold"] => cold::run(),
        ["control"] => control::run(),
        ["dense"] => dense::run(),
        ["fair"] => fair::run(),
        ["bodies"] => bodies::run(),
        ["disk"] => disk::run(),
        ["sockets"] => sockets::run(),
        ["streams"] => streams::run(),
        ["swap"] => swap::run(),
        ["features"] => features::run(),
        ["manifest"] => manifest::run(),
        ["provided"] => provided::run(),
        ["stores"] => stores::run(None),
        ["stores", part] => stores::run(Some(part)),
        ["floor", address] => floor::run(address),
        _ => Err("usage: wharf-benches calls | fuse | serve | start | cold | dense | fair | bodies | disk | sockets | streams | swap | features | manifest | provided | stores | control"
            .into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The component of a fixture guest.
fn guest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/prebuilt").join(format!("{name}.wasm"))
}

/// The component of a guest of the stores.
fn stores_guest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/stores/prebuilt").join(format!("{name}.wasm"))
}

/// The median; of an even number of values the upper one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints whether a figure meets its goal.
fn goal(metric: &str, figure: f64, at_most: f64) {
    let met = if figure <= at_most { "met" } else { "MISSED" };
    println!("goal: {metric}: {figure:.2}, at most {at_most}: {met}");
}
