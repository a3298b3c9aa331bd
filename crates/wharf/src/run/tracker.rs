//! The calls of a workload: their number, the end of admission, and their termination.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The calls in progress of one workload.
#[derive(Default)]
pub(crate) struct CallTracker {
    calls: AtomicUsize,
    shared_instances: AtomicUsize,
    /// Notified when a count reaches zero.
    idle: Notify,
    closed: AtomicBool,
    terminated: AtomicBool,
    termination: Notify,
    instances: AtomicU32,
    /// The workload's share of the host's instances, if it has one.
    max_instances: Option<u32>,
}

/// The workload has as many instances as the host's ceilings allow.
#[derive(Debug, thiserror::Error)]
#[error("the workload has used up its share of the host's instances")]
pub(crate) struct InstanceQuotaExceeded;

/// One of the workload's instances, counted until this is dropped.
pub(crate) struct InstanceReservation(Arc<CallTracker>);

impl Drop for InstanceReservation {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call that waits for admission, counted until this is dropped.
pub(crate) struct Counted<'a>(&'a CallTracker);

impl Counted<'_> {
    /// Leaves the call counted until [`CallTracker::uncount`].
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.uncount();
    }
}

/// A shared instance, counted until this is dropped: a workload that stops waits for it.
pub(crate) struct SharedInstanceCount(Arc<CallTracker>);

impl Drop for SharedInstanceCount {
    fn drop(&mut self) {
        self.0.decrement(&self.0.shared_instances);
    }
}

impl CallTracker {
    pub(crate) fn new(max_instances: Option<u32>) -> Self {
        Self { max_instances, ..Self::default() }
    }

    /// Reserves one more instance; `None` when their number is not limited, and none is counted.
    pub(crate) fn reserve_instance(self: &Arc<Self>) -> Result<Option<InstanceReservation>, InstanceQuotaExceeded> {
        let Some(max) = self.max_instances else { return Ok(None) };
        let increment = |count| (count < max).then_some(count + 1);
        match self.instances.fetch_update(Ordering::Relaxed, Ordering::Relaxed, increment) {
            Ok(_) => Ok(Some(InstanceReservation(self.clone()))),
            Err(_) => Err(InstanceQuotaExceeded),
        }
    }

    /// Counts a call.
    pub(crate) fn count(&self) -> Counted<'_> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Counted(self)
    }

    /// Ends the count of a call that was kept.
    pub(crate) fn uncount(&self) {
        self.decrement(&self.calls);
    }

    /// Counts a shared instance.
    pub(crate) fn count_shared_instance(self: &Arc<Self>) -> SharedInstanceCount {
        self.shared_instances.fetch_add(1, Ordering::Relaxed);
        SharedInstanceCount(self.clone())
    }

    fn decrement(&self, count: &AtomicUsize) {
        if count.fetch_sub(1, Ordering::Release) == 1 {
            self.idle.notify_waiters();
        }
    }

    /// The number of instances that serve several calls, or go on after them.
    pub(crate) fn shared_instances(&self) -> usize {
        self.shared_instances.load(Ordering::Relaxed)
    }

    /// The number of calls that are in progress or wait for admission.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Waits until no call and no shared instance is left.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.calls.load(Ordering::SeqCst) == 0 && self.shared_instances.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Rejects new calls.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether new calls are rejected.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Ends all calls, and rejects new ones.
    pub(crate) fn terminate(&self) {
        self.close();
        self.terminated.store(true, Ordering::SeqCst);
        self.termination.notify_waiters();
    }

    /// Whether all calls are to end.
    pub(crate) fn is_terminated(&self) -> bool {
        self.terminated.load(Ordering::Relaxed)
    }

    /// Waits until all calls are to end.
    pub(crate) async fn terminated(&self) {
        let mut termination = std::pin::pin!(self.termination.notified());
        // Registered before the flag is read, so that a notification in between is not missed.
        termination.as_mut().enable();
        if !self.terminated.load(Ordering::SeqCst) {
            termination.await;
        }
    }
}
