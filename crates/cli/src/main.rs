//! The `wharf` program.

mod args;
mod commands;
mod error;
mod grants;
mod host;
mod logging;
mod manifest;
mod output;

use std::process::ExitCode;

/// A request makes and drops a few dozen small things; docs/performance.md has what this allocator saves of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::run(&args::parse())
}
