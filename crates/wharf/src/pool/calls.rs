//! The calls of a workload: how many are under way, how many may be, and how they are ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::Entry;
use crate::limits::Limit;

/// How long a call waits at most when its unit has no limit `time`.
const PATIENCE: Duration = Duration::from_secs(30);

/// The calls of a workload that are under way.
#[derive(Default)]
pub(crate) struct Calls {
    count: AtomicUsize,
    shared: AtomicUsize,
    none: Notify,
    closed: AtomicBool,
    stopped: AtomicBool,
    stop: Notify,
    /// How many instances the workload has, and how many it may have.
    instances: AtomicU32,
    most_instances: Option<u32>,
}

/// The workload has as many instances as it may.
#[derive(Debug, thiserror::Error)]
#[error("the workload has its share of the host's pool")]
pub(crate) struct NoPlace;

/// An instance's place among those of its workload.
pub(crate) struct Place(Arc<Calls>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Calls {
    pub(crate) fn new(most_instances: Option<u32>) -> Self {
        Self { most_instances, ..Self::default() }
    }

    /// A place for one more instance; none is counted where any number may be.
    pub(crate) fn place(self: &Arc<Self>) -> Result<Option<Place>, NoPlace> {
        let Some(most) = self.most_instances else { return Ok(None) };
        let one_more = |count| (count < most).then_some(count + 1);
        match self.instances.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Some(Place(self.clone()))),
            Err(_) => Err(NoPlace),
        }
    }

    /// Counts one more shared instance until what this returns is dropped.
    pub(crate) fn share(self: &Arc<Self>) -> Sharing {
        self.shared.fetch_add(1, Ordering::Relaxed);
        Sharing(self.clone())
    }

    fn one_less(&self, count: &AtomicUsize) {
        if count.fetch_sub(1, Ordering::Release) == 1 {
            self.none.notify_waiters();
        }
    }

    /// How many instances serve several calls, or go on after them.
    pub(crate) fn shared(&self) -> usize {
        self.shared.load(Ordering::Relaxed)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until there are none.
    pub(crate) async fn drained(&self) {
        loop {
            let none = self.none.notified();
            if self.count.load(Ordering::SeqCst) == 0 && self.shared.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }

    /// Lets no more calls in.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Ends all calls, and lets no more in.
    pub(crate) fn end(&self) {
        self.close();
        self.stopped.store(true, Ordering::SeqCst);
        self.stop.notify_waiters();
    }

    /// Whether all calls are to end.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Waits until all calls are to end.
    pub(crate) async fn stop(&self) {
        let mut stop = std::pin::pin!(self.stop.notified());
        // Registered before it is asked, so that it cannot be missed.
        stop.as_mut().enable();
        if !self.stopped.load(Ordering::SeqCst) {
            stop.await;
        }
    }
}

/// A shared instance, for which a workload that stops waits.
pub(crate) struct Sharing(Arc<Calls>);

impl Drop for Sharing {
    fn drop(&mut self) {
        self.0.one_less(&self.0.shared);
    }
}

/// How many calls of a unit are let in.
pub(crate) struct Gate {
    places: Semaphore,
    waiting: AtomicU32,
}

impl Gate {
    pub(crate) fn new(concurrency: u32) -> Self {
        let places = (concurrency as usize).min(Semaphore::MAX_PERMITS);
        Self { places: Semaphore::new(places), waiting: AtomicU32::new(0) }
    }
}

/// Why a call is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// As many are under way and waiting as may be.
    #[error("too many calls at once; see the limit `concurrency`")]
    TooMany,
    /// The workload has stopped. Another version may have taken its place.
    #[error("the workload has stopped")]
    Stopped,
}

/// A call that is under way.
pub struct CallGuard(Arc<Entry>);

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.gate.places.add_permits(1);
        self.0.calls.one_less(&self.0.calls.count);
    }
}

pub(super) async fn admit(entry: &Arc<Entry>) -> Result<CallGuard, Busy> {
    // Counted first: a workload that stops waits for whoever it let in.
    entry.calls.count.fetch_add(1, Ordering::SeqCst);
    let uncounted = Uncounted(entry);
    if entry.calls.closed.load(Ordering::SeqCst) {
        return Err(Busy::Stopped);
    }
    let place = match entry.gate.places.try_acquire() {
        Ok(place) => place,
        Err(_) => wait(entry).await?,
    };
    place.forget();
    std::mem::forget(uncounted);
    Ok(CallGuard(entry.clone()))
}

/// Takes a call back out of the count that was not let in, or was given up while it waited.
struct Uncounted<'a>(&'a Entry);

impl Drop for Uncounted<'_> {
    fn drop(&mut self) {
        self.0.calls.one_less(&self.0.calls.count);
    }
}

#[cold]
async fn wait(entry: &Entry) -> Result<tokio::sync::SemaphorePermit<'_>, Busy> {
    struct Place<'a>(&'a AtomicU32);
    impl Drop for Place<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let before = entry.gate.waiting.fetch_add(1, Ordering::Relaxed);
    let _place = Place(&entry.gate.waiting);
    let patience = entry.limits().time.unwrap_or(PATIENCE);
    let acquired = async {
        tokio::select! {
            place = entry.gate.places.acquire() => place.map_err(|_| Busy::Stopped),
            () = tokio::time::sleep(patience) => Err(Busy::TooMany),
            () = entry.calls.stop() => Err(Busy::Stopped),
        }
    };
    let acquired = if before < entry.limits().concurrency { acquired.await } else { Err(Busy::TooMany) };
    if matches!(acquired, Err(Busy::TooMany)) {
        entry.unit.guard.refuse(Limit::Concurrency);
    }
    acquired
}
