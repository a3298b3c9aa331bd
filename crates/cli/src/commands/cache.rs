//! `wharf cache`: the compiled code on disk.

use std::process::ExitCode;

use crate::args::{Cache, EngineArgs};
use crate::error::{Failure, HOST};
use crate::output::bytes;
use crate::{host, logging};

pub(crate) fn cache(engine: &EngineArgs, what: &Cache) -> Result<ExitCode, Failure> {
    let cache = host::cache(engine)?;
    let refuse = |error: std::io::Error| Failure::new(HOST, format!("{}: {error}", cache.folder().display()));
    match what {
        Cache::Path => anstream::println!("{}", cache.folder().display()),
        Cache::Size => anstream::println!("{}", cache.size().map_err(refuse)?),
        Cache::Clear => {
            let freed = cache.clear().map_err(refuse)?;
            logging::print(&format!("Deleted {} from {}\n", bytes(freed), cache.folder().display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
