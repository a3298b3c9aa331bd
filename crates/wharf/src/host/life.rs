//! The life of a workload: start, update, stop, and the end of all with the host.
//!
//! These run in tasks of the host, so that a caller that goes away leaves nothing half done.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio_util::task::task_tracker::TaskTrackerToken;
use wharf_api::{State, WorkloadStatus};
use workload::{Name, Workload};

use super::running::Running;
use super::start::{self, StartError};
use super::trigger::{Trigger, TriggerError};
use super::workloads::Slot;
use super::{Host, NoWorkload, deadline, without_instances};
use crate::run::policy::Policy;

/// How long a trigger may take to detach, a plugin to shut down, and the calls of a service to end that is replaced.
const HOOK_TIMEOUT: Duration = Duration::from_secs(10);

impl Host {
    pub(super) async fn start(&self, workload: Workload) -> Result<WorkloadStatus, StartError> {
        let id = workload.id();
        let taken = self.0.workloads.reserve(&id)?;
        let started = tokio::select! {
            started = self.prepare(workload) => started?,
            () = taken.cancelled() => return Err(StartError::Stopped { id }),
        };
        let running = Arc::new(started);
        let bound = tokio::select! {
            bound = self.bind_provided(&running) => bound,
            () = taken.cancelled() => Err(StartError::Stopped { id: id.clone() }),
        };
        if let Err(refusal) = bound {
            self.unbind_provided(&running, None).await;
            running.stop(tokio::time::Instant::now()).await;
            return Err(refusal);
        }
        let operation = self.0.operations.token();
        let mut attaching = Attaching { triggers: &self.0.triggers, running: &running, attached: 0, operation };
        running.start_services(&running.declared_services()).await;
        for trigger in &self.0.triggers {
            let attached = tokio::select! {
                attached = hook(trigger.attach(&running)) => attached,
                () = taken.cancelled() => {
                    attaching.undo().await;
                    self.unbind_provided(&running, None).await;
                    return Err(StartError::Stopped { id });
                }
            };
            if let Err(refusal) = attached.and_then(|attached| attached) {
                attaching.undo().await;
                self.unbind_provided(&running, None).await;
                return Err(refused(trigger, refusal));
            }
            attaching.attached += 1;
        }
        attaching.attached = 0;
        taken.keep(running.clone());
        self.started(&running).await;
        Ok(running.status(State::Running).await)
    }

    /// Tells the triggers that a workload runs.
    async fn started(&self, running: &Arc<Running>) {
        join_all(self.0.triggers.iter().map(|trigger| async move {
            if let Err(error) = timely(trigger.started(running)).await {
                let workload = running.workload().id();
                tracing::error!(%workload, trigger = trigger.name(), %error, "the trigger did not start its calls");
            }
        }))
        .await;
    }

    /// Tells the provided components that the workload uses.
    async fn bind_provided(&self, running: &Running) -> Result<(), StartError> {
        match self.0.provided.get() {
            Some(provided) => provided.bind(running).await,
            None => Ok(()),
        }
    }

    async fn unbind_provided(&self, running: &Running, still: Option<&Running>) {
        if let Some(provided) = self.0.provided.get() {
            provided.unbind(running, still).await;
        }
    }

    async fn prepare(&self, workload: Workload) -> Result<Running, StartError> {
        start::open(&self.0, start::compile(&self.0, workload).await?).await
    }

    pub(super) async fn update(&self, workload: Workload) -> Result<WorkloadStatus, StartError> {
        let id = workload.id();
        let not_running = |_| StartError::NotRunning { id: id.clone() };
        self.running(&id).map_err(not_running)?;
        let compiled = start::compile(&self.0, workload).await?;
        let current = self.running(&id).map_err(not_running)?;
        if compiled.is_version(&current) && current.is_intact().await {
            return Ok(current.status(State::Running).await);
        }
        drop(current);
        // A plugin that does not open must not keep a stop or a shutdown waiting.
        let new = tokio::select! {
            opened = start::open(&self.0, compiled) => Arc::new(opened?),
            () = self.0.workloads.leaves(&id, State::Running) => return Err(StartError::NotRunning { id }),
        };
        let replaced = match self.bind_provided(&new).await {
            Ok(()) => self.replace(&id, &new).await,
            Err(refusal) => Err(refusal),
        };
        let old = match replaced {
            Ok(old) => old,
            Err(error) => {
                new.stop(tokio::time::Instant::now()).await;
                let current = self.running(&id).ok();
                self.unbind_provided(&new, current.as_deref()).await;
                // They were told of the version that does not run.
                if let Some(current) = current
                    && let Err(error) = self.bind_provided(&current).await
                {
                    tracing::warn!(workload = id, %error, "a provided component has an old view of the workload");
                }
                return Err(error);
            }
        };
        self.started(&new).await;
        self.retire(&old).await;
        // Another update may have come in the meantime.
        let current = self.running(&id).unwrap_or_else(|_| new.clone());
        self.unbind_provided(&old, Some(&current)).await;
        Ok(new.status(State::Running).await)
    }

