//! Instances that serve several calls at once: WASI 0.3, and mode `reuse`.
//!
//! The first call drives the instance on its own task, and usually completes before it waits. If it waits, the instance moves
//! to a task of its own, and other calls may join it from then on.

mod submit;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use futures_util::task::AtomicWaker;
use wasmtime::component::Accessor;

pub use submit::{SharedCall, SharedExecution};

use super::admission::CallPermit;
use super::entry::Entry;
use super::meter::Meter;
use super::pool::Bindings;
use crate::limits::{Limit, LimitTracker};
use crate::store::StoreData;

/// How a call on a shared instance ended, other than by a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// The call completed, and the instance can serve more.
    Completed,
    /// The caller is gone before the call completed: the instance ends, with the other calls on it.
    Abandoned,
}

/// One call on a shared instance: a function of the running instance and of its [`Bindings`].
pub type Job = Box<
    dyn for<'a> FnOnce(
            &'a Accessor<StoreData>,
            &'a Bindings,
        ) -> Pin<Box<dyn Future<Output = wasmtime::Result<JobOutcome>> + Send + 'a>>
        + Send,
>;

/// The number of the call that the instance is made for.
const FIRST: u64 = 0;

/// An instance that serves calls.
pub(crate) struct SharedInstance {
    meter: Arc<Meter>,
    waker: AtomicWaker,
    /// Made for a service, which may have ended since.
    of_service: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The calls that have joined and not started.
    jobs: VecDeque<(u64, Job)>,
    /// The number of calls that the instance has served, from before it was shared, too.
    served: u32,
    /// The number of the last call that joined.
    last: u64,
    /// A service runs in the instance, which takes calls until it ends.
    service: bool,
    /// The calls in progress, the oldest first.
    calls: VecDeque<ActiveCall>,
    /// The permit of the last call, while the component goes on after all responses.
    after_response: Option<Arc<CallPermit>>,
    /// The calls that missed their deadline while others went on, and those of them that are not ended yet.
    late: Vec<u64>,
    ending: Vec<u64>,
    closed: bool,
    /// The calls that an idle instance is expected to have served when it is taken from the pool.
    expected: u32,
    /// When the calls of a service that restarts end at the latest.
    ends_by: Option<Instant>,
}

impl State {
    /// The deadline of the oldest call, or that of a service's end if it is earlier.
    fn deadline(&self) -> Option<Instant> {
        let oldest = self.calls.front().and_then(|call| call.deadline);
        oldest.into_iter().chain(self.ends_by).min()
    }
}

struct ActiveCall {
    number: u64,
    deadline: Option<Instant>,
    permit: Arc<CallPermit>,
}

impl SharedInstance {
    fn new(entry: &Entry, permit: Arc<CallPermit>) -> Arc<Self> {
        let shared = Arc::new_cyclic(|shared| Self {
            meter: Arc::new(Meter::shared(entry.tracker(), &entry.calls, shared.clone())),
            waker: AtomicWaker::new(),
            of_service: false,
            state: Mutex::default(),
        });
        let first = ActiveCall { number: FIRST, deadline: shared.meter.call_deadline(), permit };
        let mut state = shared.lock();
        state.served = 1;
        state.calls.push_back(first);
        drop(state);
        shared
    }

    /// An instance that a service runs in, before it starts. Only the calls are limited in time.
    pub(super) fn of_service(entry: &Entry) -> Arc<Self> {
        Arc::new_cyclic(|shared| Self {
            meter: Arc::new(Meter::of_service(entry.tracker(), &entry.calls, shared.clone())),
            waker: AtomicWaker::new(),
            of_service: true,
            state: Mutex::new(State { service: true, ..State::default() }),
        })
    }

