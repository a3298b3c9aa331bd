//! What a call has used of its time, what it may use among all others, and why it ended.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use wasmtime::{StoreContextMut, UpdateDeadline};

use crate::ctx::Ctx;
use crate::guest_log::{MAX_LINE, bounded};
use crate::limits::{Guard, Limit};
use crate::pool::shared::Shared;
use crate::pool::{Calls, NoPlace};
use crate::ticker::TICK;
use workload::manifest::Bytes;

/// The CPU time in nanoseconds that a call may use among all others at first. One that has used it up and computes goes on aside.
const CREDIT: i64 = 2_000_000;
/// The most that it may have, however many calls it counts for.
const MOST_CREDIT: i64 = 4 * CREDIT;
/// How much of the time that a call waits it may use among all others later: one in so many.
const EARNED: u64 = 8;
/// How much of it a call must have to come back.
const BACK: i64 = CREDIT / 8;

thread_local! {
    /// Whether this thread is one of those aside, whose time is not charged: others go before them.
    static ASIDE: Cell<bool> = const { Cell::new(false) };
    /// When this thread's CPU time was last read, by the clock, and what it was.
    static READ: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Marks the current thread as one of those aside.
pub(crate) fn this_thread_is_aside() {
    ASIDE.set(true);
}

/// Whether the current thread is one of those aside.
pub(crate) fn is_aside() -> bool {
    ASIDE.get()
}

/// The reason of a trap first, and then where: the engine tells them the other way around, and what is dumped with them.
/// Names are the component's own, and the text of its reasons may be.
fn told(error: &wasmtime::Error) -> String {
    let all: Vec<_> = error.chain().map(ToString::to_string).collect();
    let is_where = |text: &&String| text.starts_with(BACKTRACE);
    let is_why = |text: &&String| !text.starts_with(BACKTRACE) && !text.starts_with("wasm coredump generated");
    let why = all.iter().filter(is_why).cloned().collect::<Vec<_>>().join(": ");
    let mut told = bounded(&why, MAX_LINE).into_owned();
    let Some(frames) = all.iter().find(is_where) else { return told };
    // How the engine's own program can say more.
    let frames = frames.split("\nnote: ").next().unwrap_or(frames).trim_end();
    for line in frames.lines() {
        // A frame is indented. What is not, after the first line, is a name that has a line break in it.
        let is_line = line.starts_with(BACKTRACE) || line.starts_with("    ");
        told.push_str(if is_line { "\n" } else { "\\n" });
        told.push_str(&bounded(line, MAX_FRAME));
    }
    told
}

/// The longest line of a frame, in bytes: names of generic functions are long.
const MAX_FRAME: usize = 1024;

const BACKTRACE: &str = "error while executing at wasm backtrace:";

/// How old the CPU time may be that a poll begins with, in nanoseconds, and how long one takes that is measured at all. To read
/// it is a system call, and most polls are shorter.
const SHORT: u64 = 250_000;

/// The time by the clock, in nanoseconds.
fn clock() -> u64 {
    static SINCE: OnceLock<Instant> = OnceLock::new();
    nanos(SINCE.get_or_init(Instant::now).elapsed()).max(1)
}

/// The CPU time of this thread, in nanoseconds. A poll takes less of it than of the clock's when others are at work.
fn cpu() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // A thread's CPU time is not negative.
    nanos(Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)))
}

/// This thread's CPU time at `now`, or shortly before.
fn recent_cpu(now: u64) -> u64 {
    let (read, cpu_then) = READ.get();
    if read != 0 && now.saturating_sub(read) < SHORT {
        return cpu_then;
    }
    let cpu_now = cpu();
    READ.set((now, cpu_now));
    cpu_now
}

/// Why a call ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The component trapped.
    #[error("it trapped: {}", told(.0))]
    Trap(wasmtime::Error),
    /// It took longer than its limit `time`.
    #[error("it took longer than its `time`, {}", humantime::format_duration(*.0))]
    Time(Duration),
    /// It went on after its calls were answered for longer than its limit `after-response`.
    #[error("it went on after its answer for longer than its `after-response`, {}", humantime::format_duration(*.0))]
    AfterResponse(Duration),
    /// It used more than its limit `cpu`.
    #[error("it used more than its `cpu`, {}", humantime::format_duration(*.0))]
    Cpu(Duration),
    /// The host keeps more for it than its limit `memory` has room for.
    #[error("the host keeps more for it than its `memory` has room for, {}", Bytes(*.0))]
    Memory(u64),
    /// Its workload was stopped, and the time to drain is over.
    #[error("its workload was stopped")]
    Stopped,
    /// The host has no more instances for now, or none for this workload.
    #[error("the host's pool has no more instances for it")]
    NoInstance,
}

