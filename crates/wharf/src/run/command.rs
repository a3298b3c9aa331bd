//! Commands: components that export `wasi:cli/run`, and programs of WASI 0.1.

use std::sync::Arc;

use wasmtime::component::ResourceTableError;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandIndices as P2;
use wasmtime_wasi::p3::bindings::CommandIndices as P3;
use workload::manifest::Limits;

use super::call::{CallError, functions};
use super::entry::Entry;
use super::invoke::{Call, InvokeError};
use super::pool::Instantiated;
use super::termination::Termination;
use crate::limits::Limit;

/// The exit code of a command: 0 if it succeeded, 1 if it failed, or the code that it exited with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub i32);

/// Runs a command to its end, in an instance of its own. Its time is limited by `declared` alone, the limits in its manifest.
///
/// # Errors
/// [`CallError`] when the entry is not a command, was not admitted, or trapped.
pub async fn run_command(entry: &Arc<Entry>, declared: &Limits) -> Result<Exit, CallError> {
    let rejected = |cause| CallError::Rejected { entry: entry.name().to_string(), cause };
    let _permit = entry.admit().await.map_err(rejected)?;
    run_unadmitted(entry, declared, ()).await
}

/// Runs a command that does not count as a call: a service. `guard` is held until its instance is dropped.
pub(super) async fn run_unadmitted<G: Send + 'static>(
    entry: &Arc<Entry>,
    declared: &Limits,
    guard: G,
) -> Result<Exit, CallError> {
    let Some(command) = Command::of(entry) else {
        let (entry, exports) = (entry.name().to_string(), functions(entry));
        return Err(CallError::NoFunction { entry, function: RUN.to_owned(), exports });
    };
    match entry.start_with(&entry.untimed_meter(declared), command, guard).await {
        Ok(Ok(())) => Ok(Exit(0)),
        Ok(Err(())) => Ok(Exit(1)),
        Err(cause) => exit_code(&cause).ok_or_else(|| CallError::new(entry, RUN, InvokeError::Terminated(cause))),
    }
}

/// The exit code with which a component ended by itself.
pub(super) fn exit_code(cause: &Termination) -> Option<Exit> {
    match cause {
        Termination::Trap(error) => error.downcast_ref().map(|I32Exit(code)| Exit(*code)),
        _ => None,
    }
}

pub(super) const RUN: &str = "wasi:cli/run#run";

/// One run of a command.
enum Command {
    P2(P2),
    P3(P3),
    Program,
}

impl Command {
    fn of(entry: &Entry) -> Option<Self> {
        let Some(pre) = entry.pre() else { return Some(Self::Program) };
        P3::new(pre).map(Self::P3).or_else(|_| P2::new(pre).map(Self::P2)).ok()
    }
}

impl Call for Command {
    type Output = Result<(), ()>;

    const FRESH: bool = true;

    async fn call(self, instance: &mut Instantiated) -> wasmtime::Result<Result<(), ()>> {
        match self {
            Self::P3(indices) => {
                let component = instance.component()?;
                let command = indices.load(&mut instance.store, &component)?;
                instance.store.run_concurrent(async |store| command.wasi_cli_run().call_run(store).await).await?
            }
            Self::P2(indices) => {
                let component = instance.component()?;
                let command = indices.load(&mut instance.store, &component)?;
                command.wasi_cli_run().call_run(&mut instance.store).await
            }
            Self::Program => {
                let Some(program) = instance.program() else { wasmtime::bail!("not a program of WASI 0.1") };
                let start = program.get_typed_func::<(), ()>(&mut instance.store, "_start")?;
                let ran = start.call_async(&mut instance.store, ()).await;
                if ran.as_ref().is_err_and(|error| error.chain().any(is_full)) {
                    instance.store.data().tracker().refuse(Limit::Files);
                }
                ran.map(Ok)
            }
        }
    }

    fn is_reusable(_: &Self::Output) -> bool {
        false
    }
}

/// Whether the table had no room for a handle, which for a program of WASI 0.1 is a file.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(ResourceTableError::Full))
}
