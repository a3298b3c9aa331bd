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

fn main() -> ExitCode {
    commands::run(&args::parse())
}