    /// Replaces the version that runs by a new one. Returns the old one, whose services run until it is stopped. A service that
    /// may listen on a port of the machine is stopped before that of the new version starts; one that takes calls, when those
    /// in progress have ended.
    async fn replace(&self, id: &str, new: &Arc<Running>) -> Result<Arc<Running>, StartError> {
        loop {
            let old = self.running(id).map_err(|_| StartError::NotRunning { id: id.to_owned() })?;
            let changing = old.changing.lock().await;
            // A stop of the new version waits until it has all its services.
            let _new_changing = new.changing.lock().await;
            // Another update, or a stop, may have come first.
            if !self.running(id).is_ok_and(|current| Arc::ptr_eq(&current, &old)) {
                continue;
            }
            let takes_calls = |name: &&Name| old.entry(name.as_str()).is_some_and(|e| e.policy() == Policy::Service);
            let exclusive = old.services_on_real_ports().into_iter();
            let (last, first): (Vec<&Name>, Vec<&Name>) = exclusive.partition(takes_calls);
            let first = old.stop_services(&first).await;
            // Any of the new version's may want the port, under another name.
            let wait = if last.is_empty() { Vec::new() } else { new.services_on_real_ports() };
            let (later, now): (Vec<&Name>, Vec<&Name>) =
                new.declared_services().into_iter().partition(|name| wait.contains(name));
            new.start_services(&now).await;
            let moved = self.replace_triggers(id, &old, new).await;
            if moved.is_ok() {
                self.0.workloads.replace(id, &old, new);
                if !last.is_empty() {
                    old.wait_for_calls(HOOK_TIMEOUT).await;
                    old.stop_services(&last).await;
                    new.start_services(&later).await;
                }
                drop(changing);
                return Ok(old);
            }
            // The new version releases the ports.
            new.stop_services(&new.services_on_real_ports()).await;
            old.start_services(&first).await;
            return moved.map(|()| old.clone());
        }
    }

    /// Stops a version that another one has replaced. Its calls have the drain time, or as long as a host drains that is shutting
    /// down.
    async fn retire(&self, old: &Arc<Running>) {
        let mut stopping = std::pin::pin!(old.stop(deadline(self.0.drain)));
        tokio::select! {
            () = &mut stopping => return,
            () = self.0.workloads.past_deadline() => old.terminate(),
        }
        stopping.await;
    }

    /// Moves all triggers to a new version; if one refuses it, all of them return to the old one.
    async fn replace_triggers(&self, id: &str, old: &Arc<Running>, new: &Arc<Running>) -> Result<(), StartError> {
        for (i, trigger) in self.0.triggers.iter().enumerate() {
            let Err(refusal) = replace(trigger, old, new).await else { continue };
            for moved in &self.0.triggers[..i] {
                if let Err(error) = replace(moved, new, old).await {
                    tracing::error!(workload = id, trigger = moved.name(), %error, "the old version is no longer served");
                }
            }
            // Those that initiate calls stopped when they left the old version.
            join_all(self.0.triggers[..=i].iter().map(|trigger| async move {
                if let Err(error) = timely(trigger.resumed(old)).await {
                    tracing::error!(workload = id, trigger = trigger.name(), %error, "the trigger did not resume its calls");
                }
            }))
            .await;
            return Err(refused(trigger, refusal));
        }
        Ok(())
    }

    pub(super) async fn stop(&self, id: &str, deadline: tokio::time::Instant) -> Result<WorkloadStatus, NoWorkload> {
        loop {
            let running = match self.0.workloads.find(id)? {
                Slot::Running(running) => running,
                Slot::Stopping(_) => return Err(NoWorkload { id: id.to_owned() }),
                Slot::Starting(cancel) => {
                    cancel.notify_one();
                    self.0.workloads.leaves(id, State::Starting).await;
                    if self.0.workloads.find(id).is_err() {
                        return Ok(without_instances(id, State::Stopped));
                    }
                    continue;
                }
            };
            // An update in progress is finished first.
            let _changing = running.changing.lock().await;
            let Some(_taken) = self.0.workloads.begin_stop(id, &running) else { continue };
            self.detach(&running).await;
            running.stop(deadline).await;
            self.unbind_provided(&running, None).await;
            return Ok(running.status(State::Stopped).await);
        }
    }

