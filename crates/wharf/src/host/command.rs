//! `wasi:cli/run`: commands, run by hand or when their workload starts.

use std::sync::Arc;

use async_trait::async_trait;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre as P2;
use wasmtime_wasi::p3::bindings::CommandPre as P3;

use super::Running;
use crate::call::CallError;
use crate::plugin::{Trigger, TriggerError};
use crate::pool::Entry;

/// How a command ended: 0 when it went well, 1 when it said that it did not, or the number that it exited with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub i32);

/// Runs a command component to its end, in a fresh instance.
///
/// # Errors
/// [`CallError`] when the entry is no command, or it trapped.
pub async fn run_command(entry: &Entry) -> Result<Exit, CallError> {
    let _under_way = entry.call_guard();
    let mut store = entry.store();
    let ran = if let Ok(pre) = P3::new(entry.pre().clone()) {
        let command = pre.instantiate_async(&mut store).await.map_err(|error| instantiate(entry, &error))?;
        let run = store.run_concurrent(async |store| command.wasi_cli_run().call_run(store).await).await;
        run.and_then(|ran| ran)
    } else if let Ok(pre) = P2::new(entry.pre().clone()) {
        let command = pre.instantiate_async(&mut store).await.map_err(|error| instantiate(entry, &error))?;
        command.wasi_cli_run().call_run(&mut store).await
    } else {
        return Err(CallError::NoFunction {
            entry: entry.name().to_string(),
            function: "wasi:cli/run#run".to_owned(),
            exports: crate::call::functions(entry),
        });
    };
    match ran {
        Ok(Ok(())) => Ok(Exit(0)),
        Ok(Err(())) => Ok(Exit(1)),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => Ok(Exit(*code)),
            None => Err(CallError::Trap { function: "wasi:cli/run#run".to_owned(), detail: format!("{error:#}") }),
        },
    }
}

fn instantiate(entry: &Entry, error: &wasmtime::Error) -> CallError {
    CallError::Instantiate { entry: entry.name().to_string(), detail: format!("{error:#}") }
}

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
            let (workload, component) = (running.workload().id(), command.component.clone());
            // Counted before anything can stop the workload.
            let under_way = entry.call_guard();
            tokio::spawn(async move {
                match run_command(&entry).await {
                    Ok(Exit(0)) => tracing::info!(%workload, %component, "the command is done"),
                    Ok(Exit(code)) => tracing::warn!(%workload, %component, code, "the command failed"),
                    Err(error) => tracing::error!(%workload, %component, %error, "the command failed"),
                }
                drop(under_way);
            });
        }
    }

    async fn detach(&self, _: &Arc<Running>) {}
}
