//! The instance of a service that serves calls: `wasi:cli/run@0.3` goes on in it while others call it.
//!
//! It is retired and made anew as a whole: when it traps, when it reaches a limit, and when `run` returns and the service is
//! restarted. Calls wait for it when they are admitted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio_util::task::task_tracker::TaskTrackerToken;
use wasmtime::component::Instance;
use wasmtime_wasi::p3::bindings::{Command, CommandIndices};
use workload::manifest::Limits;

use super::admission::{AdmissionError, CallPermit, MAX_WAIT};
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

    /// Marks the instance as one that takes no more calls. A service that was stopped stays so.
    fn end(&self) {
        let mut phase = self.lock();
        let ended = if matches!(&*phase, Phase::Up(_)) { Some(std::mem::take(&mut *phase)) } else { None };
        drop(phase);
        self.changed.notify_waiters();
        drop(ended);
    }

    /// Whether it takes calls.
    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.lock(), Phase::Up(_))
    }

    /// Waits for an instance that takes calls, and gives it to `take`, until that has a result.
    async fn with_instance<T>(
        &self,
        entry: &Entry,
        mut take: impl FnMut(Arc<SharedInstance>) -> Option<T>,
    ) -> Result<T, AdmissionError> {
        let waiting = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                // Registered before the phase is read, so that a change in between is not missed.
                changed.as_mut().enable();
                let up = match &*self.lock() {
                    Phase::Up(shared) => Some(shared.clone()),
                    Phase::Ended => return Err(AdmissionError::ServiceEnded),
                    Phase::Stopped => return Err(AdmissionError::Stopped),
                    Phase::Starting => None,
                };
                if let Some(taken) = up.and_then(&mut take) {
                    return Ok(taken);
                }
                changed.await;
            }
        };
        tokio::select! {
            biased;
            taken = waiting => taken,
            () = tokio::time::sleep(entry.limits().time.unwrap_or(MAX_WAIT)) => Err(AdmissionError::ServiceStarting),
            () = entry.calls.terminated() => Err(AdmissionError::Stopped),
        }
    }

    /// Waits until it takes calls.
    pub(super) async fn up(&self, entry: &Entry) -> Result<(), AdmissionError> {
        self.with_instance(entry, |_| Some(())).await
    }

    /// Adds a call to the instance. One that has ended gives the job back, and the next one takes it.
    pub(super) async fn submit(
        &self,
        entry: &Entry,
        job: Job,
        permit: Arc<CallPermit>,
    ) -> Result<SharedCall, AdmissionError> {
        let mut job = Some(job);
        let join = |shared: Arc<SharedInstance>| match shared.join(entry, job.take()?, &permit) {
            Ok(number) => Some((shared, number)),
            Err(back) => {
                job = Some(back);
                None
            }
        };
        let (shared, number) = self.with_instance(entry, join).await?;
        Ok(SharedCall { shared, number, permit })
    }
}

impl Entry {
    /// Runs a service in an instance that takes calls, until the instance has ended. With `keeps_serving`, an instance whose `run`
    /// succeeded goes on to serve calls. `instance` is held until the instance is dropped. A service that takes no calls runs within
    /// the limits that the manifest declares.
    ///
    /// # Errors
    /// [`CallError`] when the instance could not be made, trapped, or was ended.
    pub(crate) async fn run_service(
        self: &Arc<Self>,
        declared: &Limits,
        keeps_serving: bool,
        instance: TaskTrackerToken,
    ) -> Result<Exit, CallError> {
        let (Some(pre), Some(service)) = (self.pre(), &self.service) else {
            return run_unadmitted(self, declared, instance).await;
        };
        let terminated = |cause| CallError::new(self, RUN, InvokeError::Terminated(cause));
        let indices = CommandIndices::new(pre).map_err(|error| terminated(Termination::Instantiate(error)))?;
        let shared = SharedInstance::of_service(self);
        let (exit_tx, mut exit_rx) = oneshot::channel();
        let (retiring, entry) = (shared.clone(), self.clone());
        let run: Job = Box::new(move |accessor, bindings| {
            Box::pin(async move {
                let load = |instance: &Instance| accessor.with(|mut store| indices.load(&mut store, instance));
                let command = bindings.get_or_load::<Command>(load)?;
                let ended = command.wasi_cli_run().call_run(accessor).await?;
                let keeps_serving = keeps_serving && ended.is_ok();
                exit_tx.send(ended).ok();
                if keeps_serving {
                    return Ok(JobOutcome::Completed);
                }
                // New calls wait for the next instance, while those in progress end in this one.
                if let Some(service) = &entry.service {
                    service.end();
                }
                retiring.retire();
                // What the component still has at work ends with the instance.
                Ok(JobOutcome::Abandoned)
            })
        });
        let execution = self.serve_service(run, &shared, instance);
        service.set(Phase::Up(shared));
        let _reset = ResetPhase(service);
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
struct ResetPhase<'a>(&'a ServiceInstance);

impl Drop for ResetPhase<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
