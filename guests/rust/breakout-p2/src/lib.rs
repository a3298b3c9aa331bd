//! Tries to get at what it was not given, through WASI 0.2: one attempt for each argument.

use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasip2::cli::environment;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Advice, DescriptorFlags, NewTimestamp, OpenFlags, PathFlags};

/// A call of WASI, with the name of the code that refuses it.
macro_rules! call {
    ($call:expr) => {
        $call.map_err(|code| code.name().to_owned())
    };
}

mod host;

include!("../../../shared/breakout.rs");

wasip2::cli::command::export!(Breakout);

struct Breakout;

impl wasip2::exports::cli::run::Guest for Breakout {
    fn run() -> Result<(), ()> {
        // No call of WASI 0.2 waits in a way that a task would notice.
        match pin!(run_attempts()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(()) => Ok(()),
            Poll::Pending => Err(()),
        }
    }
}
