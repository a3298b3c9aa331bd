//! The trigger that runs commands when their workload starts: `[[triggers.command]]`.

use std::sync::Arc;

use async_trait::async_trait;
use workload::manifest;

use super::running::Running;
use super::trigger::{Trigger, TriggerError};
use crate::run::command::{Exit, run_command};

/// Runs the commands of a workload when it starts, and logs how they end.
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
        for command in running.workload().triggers.of::<manifest::CommandTrigger>().unwrap_or_default() {
            let Some(entry) = running.entry(command.component.as_str()).cloned() else { continue };
            let (running, component) = (running.clone(), command.component);
            tokio::spawn(async move {
                let workload = running.workload().id();
                match run_command(&entry, &running.workload().components[&component].limits).await {
                    Ok(Exit(0)) => tracing::info!(%workload, %component, "command succeeded"),
                    Ok(Exit(code)) => tracing::warn!(%workload, %component, code, "command failed"),
                    Err(error) => tracing::error!(%workload, %component, %error, "command failed"),
                }
            });
        }
    }

    /// Commands run once, when their workload starts.
    async fn resumed(&self, _: &Arc<Running>) {}

    async fn detach(&self, _: &Arc<Running>) {}
}
