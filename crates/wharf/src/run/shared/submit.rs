//! Calls that are submitted to an instance which serves several: one that is found, or one that the call makes and drives until it
//! first waits.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use super::super::admission::{AdmissionError, CallPermit};
use super::super::drive::Execution;
use super::super::entry::Entry;
use super::super::invoke::Call;
use super::super::pool::Instantiated;
use super::super::termination::Termination;
use super::{FIRST, Job, SharedInstance};

/// A call on an instance that may serve others.
pub struct SharedCall {
    pub(in crate::run) shared: Arc<SharedInstance>,
    pub(in crate::run) number: u64,
    pub(in crate::run) permit: Arc<CallPermit>,
}

impl SharedCall {
    /// The call's permit, for a caller that still sends the response.
    pub fn permit(&self) -> &Arc<CallPermit> {
        &self.permit
    }

    /// Marks the call as answered, to the last byte, whatever the instance goes on to do. The end of its job does the same, but
    /// a job ends only when an instance that computes waits.
    pub fn answered(&self) {
        self.shared.remove(self.number);
    }

    /// The limit, or the workload's end, that ended the call, if one did.
    pub fn interruption(&self) -> Option<Termination> {
        let late = self.shared.lock().late.contains(&self.number);
        if late { Some(self.shared.meter.time_limit()) } else { self.shared.meter.interruption() }
    }
}

impl Entry {
    /// Runs a job in an instance that may serve others at the same time: one that is running, or a new one. The new one is
    /// driven by the [`SharedExecution`] until the call waits for anything but its caller.
    ///
    /// The job reports its result by itself, through a channel for example. A job that is dropped ended with its instance, or
    /// missed its deadline.
    /// A service's instance that ends before it has taken the call is waited for, as in [`admit`](Self::admit).
    ///
    /// # Errors
    /// [`AdmissionError`] when the entry is a service that has ended, or does not start in time.
    pub async fn submit(
        self: &Arc<Self>,
        job: Job,
        permit: impl Into<Arc<CallPermit>>,
    ) -> Result<(Option<SharedExecution>, SharedCall), AdmissionError> {
        match &self.service {
            Some(service) => Ok((None, service.submit(self, job, permit.into()).await?)),
            None => Ok(self.share(job, permit.into())),
        }
    }

    fn share(self: &Arc<Self>, mut job: Job, permit: Arc<CallPermit>) -> (Option<SharedExecution>, SharedCall) {
        let mut instances = self.shared_instances();
        // A call that joined an instance that computes would wait for it; another instance starts at once, if there may be one.
        let may_wait = self.policy.most().is_some_and(|most| instances.len() >= most as usize);
        for shared in instances.iter().filter(|shared| may_wait || !shared.meter.is_computing()) {
            match shared.join(self, job, &permit) {
                Ok(number) => return (None, SharedCall { shared: shared.clone(), number, permit }),
                Err(back) => job = back,
            }
        }
        let shared = SharedInstance::new(self, permit.clone());
        let expected = if self.policy.most().is_some() { self.pool.served() } else { 0 };
        if expected > 0 {
            let mut state = shared.lock();
            (state.served, state.expected) = (1 + expected, expected);
        }
        // Where the number of instances is limited, other calls find this one before it waits.
        let listed = self.policy.most().is_some().then(|| {
            instances.push(shared.clone());
            Closing { entry: self.clone(), shared: shared.clone() }
        });
        drop(instances);
        // The calls end after their instance: the next one then finds it, or its place.
        let ending = EndCalls(shared.clone());
        let execution = self.start_with(&shared.meter, Serve { job, shared: shared.clone() }, ending);
        let call = SharedCall { shared: shared.clone(), number: FIRST, permit };
        (Some(SharedExecution { execution: Some(execution), entry: self.clone(), shared, listed }), call)
    }

