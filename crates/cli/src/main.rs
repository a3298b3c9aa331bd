//! The `wharf` program.

mod args;
mod build;
mod commands;
mod error;
mod grants;
mod host;
mod logging;
mod manifest;
mod output;

/// docs/performance.md quotes what it saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    commands::run(&args::parse())
}