    /// Ends the instance of a service when the calls in progress have ended. It takes no further calls.
    pub(super) fn retire(&self) {
        let mut state = self.lock();
        (state.service, state.closed) = (false, true);
        // A call without a time limit must not keep the service from its restart.
        state.ends_by = Instant::now().checked_add(self.meter.after_response());
        self.meter.set_deadline(state.deadline());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call and gives its number, or gives the job back.
    pub(super) fn join(&self, entry: &Entry, job: Job, permit: &Arc<CallPermit>) -> Result<u64, Job> {
        let mut state = self.lock();
        let active = u32::try_from(state.calls.len()).unwrap_or(u32::MAX);
        if state.closed || !entry.policy.accepts(state.served, active) {
            return Err(job);
        }
        state.served = state.served.saturating_add(1);
        state.last += 1;
        let number = state.last;
        let deadline = self.meter.call_deadline();
        if state.calls.is_empty() {
            self.meter.set_deadline(deadline);
        }
        state.calls.push_back(ActiveCall { number, deadline, permit: permit.clone() });
        state.jobs.push_back((number, job));
        let after_response = state.after_response.take();
        self.meter.add_call();
        drop(state);
        drop(after_response);
        self.waker.wake();
        Ok(number)
    }

    /// Counts the calls that the instance served before it was shared.
    fn count_earlier(&self, served: u32) {
        let mut state = self.lock();
        state.served = state.served.saturating_sub(state.expected).saturating_add(served);
    }

    /// Removes a call that is done; the deadline becomes that of the oldest call left.
    fn remove(&self, number: u64) {
        let mut state = self.lock();
        let index = state.calls.iter().position(|call| call.number == number);
        // The caller may have removed it before.
        let Some(done) = index.and_then(|index| state.calls.remove(index)) else { return };
        if !state.calls.is_empty() {
            self.meter.set_deadline(state.deadline());
            drop(state);
        } else if state.service {
            self.meter.set_deadline(None);
        } else {
            self.meter.answered();
            state.after_response = Some(done.permit);
        }
    }

    /// Ends the calls whose deadline has passed; returns whether none is left. The instance takes no further calls.
    pub(super) fn end_late_calls(&self, tracker: &LimitTracker) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        if state.ends_by.is_some_and(|end| end <= now) {
            self.meter.set_answered();
            return true;
        }
        let is_late = |call: &ActiveCall| call.deadline.is_some_and(|deadline| deadline <= now);
        let late = state.calls.iter().take_while(|call| is_late(call)).count();
        let oldest = state.calls.get(late).map(|oldest| oldest.deadline);
        // A service goes on without its late calls. Any other instance completes those that are left.
        state.closed |= !state.service && (late > 0 || oldest.is_none());
        match oldest {
            Some(oldest) => self.meter.set_deadline(oldest.into_iter().chain(state.ends_by).min()),
            None if state.service => self.meter.set_deadline(None),
            None => return true,
        }
        let ended: Vec<ActiveCall> = state.calls.drain(..late).collect();
        let numbers = || ended.iter().map(|call| call.number);
        if state.service {
            // A caller asks about the calls that were late last.
            let known = state.late.len().saturating_sub(MAX_LATE);
            state.late.drain(..known);
        }
        if late > 0 {
            self.meter.set_late();
        }
        state.late.extend(numbers());
        state.ending.extend(numbers());
        drop(state);
        for _ in &ended {
            tracker.refuse(Limit::Time);
            tracker.log_failure(&self.meter.time_limit().to_string());
        }
        drop(ended);
        self.waker.wake();
        false
    }

    /// Whether this is the instance of a service that waits for calls.
    fn is_idle_service(&self) -> bool {
        let state = self.lock();
        state.service && state.jobs.is_empty()
    }

