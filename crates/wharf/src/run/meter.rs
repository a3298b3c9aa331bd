//! The time of a call: its CPU and wall-clock time, its limits, and the credit that it may spend on the shared threads.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use wasmtime::UpdateDeadline;

use super::clock::{self, SHORT, nanos};
use super::invoke::InstantiationFailed;
use super::shared::SharedInstance;
use super::termination::Termination;
use super::tracker::{CallTracker, InstanceQuotaExceeded};
use crate::engine::background::is_background_thread;
use crate::engine::ticker::TICK;
use crate::limits::{Limit, LimitTracker};
use crate::store::Timekeeper;

/// The CPU time that a call starts with for the shared threads, in nanoseconds. A call that has spent it and goes on computing
/// moves to the background threads.
const CREDIT: i64 = 2_000_000;
/// The CPU time after which that of a call in progress is added to its unit's, in nanoseconds.
const UNCOUNTED: u64 = 10_000_000;
/// The largest credit of an instance, however many calls it serves.
const MAX_CREDIT: i64 = 4 * CREDIT;
/// Nanoseconds of waiting per nanosecond of credit.
const EARNED: u64 = 8;
/// The credit at which a call returns from the background.
const RETURN_CREDIT: i64 = CREDIT / 8;

/// How long an instance that serves several calls may compute on when the time of one of them is over: the call ends when the
/// instance next waits, and the others go on. If it computes for longer, it ends with all its calls.
const GRACE: Duration = Duration::from_millis(100);

const NEVER: u64 = u64::MAX;

/// The codes of [`Meter::cause`]; 0 is none.
const TIME: u8 = 1;
const CPU: u8 = 2;
const STOPPED: u8 = 3;
const MEMORY: u8 = 4;
const AFTER: u8 = 5;

/// The number of the next meter of this process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Measures the time of one call, or of the calls that share an instance, and ends it at its limits.
pub struct Meter {
    id: u64,
    tracker: Arc<LimitTracker>,
    calls: Arc<CallTracker>,
    started: Instant,
    /// The deadline in nanoseconds after `started`: that of the oldest call, or of the work after the last response.
    deadline: AtomicU64,
    /// All calls were answered, and the deadline is that of the limit `after-response`.
    answered: AtomicBool,
    /// Woken when the deadline moves forward.
    deadline_moved: AtomicWaker,
    /// When the first call missed its deadline that the instance has not ended yet, in nanoseconds after `started`.
    late_since: AtomicU64,
    /// The instance, if it serves several calls.
    shared: Option<Weak<SharedInstance>>,
    /// The number of calls.
    count: AtomicU32,
    time: Option<Duration>,
    cpu: Option<Duration>,
    /// CPU time in nanoseconds, without the poll in progress.
    used: AtomicU64,
    /// The part of it that the unit's usage has.
    counted: AtomicU64,
    /// When the poll in progress started, and the thread's CPU time then.
    polled: AtomicU64,
    polled_cpu: AtomicU64,
    /// CPU time for the shared threads, in nanoseconds. It may be overdrawn.
    credit: AtomicI64,
    /// When the call started to wait, by the clock; 0 when it does not wait.
    waiting: AtomicU64,
    /// The epoch advanced during the poll in progress.
    ticked: AtomicBool,
    /// The epoch advanced during the last poll: the call computes instead of waiting.
    computing: AtomicBool,
    /// Why the call was ended.
    cause: AtomicU8,
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.count_used();
    }
}

impl Meter {
    /// The meter of one call, with the unit's limits.
    pub(crate) fn new(tracker: &Arc<LimitTracker>, calls: &Arc<CallTracker>) -> Arc<Self> {
        let limits = tracker.limits();
        Arc::new(Self::with_limits(tracker, calls, limits.time, limits.cpu))
    }

    /// The meter of an instance that serves several calls.
    pub(crate) fn shared(tracker: &Arc<LimitTracker>, calls: &Arc<CallTracker>, shared: Weak<SharedInstance>) -> Self {
        let limits = tracker.limits();
        let mut meter = Self::with_limits(tracker, calls, limits.time, limits.cpu);
        meter.shared = Some(shared);
        meter
    }

