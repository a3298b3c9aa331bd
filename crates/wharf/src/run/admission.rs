//! Admission: which calls of a unit start, and which wait or are rejected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::entry::Entry;
use crate::limits::Limit;

/// The longest wait of a call whose unit has no limit `time`.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(30);

/// The limit `concurrency` of a unit.
pub(crate) struct ConcurrencyLimit {
    permits: Semaphore,
    waiting: AtomicU32,
}

impl ConcurrencyLimit {
    pub(crate) fn new(concurrency: u32) -> Self {
        let permits = (concurrency as usize).min(Semaphore::MAX_PERMITS);
        Self { permits: Semaphore::new(permits), waiting: AtomicU32::new(0) }
    }
}

/// Why a call was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// The limit `concurrency` was reached, and its queue is full or the call waited too long.
    #[error("too many concurrent calls; the limit is `concurrency`")]
    TooMany,
    /// The component is a service, which did not start in time.
    #[error("the service has not started yet")]
    ServiceStarting,
    /// The component is a service that has ended, and its restart policy does not start it again.
    #[error("the service has ended, and its restart policy does not start it again")]
    ServiceEnded,
    /// The workload has stopped. Another version may have replaced it.
    #[error("the workload has stopped")]
    Stopped,
}

/// A call that was admitted. It counts against the limit `concurrency`, and its workload waits for it when it stops, until
/// this is dropped.
pub struct CallPermit(Arc<Entry>);

impl Drop for CallPermit {
    fn drop(&mut self) {
        self.0.concurrency.permits.add_permits(1);
        self.0.calls.uncount();
        self.0.tracker().usage.add_call();
    }
}

/// Admits a call now, or when others have ended.
pub(super) async fn admit(entry: &Arc<Entry>) -> Result<CallPermit, AdmissionError> {
    // Counted first: a workload that stops waits for every call that was admitted.
    let counted = entry.calls.count();
    if entry.calls.is_closed() {
        return Err(AdmissionError::Stopped);
    }
    let permit = match entry.concurrency.permits.try_acquire() {
        Ok(permit) => permit,
        Err(_) => wait(entry).await?,
    };
    if let Some(service) = &entry.service
        && !service.is_up()
    {
        service.up(entry).await?;
    }
    // Both borrow the entry; `CallPermit` returns them.
    permit.forget();
    counted.keep();
    Ok(CallPermit(entry.clone()))
}

#[cold]
async fn wait(entry: &Entry) -> Result<SemaphorePermit<'_>, AdmissionError> {
    struct Waiting<'a>(&'a AtomicU32);
    impl Drop for Waiting<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let before = entry.concurrency.waiting.fetch_add(1, Ordering::Relaxed);
    let _waiting = Waiting(&entry.concurrency.waiting);
    let longest = entry.limits().time.unwrap_or(MAX_WAIT);
    let acquired = async {
        tokio::select! {
            permit = entry.concurrency.permits.acquire() => permit.map_err(|_| AdmissionError::Stopped),
            () = tokio::time::sleep(longest) => Err(AdmissionError::TooMany),
            () = entry.calls.terminated() => Err(AdmissionError::Stopped),
        }
    };
    let acquired = if before < entry.limits().concurrency { acquired.await } else { Err(AdmissionError::TooMany) };
    if matches!(acquired, Err(AdmissionError::TooMany)) {
        entry.tracker().refuse(Limit::Concurrency);
    }
    acquired
}
