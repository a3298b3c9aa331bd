//! Tries to get at what it was not given, through WASI 0.3: one attempt for each argument.

use std::net::SocketAddr;

use wasip3::cli::environment;
use wasip3::filesystem::preopens::get_directories;
use wasip3::filesystem::types::{Advice, DescriptorFlags, NewTimestamp, OpenFlags, PathFlags};

/// A call of WASI, with the name of the code that refuses it.
macro_rules! call {
    ($call:expr) => {
        $call.await.map_err(|code| crate::host::name(&code))
    };
}

mod host;

include!("../../../shared/breakout.rs");

wasip3::cli::command::export!(Breakout);

struct Breakout;

impl wasip3::exports::cli::run::Guest for Breakout {
    async fn run() -> Result<(), ()> {
        run_attempts().await;
        Ok(())
    }
}