/// What one call, or the calls that share an instance, have used of their time.
pub struct Meter {
    guard: Arc<Guard>,
    calls: Arc<Calls>,
    begun: Instant,
    /// When it is over, in nanoseconds after `begun`: the next call's time, or that of what is done after the answers.
    until: AtomicU64,
    /// Every call is answered, and `until` is for what is done after that.
    answered: AtomicBool,
    /// Woken when `until` is less than it was.
    sooner: AtomicWaker,
    /// When the time of a call was over that the instance has not ended yet, in nanoseconds after `begun`.
    late: AtomicU64,
    /// The calls of an instance that serves several.
    shared: Option<Weak<Shared>>,
    /// How many calls it counts for.
    count: AtomicU32,
    time: Option<Duration>,
    cpu: Option<Duration>,
    /// CPU time in nanoseconds, but for the poll that is under way.
    used: AtomicU64,
    /// When that poll began, and the thread's CPU time then.
    polled: AtomicU64,
    polled_cpu: AtomicU64,
    /// CPU time in nanoseconds that it may use among all others. It may be overdrawn.
    credit: AtomicI64,
    /// When it began to wait, by the clock; 0 when it does not.
    waiting: AtomicU64,
    /// The clock ticked in the poll that is under way.
    ticked: AtomicBool,
    /// The clock ticked in the last poll: it did not wait then, and will not in the next.
    busy: AtomicBool,
    ended: AtomicU8,
}

/// How long an instance that serves several calls may compute on when the time of one of them is over: the call ends when the
/// instance next waits, and the others go on. One that computes for longer ends with all of them.
const GRACE: Duration = Duration::from_millis(100);

const NEVER: u64 = u64::MAX;

const TIME: u8 = 1;
const CPU: u8 = 2;
const STOPPED: u8 = 3;
const MEMORY: u8 = 4;
const AFTER: u8 = 5;

impl Meter {
    pub(crate) fn new(guard: &Arc<Guard>, calls: &Arc<Calls>) -> Arc<Self> {
        let limits = guard.limits();
        Arc::new(Self::limited(guard, calls, limits.time, limits.cpu))
    }

    /// That of an instance that serves several calls.
    pub(crate) fn shared(guard: &Arc<Guard>, calls: &Arc<Calls>, shared: Weak<Shared>) -> Self {
        let limits = guard.limits();
        Self { shared: Some(shared), ..Self::limited(guard, calls, limits.time, limits.cpu) }
    }

    pub(crate) fn limited(
        guard: &Arc<Guard>,
        calls: &Arc<Calls>,
        time: Option<Duration>,
        cpu: Option<Duration>,
    ) -> Self {
        Self {
            guard: guard.clone(),
            calls: calls.clone(),
            begun: Instant::now(),
            until: AtomicU64::new(time.map_or(NEVER, nanos)),
            answered: AtomicBool::new(false),
            sooner: AtomicWaker::new(),
            late: AtomicU64::new(NEVER),
            shared: None,
            count: AtomicU32::new(1),
            time,
            cpu,
            used: AtomicU64::new(0),
            polled: AtomicU64::new(0),
            polled_cpu: AtomicU64::new(0),
            credit: AtomicI64::new(CREDIT),
            waiting: AtomicU64::new(0),
            ticked: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            ended: AtomicU8::new(0),
        }
    }

    /// A poll begins on this thread.
    pub(crate) fn begin(&self) {
        let now = clock();
        self.polled_cpu.store(recent_cpu(now), Ordering::Relaxed);
        self.polled.store(now, Ordering::Relaxed);
    }

    /// CPU time of the poll that is under way, to be asked within it.
    fn polling(&self) -> u64 {
        let polled = self.polled.load(Ordering::Relaxed);
        // Nothing was polled yet when somebody else drives the store.
        if polled == 0 {
            return 0;
        }
        let elapsed = clock().saturating_sub(polled);
        if elapsed < SHORT {
            return elapsed;
        }
        elapsed.min(cpu().saturating_sub(self.polled_cpu.load(Ordering::Relaxed)))
    }

