//! `wasi:cli/run`: commands, run by hand or when their workload starts.

use std::sync::Arc;

use async_trait::async_trait;
use wasmtime::component::ResourceTableError;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre as P2;
use wasmtime_wasi::p3::bindings::CommandPre as P3;
use workload::manifest::Limits;

use super::Running;
use crate::call::CallError;
use crate::limits::Limit;
use crate::meter::Ended;
use crate::plugin::{Trigger, TriggerError};
use crate::pool::Entry;

/// How a command ended: 0 when it went well, 1 when it said that it did not, or the number that it exited with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub i32);

/// Runs a command component to its end, in a fresh instance. It runs as long as it runs, unless its manifest limits its
/// `time` or `cpu`.
///
/// # Errors
/// [`CallError`] when the entry is no command, it was not let in, or it trapped.
pub async fn run_command(entry: &Arc<Entry>, declared: &Limits) -> Result<Exit, CallError> {
    let busy = |busy| CallError::Busy { entry: entry.name().to_string(), busy };
    let _under_way = entry.admit().await.map_err(busy)?;
    run_uncounted(entry, declared).await
}

/// The same, for what is not waited for as a call.
pub(super) async fn run_uncounted(entry: &Arc<Entry>, declared: &Limits) -> Result<Exit, CallError> {
    let meter = entry.untimed(declared);
    let ended = |ended| CallError::Ended { function: RUN.to_owned(), ended };
    let mut store = entry.store(&meter).map_err(|error| ended(meter.why(error)))?;
    let this = entry.clone();
    let work: Work = if let Some(program) = &entry.program {
        let pre = program.pre.clone();
        Box::pin(async move {
            let instance = pre.instantiate_async(&mut store).await?;
            let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
            let ran = start.call_async(&mut store, ()).await;
            if ran.as_ref().is_err_and(|error| error.chain().any(is_full)) {
                store.data().guard().refuse(Limit::Files);
            }
            Ok(Ok(this.dumped(&mut store, ran)?))
        })
    } else if let Ok(pre) = P3::new(entry.pre().clone()) {
        Box::pin(async move {
            let command = pre.instantiate_async(&mut store).await?;
            let ran = store.run_concurrent(async |store| command.wasi_cli_run().call_run(store).await).await;
            this.dumped(&mut store, ran.flatten())
        })
    } else if let Ok(pre) = P2::new(entry.pre().clone()) {
        Box::pin(async move {
            let command = pre.instantiate_async(&mut store).await?;
            let ran = command.wasi_cli_run().call_run(&mut store).await;
            this.dumped(&mut store, ran)
        })
    } else {
        return Err(CallError::NoFunction {
            entry: entry.name().to_string(),
            function: RUN.to_owned(),
            exports: crate::call::functions(entry),
        });
    };
    match entry.drive(meter, work).await {
        Ok(Ok(())) => Ok(Exit(0)),
        Ok(Err(())) => Ok(Exit(1)),
        Err(Ended::Trap(error)) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => Ok(Exit(*code)),
            None => Err(ended(Ended::Trap(error))),
        },
        Err(error) => Err(ended(error)),
    }
}

/// Whether there was no room for a handle, which for a program is a file.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(ResourceTableError::Full))
}

const RUN: &str = "wasi:cli/run#run";

type Work = std::pin::Pin<Box<dyn Future<Output = wasmtime::Result<Result<(), ()>>> + Send>>;

/// Runs the commands of a workload (`[[triggers.command]]`) when it starts; how they end goes to the log.
#[derive(Debug, Default)]
pub struct CommandTrigger;

#[async_trait]
impl Trigger for CommandTrigger {
    fn name(&self) -> &'static str {
        "command"
    }

    async fn attach(&self, _: &Arc<Running>) -> Result<(), TriggerError> {
        Ok(())
    }

    async fn started(&self, running: &Arc<Running>) {
        for command in &running.workload().triggers.command {
            let Some(entry) = running.entry(command.component.as_str()).cloned() else { continue };
            let (running, component) = (running.clone(), command.component.clone());
            tokio::spawn(async move {
                let workload = running.workload().id();
                match run_command(&entry, &running.workload().components[&component].limits).await {
                    Ok(Exit(0)) => tracing::info!(%workload, %component, "the command is done"),
                    Ok(Exit(code)) => tracing::warn!(%workload, %component, code, "the command failed"),
                    Err(error) => tracing::error!(%workload, %component, %error, "the command failed"),
                }
            });
        }
    }

    async fn detach(&self, _: &Arc<Running>) {}
}