    /// Runs a job in the instance of a service until it has ended. Other calls join it.
    pub(in crate::run) fn serve_service<G: Send + 'static>(
        self: &Arc<Self>,
        job: Job,
        shared: &Arc<SharedInstance>,
        guard: G,
    ) -> Execution<bool> {
        let serve = ServeService(Serve { job, shared: shared.clone() });
        self.start_with(&shared.meter, serve, (EndCalls(shared.clone()), guard))
    }

    fn shared_instances(&self) -> MutexGuard<'_, Vec<Arc<SharedInstance>>> {
        self.pool.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An instance that its first call drives. Dropped before it is done, it goes on in a task of its own, and other calls may
/// join it.
pub struct SharedExecution {
    execution: Option<Execution<bool>>,
    entry: Arc<Entry>,
    shared: Arc<SharedInstance>,
    /// Set if other calls find the instance.
    listed: Option<Closing>,
}

impl SharedExecution {
    /// Polls without a timer for the limits. The caller polls again at once, or drops it.
    pub fn poll_untimed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Termination>> {
        let Some(execution) = &mut self.execution else { return Poll::Ready(Ok(())) };
        let polled = execution.poll_untimed(cx);
        if polled.is_ready() {
            self.execution = None;
            self.listed = None;
        }
        polled.map_ok(|_completed| ())
    }
}

impl Drop for SharedExecution {
    fn drop(&mut self) {
        let (Some(mut execution), Ok(runtime)) = (self.execution.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (entry, shared) = (self.entry.clone(), self.shared.clone());
        let count = entry.calls.count_shared_instance();
        let closing = self.listed.take().unwrap_or_else(|| {
            entry.shared_instances().push(shared.clone());
            Closing { entry: entry.clone(), shared }
        });
        execution.spawn();
        runtime.spawn(async move {
            // Dropped last: a workload that stops waits until nothing is left of the instance.
            let _count = count;
            let _closing = closing;
            if let Err(error) = execution.await {
                entry.tracker().log_failure(&error.to_string());
            }
        });
    }
}

/// Closes an instance that has ended: no call joins it any more, and the jobs that did are dropped.
struct Closing {
    entry: Arc<Entry>,
    shared: Arc<SharedInstance>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.entry.shared_instances().retain(|shared| !Arc::ptr_eq(shared, &self.shared));
        let left = {
            let mut state = self.shared.lock();
            state.closed = true;
            std::mem::take(&mut state.jobs)
        };
        drop(left);
    }
}

/// The call that makes a shared instance, and serves all others that join it.
struct Serve {
    job: Job,
    shared: Arc<SharedInstance>,
}

impl Call for Serve {
    /// Whether all calls completed.
    type Output = bool;

    async fn call(self, instance: &mut Instantiated) -> wasmtime::Result<bool> {
        let Self { job, shared } = self;
        let bindings = instance.all_bindings()?;
        // Calls may have joined while the instance was made.
        shared.count_earlier(instance.served);
        let serving = shared.clone();
        let run = instance.store.run_concurrent(async move |accessor| serving.serve(accessor, &bindings, job).await);
        let completed = run.await??;
        // The return of the instance counts one.
        instance.served = shared.lock().served.saturating_sub(1);
        Ok(completed)
    }

    fn is_reusable(completed: &bool) -> bool {
        *completed
    }
}

/// The run of a service, in an instance of its own.
struct ServeService(Serve);

impl Call for ServeService {
    type Output = bool;

    const FRESH: bool = true;

    async fn call(self, instance: &mut Instantiated) -> wasmtime::Result<bool> {
        self.0.call(instance).await
    }

    fn is_reusable(_: &bool) -> bool {
        false
    }
}

/// Ends the calls of an instance with it, however it ends: those in progress, and those that joined and have not started.
struct EndCalls(Arc<SharedInstance>);

impl Drop for EndCalls {
    fn drop(&mut self) {
        let ended = {
            let mut state = self.0.lock();
            state.closed = true;
            (std::mem::take(&mut state.calls), std::mem::take(&mut state.jobs), state.after_response.take())
        };
        drop(ended);
    }
}
