//! `wharf run`: one component to its end, with this terminal as its own.

use std::process::ExitCode;

use wharf::call::CallError;
use wharf::host::{Exit, run_command};
use wharf::workload::manifest::Limits;
use wharf::{HostApi, Stdio};

use crate::args::{EngineArgs, Run};
use crate::error::{self, Declared, Failure, HOST, TRAPPED, UNRESOLVED};
use crate::{grants, host, output};

pub(crate) async fn run(engine: &EngineArgs, args: &Run) -> Result<ExitCode, Failure> {
    let workload = grants::workload(&args.component, &args.grants, &args.args)?;
    let (id, name) = (workload.id(), workload.name.clone());
    let host = host::build(host::builder(engine, Stdio::Inherit)?.dedicated(true))?;
    let started = output::progress("starting", host.workload_start(workload)).await;
    started.map_err(|error| error::start(&Declared::default(), &error))?;
    let entry = host.entry(&id, name.as_str()).map_err(|error| Failure::new(HOST, error))?;
    // A command runs as long as it runs: nothing was declared that limits it.
    match run_command(&entry, &Limits::default()).await {
        Ok(Exit(code)) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        Err(error @ CallError::NoFunction { .. }) => {
            Err(Failure::with_hint(UNRESOLVED, error, "this is no command; if it answers HTTP, use `wharf serve`"))
        }
        Err(error) => Err(Failure::new(TRAPPED, error)),
    }
}