    /// Serves the first job and all that join, until none is left. Returns whether all completed.
    async fn serve(&self, accessor: &Accessor<StoreData>, bindings: &Bindings, first: Job) -> wasmtime::Result<bool> {
        let start = |(number, job): (u64, Job)| RunningJob {
            future: job(accessor, bindings),
            shared: self,
            number,
            completed: false,
            waker: None,
        };
        // The first job is usually the only one, and needs no set.
        let mut first = Some(start((FIRST, first)));
        let mut jobs = FuturesUnordered::new();
        let mut completed = true;
        // Dropped first: a caller that sees the end of its job must not join this instance with another.
        let _closing = CloseAtEnd(self);
        poll_fn(|cx| {
            loop {
                self.waker.register(cx.waker());
                let (joined, ending) = {
                    let mut state = self.lock();
                    (std::mem::take(&mut state.jobs), std::mem::take(&mut state.ending))
                };
                jobs.extend(joined.into_iter().map(start));
                if !ending.is_empty() {
                    self.meter.clear_late();
                }
                for number in ending {
                    completed = false;
                    first.take_if(|first| first.number == number);
                    if let Some(job) = jobs.iter_mut().find(|job| job.number == number) {
                        job.end();
                    }
                }
                match poll_jobs(&mut first, &mut jobs, cx) {
                    Poll::Ready(Some(done)) => {
                        let (number, outcome) = done?;
                        completed &= outcome == JobOutcome::Completed;
                        self.remove(number);
                    }
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => {
                        if self.of_service && self.is_idle_service() {
                            return Poll::Pending;
                        }
                        // An abandoned call may never end, so the instance does not wait for its remaining work.
                        if completed && accessor.poll_no_interesting_tasks(cx).is_pending() {
                            return Poll::Pending;
                        }
                        let mut state = self.lock();
                        if state.jobs.is_empty() {
                            state.closed = true;
                            return Poll::Ready(Ok(completed));
                        }
                    }
                }
            }
        })
        .await
    }
}

/// The most late calls of a service that are remembered, for the callers that ask why their calls ended.
const MAX_LATE: usize = 1024;

/// Closes an instance when it serves no longer, however that ends.
struct CloseAtEnd<'a>(&'a SharedInstance);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
    }
}

/// Polls the first job, then the others; `None` when none is left.
fn poll_jobs(
    first: &mut Option<RunningJob<'_>>,
    jobs: &mut FuturesUnordered<RunningJob<'_>>,
    cx: &mut Context<'_>,
) -> Poll<Option<wasmtime::Result<(u64, JobOutcome)>>> {
    match first.as_mut().map(|first| Pin::new(first).poll(cx)) {
        Some(Poll::Ready(done)) => {
            *first = None;
            Poll::Ready(Some(done))
        }
        None => jobs.poll_next_unpin(cx),
        Some(Poll::Pending) => match jobs.poll_next_unpin(cx) {
            Poll::Ready(None) => Poll::Pending,
            next => next,
        },
    }
}

/// A job that has started. If it is dropped before it completes, the instance takes no further calls, and does so before the
/// job's caller sees the end.
struct RunningJob<'a> {
    future: Pin<Box<dyn Future<Output = wasmtime::Result<JobOutcome>> + Send + 'a>>,
    shared: &'a SharedInstance,
    number: u64,
    completed: bool,
    waker: Option<Waker>,
}

impl RunningJob<'_> {
    /// Ends the call: its future is dropped.
    fn end(&mut self) {
        self.future = Box::pin(std::future::ready(Ok(JobOutcome::Abandoned)));
        // The set polls only a job that was woken.
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Future for RunningJob<'_> {
    type Output = wasmtime::Result<(u64, JobOutcome)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The first job is not in the set.
        if self.number != FIRST && self.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        let polled = self.future.as_mut().poll(cx);
        self.completed = matches!(polled, Poll::Ready(Ok(JobOutcome::Completed)));
        polled.map_ok(|outcome| (self.number, outcome))
    }
}

impl Drop for RunningJob<'_> {
    fn drop(&mut self) {
        if !self.completed {
            let mut state = self.shared.lock();
            // A service goes on without a call; it ends with its own job.
            state.closed |= !state.service || self.number == FIRST;
        }
    }
}
