//! What a call has used of its time, and what drives it: slice by slice, aside from the others once it computes for long.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::task::JoinHandle;
use wasmtime::{StoreContextMut, UpdateDeadline};

use crate::aside::{Aside, Ticket};
use crate::ctx::Ctx;
use crate::guest_log::{MAX_LINE, bounded};
use crate::limits::{Guard, Limit};
use crate::pool::Calls;
use crate::pool::shared::Shared;
use crate::ticker::TICK;
use workload::manifest::Bytes;

/// How much CPU time a call may use among all others without ever waiting; one that uses more goes on aside.
const AMONG_OTHERS: Duration = Duration::from_millis(2);

thread_local! {
    /// Whether this thread is one of those aside, whose time is not the clock's: others go before them.
    static ASIDE: Cell<bool> = const { Cell::new(false) };
}

/// Marks the current thread as one of those aside.
pub(crate) fn this_thread_is_aside() {
    ASIDE.set(true);
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
    // How the engine's own program is told to say more.
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

/// The CPU time of this thread, or on the threads that nothing goes before, and where looking must be cheap, the clock's.
fn now() -> u64 {
    use std::sync::OnceLock;
    static SINCE: OnceLock<Instant> = OnceLock::new();
    let time = if ASIDE.get() {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        // A thread's CPU time is not negative.
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    } else {
        SINCE.get_or_init(Instant::now).elapsed()
    };
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
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
    /// The host has no more instances for now.
    #[error("the host's pool has no more instances")]
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
    /// The calls of an instance that serves several.
    shared: Option<Weak<Shared>>,
    /// How many calls it counts for.
    count: AtomicU32,
    time: Option<Duration>,
    cpu: Option<Duration>,
    /// CPU time in nanoseconds, but for the poll that is under way.
    used: AtomicU64,
    /// When that poll began.
    polled: AtomicU64,
    /// It computes, and is to go on aside.
    computes: AtomicBool,
    /// The clock ticked in the poll that is under way.
    ticked: AtomicBool,
    /// CPU time in nanoseconds of the last polls, all of which the clock ticked in: it did not wait then, and will not in
    /// the next.
    burst: AtomicU64,
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
            shared: None,
            count: AtomicU32::new(1),
            time,
            cpu,
            used: AtomicU64::new(0),
            polled: AtomicU64::new(0),
            computes: AtomicBool::new(false),
            ticked: AtomicBool::new(false),
            burst: AtomicU64::new(0),
            ended: AtomicU8::new(0),
        }
    }

    /// CPU time of the poll that is under way, to be asked within it.
    fn polling(&self) -> u64 {
        let polled = self.polled.load(Ordering::Relaxed);
        // Nothing was polled yet when somebody else drives the store.
        if polled == 0 { 0 } else { now().saturating_sub(polled) }
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

    /// It counts for one more call.
    pub(crate) fn one_more(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it has computed for long, and is to go on aside.
    fn computes(&self) -> bool {
        self.computes.load(Ordering::Relaxed)
    }

    /// Whether it computes now.
    pub(crate) fn busy(&self) -> bool {
        self.burst.load(Ordering::Relaxed) > 0
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
            () if self.calls.stopped() => STOPPED,
            // The clock ticks in the middle of short polls, too.
            () if Duration::from_nanos(poll) < TICK => return UpdateDeadline::Continue(1),
            () => {
                self.ticked.store(true, Ordering::Relaxed);
                let burst = Duration::from_nanos(self.burst.load(Ordering::Relaxed).saturating_add(poll));
                if burst > AMONG_OTHERS && !ASIDE.get() && !self.guard.dedicated {
                    self.computes.store(true, Ordering::Relaxed);
                }
                // Not the engine's own yield: this one lets the runtime look for what happened outside, too.
                return UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()));
            }
        };
        self.ended.store(why, Ordering::Relaxed);
        UpdateDeadline::Interrupt
    }

    fn grace(&self) -> Duration {
        if self.shared.is_some() { GRACE } else { Duration::ZERO }
    }

    /// Which time it is that is over.
    fn time_over(&self) -> u8 {
        if self.answered.load(Ordering::Relaxed) { AFTER } else { TIME }
    }

    /// What an error of the engine means.
    fn why(&self, error: wasmtime::Error) -> Ended {
        match self.ended.load(Ordering::Relaxed) {
            TIME | AFTER => self.out_of_time(),
            CPU => {
                self.guard.refuse(Limit::Cpu);
                Ended::Cpu(self.cpu.unwrap_or_default())
            }
            STOPPED => Ended::Stopped,
            MEMORY => Ended::Memory(self.guard.limits().memory),
            _ if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
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

    /// What a call is told whose time is over.
    pub(crate) fn time(&self) -> Ended {
        Ended::Time(self.time.unwrap_or_default())
    }

    /// Ends the calls whose time is over, where there are others; gives whether that is all of them.
    fn is_over(&self) -> bool {
        self.shared.as_ref().and_then(Weak::upgrade).is_none_or(|shared| shared.is_over(&self.guard))
    }

    /// Ready when the time is over or the workload has stopped.
    async fn over(self: Arc<Self>) -> Ended {
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

/// What the engine calls when a guest's slice is over.
#[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "the engine's signature")]
pub(crate) fn slice_over(store: StoreContextMut<'_, Ctx>) -> wasmtime::Result<UpdateDeadline> {
    Ok(store.data().meter().map_or(UpdateDeadline::Continue(1), Meter::tick))
}

type Work<T> = Pin<Box<dyn Future<Output = wasmtime::Result<T>> + Send>>;

/// A call that is driven: within its limits, and aside from the others once it computes for long. Dropped, it ends.
pub struct Driven<T>(State<T>);

enum State<T> {
    Here(Here<T>),
    There(JoinHandle<Result<T, Ended>>),
    Done,
}

struct Here<T> {
    work: Work<T>,
    meter: Arc<Meter>,
    aside: Arc<Aside>,
    ticket: Option<Arc<Ticket>>,
    /// Made when the call first waits: most never do.
    over: Option<Pin<Box<dyn Future<Output = Ended> + Send>>>,
}

impl<T: Send + 'static> Driven<T> {
    pub(crate) fn new(
        aside: Arc<Aside>,
        meter: Arc<Meter>,
        work: impl Future<Output = wasmtime::Result<T>> + Send + 'static,
    ) -> Self {
        Self(State::Here(Here { work: Box::pin(work), meter, aside, ticket: None, over: None }))
    }

    /// Lets it go on, as polling it does, for somebody who will poll it again at once if it is not done: no timer is set for
    /// the limits, which most calls are done before they need.
    pub fn poll_now(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Ended>> {
        self.poll_as(cx, false)
    }

    fn poll_as(&mut self, cx: &mut Context<'_>, waits: bool) -> Poll<Result<T, Ended>> {
        if let State::Here(here) = &mut self.0 {
            let polled = here.poll_as(cx, waits);
            if polled.is_ready() || !here.meter.computes() {
                return polled;
            }
            self.spawn();
        }
        match &mut self.0 {
            State::There(task) => match ready!(Pin::new(task).poll(cx)) {
                Ok(done) => Poll::Ready(done),
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Poll::Ready(Err(Ended::Stopped)),
                },
            },
            _ => Poll::Pending,
        }
    }

    /// Goes on in a task of its own, whoever asks for the result or does not. Dropping it still ends it.
    pub fn spawn(&mut self) {
        self.0 = match std::mem::replace(&mut self.0, State::Done) {
            State::Here(here) => State::There(here.spawn()),
            other => other,
        };
    }
}

impl<T: Send + 'static> Here<T> {
    fn spawn(self) -> JoinHandle<Result<T, Ended>> {
        let aside = self.aside.clone();
        if self.meter.computes()
            && let Some(runtime) = aside.runtime()
        {
            return runtime.spawn(self);
        }
        // Not itself: it may yet have to go aside, which its wrapper sees to.
        tokio::spawn(Driven(State::Here(self)))
    }
}

impl<T> Here<T> {
    /// Whether it may run now; aside, it waits for its turn.
    fn has_turn(&mut self, cx: &mut Context<'_>) -> bool {
        if !ASIDE.get() {
            return true;
        }
        let Self { ticket, aside, meter, .. } = self;
        let new = || Ticket::new(aside.clone(), meter.guard.workload.clone());
        ticket.get_or_insert_with(new).poll(cx).is_ready()
    }

    fn poll_as(&mut self, cx: &mut Context<'_>, waits: bool) -> Poll<Result<T, Ended>> {
        let polled = if self.has_turn(cx) { self.slice(cx) } else { Poll::Pending };
        if let Poll::Ready(done) = polled {
            return Poll::Ready(done.map_err(|error| self.meter.why(error)));
        }
        if let Some(memory @ Ended::Memory(_)) = self.meter.ended() {
            return Poll::Ready(Err(memory));
        }
        if !waits && self.over.is_none() {
            return Poll::Pending;
        }
        let Self { over, meter, .. } = self;
        let over = over.get_or_insert_with(|| Box::pin(meter.clone().over()));
        over.as_mut().poll(cx).map(Err)
    }

    fn slice(&mut self, cx: &mut Context<'_>) -> Poll<wasmtime::Result<T>> {
        let polled = {
            let _running = self.aside.ticker().run();
            let begun = now();
            self.meter.polled.store(begun, Ordering::Relaxed);
            let polled = self.work.as_mut().poll(cx);
            let used = now().saturating_sub(begun);
            self.meter.used.fetch_add(used, Ordering::Relaxed);
            // Most polls are shorter than a tick, and write nothing here.
            if self.meter.ticked.load(Ordering::Relaxed) {
                self.meter.ticked.store(false, Ordering::Relaxed);
                self.meter.burst.fetch_add(used, Ordering::Relaxed);
            } else if self.meter.busy() {
                self.meter.burst.store(0, Ordering::Relaxed);
            }
            polled
        };
        if let Some(ticket) = &self.ticket {
            ticket.done();
        }
        polled
    }
}

impl<T> Future for Here<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_as(cx, true)
    }
}

impl<T: Send + 'static> Future for Driven<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_as(cx, true)
    }
}

impl<T> Drop for Driven<T> {
    fn drop(&mut self) {
        if let State::There(task) = &self.0 {
            task.abort();
        }
    }
}
