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

/// Each request allocates and frees a few dozen small objects; docs/performance.md quotes what this allocator saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::run(&args::parse())
}