    /// The meter of a service's instance. Each of its calls is limited in time, and the service is not.
    pub(crate) fn of_service(
        tracker: &Arc<LimitTracker>,
        calls: &Arc<CallTracker>,
        shared: Weak<SharedInstance>,
    ) -> Self {
        let time = tracker.limits().time;
        let mut meter = Self::with_limits(tracker, calls, None, None);
        (meter.shared, meter.time) = (Some(shared), time);
        meter
    }

    pub(crate) fn with_limits(
        tracker: &Arc<LimitTracker>,
        calls: &Arc<CallTracker>,
        time: Option<Duration>,
        cpu: Option<Duration>,
    ) -> Self {
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            tracker: tracker.clone(),
            calls: calls.clone(),
            started: Instant::now(),
            deadline: AtomicU64::new(time.map_or(NEVER, nanos)),
            answered: AtomicBool::new(false),
            deadline_moved: AtomicWaker::new(),
            late_since: AtomicU64::new(NEVER),
            shared: None,
            count: AtomicU32::new(1),
            time,
            cpu,
            used: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            polled: AtomicU64::new(0),
            polled_cpu: AtomicU64::new(0),
            credit: AtomicI64::new(CREDIT),
            waiting: AtomicU64::new(0),
            ticked: AtomicBool::new(false),
            computing: AtomicBool::new(false),
            cause: AtomicU8::new(0),
        }
    }

    /// Starts a poll on this thread.
    pub(crate) fn begin_poll(&self) {
        let now = clock::now();
        self.polled_cpu.store(clock::recent_cpu(now), Ordering::Relaxed);
        self.polled.store(now, Ordering::Relaxed);
    }

    /// The CPU time of the poll in progress; called from within it.
    fn poll_time(&self) -> u64 {
        let polled = self.polled.load(Ordering::Relaxed);
        // An embedder that drives the store by itself has started no poll.
        if polled == 0 {
            return 0;
        }
        let elapsed = clock::now().saturating_sub(polled);
        if elapsed < SHORT {
            return elapsed;
        }
        elapsed.min(clock::cpu().saturating_sub(self.polled_cpu.load(Ordering::Relaxed)))
    }

    /// Ends a poll. The call waits from now on, unless the poll was interrupted by a tick.
    pub(crate) fn end_poll(&self) {
        let used = self.poll_time();
        let all = self.used.fetch_add(used, Ordering::Relaxed) + used;
        if all - self.counted.load(Ordering::Relaxed) > UNCOUNTED {
            self.count_used();
        }
        if !is_background_thread() {
            let spent = |credit: i64| Some(credit.saturating_sub(signed(used)).max(-CREDIT));
            self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).ok();
        }
        let ticked = self.ticked.load(Ordering::Relaxed);
        if ticked {
            self.ticked.store(false, Ordering::Relaxed);
        } else {
            self.waiting.store(clock::now(), Ordering::Relaxed);
        }
        if ticked != self.is_computing() {
            self.computing.store(ticked, Ordering::Relaxed);
        }
    }

    /// Adds the CPU time to the unit's usage.
    fn count_used(&self) {
        let used = self.used.load(Ordering::Relaxed);
        self.tracker.usage.add_cpu(used.saturating_sub(self.counted.swap(used, Ordering::Relaxed)));
    }

    /// Ends a wait, which earns credit.
    pub(crate) fn woken(&self) {
        let since = self.waiting.load(Ordering::Relaxed);
        if since == 0 {
            return;
        }
        self.waiting.store(0, Ordering::Relaxed);
        if self.credit.load(Ordering::Relaxed) >= CREDIT {
            return;
        }
        let earned = signed(clock::now().saturating_sub(since) / EARNED);
        let more = |credit: i64| Some((credit.saturating_add(earned)).min(CREDIT).max(credit));
        self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok();
    }

    /// Whether the call computes and has spent its credit, and so moves to the background. A call that moves data in short
    /// polls stays: each poll lets other calls run.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.is_computing() && !self.tracker.dedicated && self.credit.load(Ordering::Relaxed) <= 0
    }

    /// Whether the call has enough credit to return from the background.
    pub(crate) fn may_return(&self) -> bool {
        self.credit.load(Ordering::Relaxed) >= RETURN_CREDIT
    }

    /// The CPU time of all calls together: those of one instance cannot be told apart.
    fn total_cpu(&self) -> Option<Duration> {
        Some(self.cpu?.saturating_mul(self.count.load(Ordering::Relaxed)))
    }

    fn deadline(&self) -> Option<Instant> {
        match self.deadline.load(Ordering::Relaxed) {
            NEVER => None,
            deadline => self.started.checked_add(Duration::from_nanos(deadline)),
        }
    }

    /// The deadline of a call that starts now.
    pub(crate) fn call_deadline(&self) -> Option<Instant> {
        self.time.and_then(|time| Instant::now().checked_add(time))
    }

    /// Sets the deadline to that of the oldest call.
    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        let deadline = deadline.map_or(NEVER, |deadline| nanos(deadline.saturating_duration_since(self.started)));
        self.deadline.store(deadline, Ordering::Relaxed);
        self.answered.store(false, Ordering::Relaxed);
    }

    /// Marks all calls as answered, to the last byte. The limit `after-response` applies from now on.
    pub fn answered(&self) {
        let deadline = self.started.elapsed().saturating_add(self.tracker.limits().after_response);
        self.deadline.store(nanos(deadline), Ordering::Relaxed);
        self.answered.store(true, Ordering::Relaxed);
        self.deadline_moved.wake();
    }

    /// Marks the deadline as that of the limit `after-response`.
    pub(crate) fn set_answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// The limit `after-response`.
    pub(crate) fn after_response(&self) -> Duration {
        self.tracker.limits().after_response
    }

    /// The workload whose calls are measured.
    pub(crate) fn workload(&self) -> &Arc<str> {
        &self.tracker.workload
    }

    /// Adds a call that shares the instance.
    pub(crate) fn add_call(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let more = |credit: i64| Some((credit + CREDIT).min(MAX_CREDIT));
        self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok();
    }

    /// Whether the call computes instead of waiting.
    pub(crate) fn is_computing(&self) -> bool {
        self.computing.load(Ordering::Relaxed)
    }

    /// Marks the deadline of one of several calls as missed: the instance ends that call when it next waits.
    pub(crate) fn set_late(&self) {
        self.late_since.fetch_min(nanos(self.started.elapsed()), Ordering::Relaxed);
    }

    /// Marks all late calls as ended.
    pub(crate) fn clear_late(&self) {
        self.late_since.store(NEVER, Ordering::Relaxed);
    }

    /// How long after `started` the instance may compute while a call is late.
    fn late_deadline(&self) -> Duration {
        Duration::from_nanos(self.late_since.load(Ordering::Relaxed)).saturating_add(GRACE)
    }

    fn grace(&self) -> Duration {
        if self.shared.is_some() { GRACE } else { Duration::ZERO }
    }

    /// The limit whose deadline has passed.
    fn passed_limit(&self) -> u8 {
        if self.answered.load(Ordering::Relaxed) { AFTER } else { TIME }
    }

    /// The cause that an error of the engine stands for.
    pub(crate) fn termination(&self, error: wasmtime::Error) -> Termination {
        match self.cause.load(Ordering::Relaxed) {
            TIME | AFTER => self.out_of_time(),
            CPU => {
                self.tracker.refuse(Limit::Cpu);
                Termination::Cpu(self.cpu.unwrap_or_default())
            }
            STOPPED => Termination::Stopped,
            MEMORY => Termination::Memory(self.tracker.limits().memory),
            _ if error.is::<wasmtime::PoolConcurrencyLimitError>() || error.is::<InstanceQuotaExceeded>() => {
                self.tracker.refuse(Limit::Instances);
                Termination::NoInstance
            }
            _ if error.is::<InstantiationFailed>() => Termination::Instantiate(error),
            _ => Termination::Trap(error),
        }
    }

    /// The limit, or the workload's end, that ended the call, if one did.
    pub fn interruption(&self) -> Option<Termination> {
        match self.cause.load(Ordering::Relaxed) {
            TIME => Some(self.time_limit()),
            AFTER => Some(Termination::AfterResponse(self.tracker.limits().after_response)),
            CPU => Some(Termination::Cpu(self.cpu.unwrap_or_default())),
            STOPPED => Some(Termination::Stopped),
            MEMORY => Some(Termination::Memory(self.tracker.limits().memory)),
            _ => None,
        }
    }

    fn stopped(&self) -> Termination {
        self.cause.store(STOPPED, Ordering::Relaxed);
        Termination::Stopped
    }

    fn out_of_time(&self) -> Termination {
        if self.passed_limit() == AFTER {
            self.cause.store(AFTER, Ordering::Relaxed);
            self.tracker.refuse(Limit::AfterResponse);
            return Termination::AfterResponse(self.tracker.limits().after_response);
        }
        self.cause.store(TIME, Ordering::Relaxed);
        self.tracker.refuse(Limit::Time);
        self.time_limit()
    }

    /// The termination of a call that reached its limit `time`.
    pub(crate) fn time_limit(&self) -> Termination {
        Termination::Time(self.time.unwrap_or_default())
    }

    /// Ends the calls whose deadline has passed, where others go on; returns whether none is left.
    fn end_late_calls(&self) -> bool {
        self.shared.as_ref().and_then(Weak::upgrade).is_none_or(|shared| shared.end_late_calls(&self.tracker))
    }

    /// Ready when the deadline has passed or the workload has stopped.
    pub(crate) async fn expired(self: Arc<Self>) -> Termination {
        let mut stop = std::pin::pin!(self.calls.terminated());
        let mut timer = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        let mut set = None;
        poll_fn(|cx| {
            if stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(self.stopped());
            }
            self.deadline_moved.register(cx.waker());
            loop {
                let Some(deadline) = self.deadline() else { return Poll::Pending };
                // A timer that fires too early costs less than one that is reset for each call.
                if set.is_none_or(|set| deadline < set) {
                    timer.as_mut().reset(deadline.into());
                    set = Some(deadline);
                }
                ready!(timer.as_mut().poll(cx));
                set = None;
                if Instant::now() >= deadline && self.end_late_calls() {
                    return Poll::Ready(self.out_of_time());
                }
            }
        })
        .await
    }
}

