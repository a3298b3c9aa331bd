//! `wharf run`: runs one command component to completion, connected to this process's standard streams.

use std::process::ExitCode;

use wharf::run::call::CallError;
use wharf::run::command::{Exit, run_command};
use wharf::stdio;

use crate::args::{EngineArgs, Run};
use crate::error::{self, CliError, Report};
use crate::grants::{self, Target};
use crate::{host, output};

pub(crate) async fn run(engine: &EngineArgs, args: &Run) -> Result<ExitCode, CliError> {
    let target = grants::target(engine, &args.component, args.name.as_deref(), &args.grants, &args.args).await?;
    let (Target { workload, entry: name }, declared) = target;
    let id = workload.id();
    // A single instance does not need a pool, whose address space takes milliseconds to reserve.
    let engine = EngineArgs { pool: engine.pool.or(Some(0)), source_lines: true, ..engine.clone() };
    let limits = workload.components[&name].limits.clone();
    // A dedicated thread may block in a system call, and a time limit could not interrupt it there.
    let dedicated = limits.time.is_none() && limits.cpu.is_none();
    let (builder, provided) = host::builder(&engine, stdio::Inherit)?;
    let host = host::build(builder.dedicated(dedicated))?;
    provided.to(&host).await?;
    let started = output::progress("starting", host.workload_start(workload)).await;
    started.map_err(|error| error::start(&declared, error))?;
    let entry = host.entry(&id, name.as_str()).map_err(|error| CliError::Host(Report::error(error)))?;
    match run_command(&entry, &limits).await {
        Ok(Exit(code)) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        Err(error @ CallError::NoFunction { .. }) => {
            let hint = "the component is not a command; if it handles HTTP requests, use `wharf serve`";
            Err(CliError::Workload(Report::with_hint(error, hint)))
        }
        Err(error) => {
            let status = host.workload_status(&id).await;
            Err(error::call(error, status.is_ok_and(|status| !status.refusals.is_empty())))
        }
    }
}
