//! `wharf cache`: the compiled code on disk.

use std::process::ExitCode;

use crate::args::{Cache, EngineArgs};
use crate::error::{CliError, Report};
use crate::output::bytes;
use crate::{host, logging};

pub(crate) fn cache(engine: &EngineArgs, command: &Cache) -> Result<ExitCode, CliError> {
    let cache = host::cache(engine)?;
    let failed = |error: std::io::Error| {
        CliError::Host(Report::with_context(error, format!("cannot access the cache `{}`", cache.folder().display())))
    };
    match command {
        Cache::Path => anstream::println!("{}", cache.folder().display()),
        Cache::Size => anstream::println!("{}", cache.size().map_err(failed)?),
        Cache::Clear => {
            let freed = cache.clear().map_err(failed)?;
            logging::print(&format!("Deleted {} from {}\n", bytes(freed), cache.folder().display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