impl Timekeeper for Meter {
    fn id(&self) -> u64 {
        self.id
    }

    fn tick(&self) -> UpdateDeadline {
        let poll = self.poll_time();
        let used = Duration::from_nanos(self.used.load(Ordering::Relaxed).saturating_add(poll));
        let over = |limit: Option<Duration>, used| limit.is_some_and(|limit| used > limit);
        let cause = match () {
            () if self.cause.load(Ordering::Relaxed) == MEMORY => MEMORY,
            () if over(self.total_cpu(), used) => CPU,
            () if self.deadline().is_some_and(|deadline| Instant::now() > deadline + self.grace()) => {
                self.passed_limit()
            }
            () if self.started.elapsed() > self.late_deadline() => TIME,
            () if self.calls.is_terminated() => STOPPED,
            // The epoch advances during short polls, too.
            () if Duration::from_nanos(poll) < TICK => return UpdateDeadline::Continue(1),
            () => {
                self.ticked.store(true, Ordering::Relaxed);
                self.computing.store(true, Ordering::Relaxed);
                // Unlike the engine's own yield, tokio's lets the runtime poll its I/O driver.
                return UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()));
            }
        };
        self.cause.store(cause, Ordering::Relaxed);
        UpdateDeadline::Interrupt
    }

    /// The call ends at its next tick, or when it next waits.
    fn out_of_memory(&self) {
        if self.cause.swap(MEMORY, Ordering::Relaxed) != MEMORY {
            self.tracker.refuse(Limit::Memory);
        }
    }

    fn is_interrupted(&self) -> bool {
        self.cause.load(Ordering::Relaxed) != 0
    }
}

fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}