    async fn detach(&self, running: &Arc<Running>) {
        join_all(self.0.triggers.iter().map(|trigger| detach(trigger, running))).await;
    }

    pub(super) async fn shut_down(&self) {
        let deadline = deadline(self.0.drain);
        self.0.workloads.close(deadline);
        let triggers = self.0.triggers.iter().map(|trigger| hook(trigger.shutdown()));
        // Triggers and workloads share one deadline.
        tokio::time::timeout_at(deadline, join_all(triggers)).await.ok();
        let ids = self.0.workloads.list();
        join_all(ids.iter().map(|(id, _)| async move {
            while self.0.workloads.find(id).is_ok() {
                // The error says that another stop is in progress.
                self.stop(id, deadline).await.ok();
                self.0.workloads.leaves(id, State::Stopping).await;
            }
        }))
        .await;
        // Whatever was in progress ends before the plugins do: an update that retires its old version, a start that was cancelled.
        self.0.operations.close();
        self.0.operations.wait().await;
        if let Some(provided) = self.0.provided.get() {
            provided.stop(deadline).await;
        }
        let plugins = self.0.plugins.0.iter().map(|plugin| async move {
            if tokio::time::timeout(HOOK_TIMEOUT, plugin.shutdown()).await.is_err() {
                tracing::warn!(plugin = plugin.name(), "the plugin did not shut down within {HOOK_TIMEOUT:?}");
            }
        });
        join_all(plugins).await;
    }
}

/// The refusal of a trigger, each of its errors on its own.
fn refused(trigger: &Arc<dyn Trigger>, refusal: TriggerError) -> StartError {
    let error = |error| StartError::Trigger { trigger: trigger.name().to_owned(), error };
    StartError::several(refusal.into_each().into_iter().map(error)).unwrap_or(StartError::Interrupted)
}

/// A call of a trigger. A panic is its error, so that it leaves nothing half done.
async fn hook<T>(call: impl Future<Output = T>) -> Result<T, TriggerError> {
    AssertUnwindSafe(call).catch_unwind().await.map_err(|_| TriggerError::new("it panicked"))
}

/// Moves a trigger to another version.
async fn replace(trigger: &Arc<dyn Trigger>, old: &Arc<Running>, new: &Arc<Running>) -> Result<(), TriggerError> {
    timely(trigger.replace(old, new)).await?
}

/// A call of a trigger, within a time limit.
async fn timely<T>(call: impl Future<Output = T>) -> Result<T, TriggerError> {
    let called = tokio::time::timeout(HOOK_TIMEOUT, hook(call)).await;
    called.unwrap_or_else(|_| Err(TriggerError::new(format!("no answer within {HOOK_TIMEOUT:?}"))))
}

async fn detach(trigger: &Arc<dyn Trigger>, running: &Arc<Running>) {
    if let Err(error) = timely(trigger.detach(running)).await {
        let workload = running.workload().id();
        tracing::warn!(%workload, trigger = trigger.name(), %error, "the trigger did not detach");
    }
}

/// The triggers that have attached to a workload that starts. Dropped before all have, because one panicked, it detaches them
/// and stops the workload in a task.
struct Attaching<'a> {
    triggers: &'a [Arc<dyn Trigger>],
    running: &'a Arc<Running>,
    attached: usize,
    /// Held until the workload is stopped.
    operation: TaskTrackerToken,
}

impl Attaching<'_> {
    async fn undo(&mut self) {
        let attached = std::mem::take(&mut self.attached);
        join_all(self.triggers[..attached].iter().map(|trigger| detach(trigger, self.running))).await;
        self.running.stop(tokio::time::Instant::now()).await;
    }
}

impl Drop for Attaching<'_> {
    fn drop(&mut self) {
        if self.attached == 0 {
            return;
        }
        let (triggers, running) = (self.triggers[..self.attached].to_vec(), self.running.clone());
        let operation = self.operation.clone();
        tokio::spawn(async move {
            let _operation = operation;
            join_all(triggers.iter().map(|trigger| detach(trigger, &running))).await;
            running.stop(tokio::time::Instant::now()).await;
        });
    }
}
