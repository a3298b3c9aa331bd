//! `wharf run`: one component to its end, with this terminal as its own.

use std::process::ExitCode;

use wharf::call::CallError;
use wharf::host::{Exit, run_command};
use wharf::{HostApi, Stdio};

use crate::args::{EngineArgs, Run};
use crate::error::{self, Declared, Failure, HOST, TRAPPED, UNRESOLVED};
use crate::{grants, host, output};

pub(crate) async fn run(engine: &EngineArgs, args: &Run) -> Result<ExitCode, Failure> {
    let workload = grants::workload(&args.component, &args.grants, &args.args)?;
    let (id, name) = (workload.id(), workload.name.clone());
    // One instance needs no pool, which takes milliseconds to reserve.
    let engine = EngineArgs { pool: engine.pool.or(Some(0)), ..engine.clone() };
    let limits = workload.components[&name].limits.clone();
    // A system call that blocks cannot be ended when the time is up.
    let dedicated = limits.time.is_none() && limits.cpu.is_none();
    let host = host::build(host::builder(&engine, Stdio::Inherit)?.dedicated(dedicated))?;
    let started = output::progress("starting", host.workload_start(workload)).await;
    started.map_err(|error| error::start(&Declared::default(), &error))?;
    let entry = host.entry(&id, name.as_str()).map_err(|error| Failure::new(HOST, error))?;
    match run_command(&entry, &limits).await {
        Ok(Exit(code)) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        Err(error @ CallError::NoFunction { .. }) => {
            Err(Failure::with_hint(UNRESOLVED, error, "this is no command; if it answers HTTP, use `wharf serve`"))
        }
        Err(error) => Err(Failure::new(TRAPPED, error)),
    }
}
