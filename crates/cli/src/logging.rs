//! The log, on standard error.

use tracing_subscriber::EnvFilter;

use crate::args::EngineArgs;
use crate::error::Failure;

pub(crate) fn start(args: &EngineArgs) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|error| Failure::with_hint(2, error, "a filter is such as `debug` or `wharf=debug,info`"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(anstream::stderr);
    // A second log cannot be: this runs once.
    if args.log_json { log.json().with_ansi(false).try_init() } else { log.with_target(false).try_init() }.ok();
    Ok(())
}