    /// The poll is over. Unless it was interrupted, it waits from now on.
    pub(crate) fn end(&self) {
        let used = self.polling();
        self.used.fetch_add(used, Ordering::Relaxed);
        if !is_aside() {
            let less = |credit: i64| Some(credit.saturating_sub(signed(used)).max(-CREDIT));
            self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok();
        }
        let ticked = self.ticked.load(Ordering::Relaxed);
        if ticked {
            self.ticked.store(false, Ordering::Relaxed);
        } else {
            self.waiting.store(clock(), Ordering::Relaxed);
        }
        if ticked != self.busy() {
            self.busy.store(ticked, Ordering::Relaxed);
        }
    }

    /// It waits no longer: part of the time that it did may be used among all others.
    pub(crate) fn woken(&self) {
        let since = self.waiting.load(Ordering::Relaxed);
        if since == 0 {
            return;
        }
        self.waiting.store(0, Ordering::Relaxed);
        if self.credit.load(Ordering::Relaxed) >= CREDIT {
            return;
        }
        let earned = signed(clock().saturating_sub(since) / EARNED);
        let more = |credit: i64| Some((credit.saturating_add(earned)).min(CREDIT).max(credit));
        self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok();
    }

    /// Whether it computes, has used up what it may use among all others, and is to go on aside. One that moves data in
    /// short polls stays: each of them lets the others go first.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.busy() && !self.guard.dedicated && self.credit.load(Ordering::Relaxed) <= 0
    }

    /// Whether it may come back from there.
    pub(crate) fn may_come_back(&self) -> bool {
        self.credit.load(Ordering::Relaxed) >= BACK
    }

    /// What all its calls may use together: the calls of one instance cannot be told apart.
    fn cpu_of_all(&self) -> Option<Duration> {
        Some(self.cpu?.saturating_mul(self.count.load(Ordering::Relaxed)))
    }

    /// When it is over.
    fn deadline(&self) -> Option<Instant> {
        match self.until.load(Ordering::Relaxed) {
            NEVER => None,
            until => self.begun.checked_add(Duration::from_nanos(until)),
        }
    }

    /// The time of a call that begins now ends then.
    pub(crate) fn end_of_call(&self) -> Option<Instant> {
        self.time.and_then(|time| Instant::now().checked_add(time))
    }

    /// A call's time is over then, and nothing else's is sooner.
    pub(crate) fn answering_until(&self, end: Option<Instant>) {
        let until = end.map_or(NEVER, |end| nanos(end.saturating_duration_since(self.begun)));
        self.until.store(until, Ordering::Relaxed);
        self.answered.store(false, Ordering::Relaxed);
    }

    /// Every call has been answered, to the last byte. What is done from now on is within the limit `after-response`.
    pub fn answered(&self) {
        let until = self.begun.elapsed().saturating_add(self.guard.limits().after_response);
        self.until.store(nanos(until), Ordering::Relaxed);
        self.answered.store(true, Ordering::Relaxed);
        self.sooner.wake();
    }

    /// The workload whose calls it counts for.
    pub(crate) fn workload(&self) -> &Arc<str> {
        &self.guard.workload
    }

    /// It counts for one more call.
    pub(crate) fn one_more(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let more = |credit: i64| Some((credit + CREDIT).min(MOST_CREDIT));
        self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok();
    }

    /// Whether it computes now.
    pub(crate) fn busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// What the engine asks at each tick of a guest that runs.
    pub(crate) fn tick(&self) -> UpdateDeadline {
        let poll = self.polling();
        let used = Duration::from_nanos(self.used.load(Ordering::Relaxed).saturating_add(poll));
        let over = |limit: Option<Duration>, used| limit.is_some_and(|limit| used > limit);
        let why = match () {
            () if self.ended.load(Ordering::Relaxed) == MEMORY => MEMORY,
            () if over(self.cpu_of_all(), used) => CPU,
            () if self.deadline().is_some_and(|deadline| Instant::now() > deadline + self.grace()) => self.time_over(),
            () if self.begun.elapsed() > self.late() => TIME,
            () if self.calls.stopped() => STOPPED,
            // The clock ticks in the middle of short polls, too.
            () if Duration::from_nanos(poll) < TICK => return UpdateDeadline::Continue(1),
            () => {
                self.ticked.store(true, Ordering::Relaxed);
                self.busy.store(true, Ordering::Relaxed);
                // Not the engine's own yield: this one lets the runtime look for what happened outside, too.
                return UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()));
            }
        };
        self.ended.store(why, Ordering::Relaxed);
        UpdateDeadline::Interrupt
    }

    /// The time of a call is over, and others go on: the instance is to end it when it next waits.
    pub(crate) fn is_late(&self) {
        self.late.fetch_min(nanos(self.begun.elapsed()), Ordering::Relaxed);
    }

    /// The instance has ended all that are late.
    pub(crate) fn none_is_late(&self) {
        self.late.store(NEVER, Ordering::Relaxed);
    }

    /// How long the instance may compute on when a call is late, from `begun`.
    fn late(&self) -> Duration {
        Duration::from_nanos(self.late.load(Ordering::Relaxed)).saturating_add(GRACE)
    }

    fn grace(&self) -> Duration {
        if self.shared.is_some() { GRACE } else { Duration::ZERO }
    }

    /// Which time it is that is over.
    fn time_over(&self) -> u8 {
        if self.answered.load(Ordering::Relaxed) { AFTER } else { TIME }
    }

    /// What an error of the engine means.
    pub(crate) fn why(&self, error: wasmtime::Error) -> Ended {
        match self.ended.load(Ordering::Relaxed) {
            TIME | AFTER => self.out_of_time(),
            CPU => {
                self.guard.refuse(Limit::Cpu);
                Ended::Cpu(self.cpu.unwrap_or_default())
            }
            STOPPED => Ended::Stopped,
            MEMORY => Ended::Memory(self.guard.limits().memory),
            _ if error.is::<wasmtime::PoolConcurrencyLimitError>() || error.is::<NoPlace>() => {
                self.guard.refuse(Limit::Instances);
                Ended::NoInstance
            }
            _ => Ended::Trap(error),
        }
    }

    /// Why it was ended, if it was by a limit or by the end of its workload.
    pub fn ended(&self) -> Option<Ended> {
        match self.ended.load(Ordering::Relaxed) {
            TIME => Some(Ended::Time(self.time.unwrap_or_default())),
            AFTER => Some(Ended::AfterResponse(self.guard.limits().after_response)),
            CPU => Some(Ended::Cpu(self.cpu.unwrap_or_default())),
            STOPPED => Some(Ended::Stopped),
            MEMORY => Some(Ended::Memory(self.guard.limits().memory)),
            _ => None,
        }
    }

    /// The host keeps too much for the instance: it ends when it next stops to be asked, or waits.
    pub(crate) fn out_of_memory(&self) {
        if self.ended.swap(MEMORY, Ordering::Relaxed) != MEMORY {
            self.guard.refuse(Limit::Memory);
        }
    }

    fn stopped(&self) -> Ended {
        self.ended.store(STOPPED, Ordering::Relaxed);
        Ended::Stopped
    }

    fn out_of_time(&self) -> Ended {
        if self.time_over() == AFTER {
            self.ended.store(AFTER, Ordering::Relaxed);
            self.guard.refuse(Limit::AfterResponse);
            return Ended::AfterResponse(self.guard.limits().after_response);
        }
        self.ended.store(TIME, Ordering::Relaxed);
        self.guard.refuse(Limit::Time);
        self.time()
    }

    /// Why a call ended whose time is over.
    pub(crate) fn time(&self) -> Ended {
        Ended::Time(self.time.unwrap_or_default())
    }

    /// Ends the calls whose time is over, where there are others; gives whether that is all of them.
    fn is_over(&self) -> bool {
        self.shared.as_ref().and_then(Weak::upgrade).is_none_or(|shared| shared.is_over(&self.guard))
    }

    /// Ready when the time is over or the workload has stopped.
    pub(crate) async fn over(self: Arc<Self>) -> Ended {
        let mut stop = std::pin::pin!(self.calls.stop());
        let mut timer = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        let mut set = None;
        poll_fn(|cx| {
            if stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(self.stopped());
            }
            self.sooner.register(cx.waker());
            loop {
                let Some(deadline) = self.deadline() else { return Poll::Pending };
                // One that is too early costs less than to set it for each call anew.
                if set.is_none_or(|set| deadline < set) {
                    timer.as_mut().reset(deadline.into());
                    set = Some(deadline);
                }
                ready!(timer.as_mut().poll(cx));
                set = None;
                if Instant::now() >= deadline && self.is_over() {
                    return Poll::Ready(self.out_of_time());
                }
            }
        })
        .await
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER)
}

fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// What the engine calls when a guest's slice is over.
#[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "the engine's signature")]
pub(crate) fn slice_over(store: StoreContextMut<'_, Ctx>) -> wasmtime::Result<UpdateDeadline> {
    Ok(store.data().meter().map_or(UpdateDeadline::Continue(1), Meter::tick))
}
