//! The instance of a service that serves calls: `wasi:cli/run@0.3` goes on in it while others call it.
//!
//! It is retired and made anew as a whole: when it traps, when it reaches a limit, and when `run` returns and the service is
//! restarted. Calls wait for it when they are admitted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use wasmtime::component::Instance;
use wasmtime_wasi::p3::bindings::{Command, CommandIndices};
use workload::manifest::Limits;

use super::admission::{AdmissionError, CallPermit};
use super::call::CallError;
use super::command::{Exit, RUN, exit_code, run_unadmitted};
use super::entry::Entry;
use super::invoke::InvokeError;
use super::shared::{Job, JobOutcome, SharedCall, SharedInstance};
use super::termination::Termination;

/// The instance of a service, as its callers find it.
#[derive(Default)]
pub(crate) struct ServiceInstance {
    phase: Mutex<Phase>,
    /// Notified when the phase changes.
    changed: Notify,
}

#[derive(Clone, Default)]
enum Phase {
    /// There is no instance yet, or no longer.
    #[default]
    Starting,
    Up(Arc<SharedInstance>),
    /// There will be no instance any more.
    Ended,
    /// The service was stopped: its workload stops, or another version replaces it.
    Stopped,
}

impl ServiceInstance {
    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        let before = std::mem::replace(&mut *self.lock(), phase);
        self.changed.notify_waiters();
        drop(before);
    }

    /// Whether it takes calls.
    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.lock(), Phase::Up(_))
    }

    /// Waits until it takes calls.
    pub(super) async fn up(&self) -> Result<(), AdmissionError> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Registered before the phase is read, so that a change in between is not missed.
            changed.as_mut().enable();
            match &*self.lock() {
                Phase::Up(_) => return Ok(()),
                Phase::Ended => return Err(AdmissionError::ServiceEnded),
                Phase::Stopped => return Err(AdmissionError::Stopped),
                Phase::Starting => {}
            }
            changed.await;
        }
    }

    /// Adds a call to the instance. If there is none, the job is dropped, which its caller sees as the end of the instance.
    pub(super) fn submit(&self, entry: &Entry, job: Job, permit: CallPermit) -> SharedCall {
        let permit = Arc::new(permit);
        let up = match &*self.lock() {
            Phase::Up(shared) => Some(shared.clone()),
            _ => None,
        };
        let shared = up.unwrap_or_else(|| {
            let gone = SharedInstance::of_service(entry, None);
            gone.retire();
            gone
        });
        let number = shared.join(entry, job, &permit).unwrap_or_default();
        SharedCall { shared, number, permit }
    }
}

impl Entry {
    /// Runs a service in an instance that takes calls, until the instance has ended. With `stays`, an instance whose `run`
    /// succeeded goes on to serve calls. Of the limits that the manifest declares, `cpu` is that of the instance.
    ///
    /// # Errors
    /// [`CallError`] when the instance could not be made, trapped, or was ended.
    pub(crate) async fn run_service(self: &Arc<Self>, declared: &Limits, stays: bool) -> Result<Exit, CallError> {
        let (Some(pre), Some(service)) = (self.pre(), &self.service) else {
            return run_unadmitted(self, declared).await;
        };
        let terminated = |cause| CallError::new(self, RUN, InvokeError::Terminated(cause));
        let indices = CommandIndices::new(pre).map_err(|error| terminated(Termination::Instantiate(error)))?;
        let cpu = self.limits().clone().without_default_times(declared).cpu;
        let shared = SharedInstance::of_service(self, cpu);
        let (exit_tx, mut exit_rx) = oneshot::channel();
        let retiring = shared.clone();
        let run: Job = Box::new(move |accessor, bindings| {
            Box::pin(async move {
                let load = |instance: &Instance| accessor.with(|mut store| indices.load(&mut store, instance));
                let command = bindings.get_or_load::<Command>(load)?;
                let ended = command.wasi_cli_run().call_run(accessor).await?;
                let stays = stays && ended.is_ok();
                exit_tx.send(ended).ok();
                if stays {
                    return Ok(JobOutcome::Completed);
                }
                retiring.retire();
                // What the component still has at work ends with the instance.
                Ok(JobOutcome::Abandoned)
            })
        });
        let execution = self.serve_service(run, &shared);
        service.set(Phase::Up(shared));
        let _down = Down(service);
        match execution.await {
            Ok(_) => Ok(exit_rx.try_recv().map_or(Exit(1), |ended| Exit(i32::from(ended.is_err())))),
            Err(cause) => exit_code(&cause).ok_or_else(|| terminated(cause)),
        }
    }

    /// Marks a service as one that is not restarted.
    pub(crate) fn service_ended(&self) {
        if let Some(service) = &self.service {
            service.set(Phase::Ended);
        }
    }

    /// Marks a service as one that was stopped, until it runs again.
    pub(crate) fn service_stopped(&self) {
        if let Some(service) = &self.service {
            service.set(Phase::Stopped);
        }
    }
}

/// Marks a service as one without an instance when its run has ended, however it ended.
struct Down<'a>(&'a ServiceInstance);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        self.0.set(Phase::Starting);
    }
}
