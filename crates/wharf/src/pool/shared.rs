//! Instances that serve several calls at once: WASI 0.3, and mode `reuse`.
//!
//! The first call drives the instance in its own task, and most are done before they ever wait. One that waits puts the
//! instance into a task of its own, and from there on others may join it.

use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use futures_util::task::AtomicWaker;
use wasmtime::Store;
use wasmtime::component::{Accessor, Instance};

use super::{CallGuard, Entry, Instantiated};
use crate::ctx::Ctx;
use crate::driven::Driven;
use crate::limits::{Guard, Limit};
use crate::meter::{Ended, Meter};

/// What is kept with an instance, such as its typed exports.
pub type Bindings = Arc<dyn Any + Send + Sync>;

/// How a call on a shared instance ended, but for a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Well: the instance can serve more.
    Well,
    /// Its caller is gone and its work is not done: the instance ends with the other calls that are on it.
    Abandoned,
}

/// One call: what is run in the instance.
pub type Job = Box<
    dyn for<'a> FnOnce(
            &'a Accessor<Ctx>,
            &'a Bindings,
        ) -> Pin<Box<dyn Future<Output = wasmtime::Result<Done>> + Send + 'a>>
        + Send,
>;

/// The number of the call that an instance is made for, which no other has.
const FIRST: u32 = 0;

/// An instance that serves calls.
pub(crate) struct Shared {
    meter: Arc<Meter>,
    waker: AtomicWaker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<(u32, Job)>,
    /// Calls that it took, with those of its earlier life.
    taken: u32,
    /// The calls that are under way, the oldest first.
    under_way: VecDeque<UnderWay>,
    /// What the component does after its answers counts as a call.
    after: Option<Arc<CallGuard>>,
    /// The calls whose time was over while others went on, and those of them that are to be ended yet.
    late: Vec<u32>,
    ending: Vec<u32>,
    closed: bool,
}

struct UnderWay {
    number: u32,
    end: Option<Instant>,
    guard: Arc<CallGuard>,
}

impl Shared {
    fn new(entry: &Entry, guard: Arc<CallGuard>) -> Arc<Self> {
        let shared = Arc::new_cyclic(|shared| Self {
            meter: Arc::new(Meter::shared(entry.guard(), &entry.calls, shared.clone())),
            waker: AtomicWaker::new(),
            state: Mutex::default(),
        });
        let first = UnderWay { number: FIRST, end: shared.meter.end_of_call(), guard };
        shared.lock().under_way.push_back(first);
        shared
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job, or gives it back.
    fn join(&self, entry: &Entry, job: Job, guard: &Arc<CallGuard>) -> Result<u32, Job> {
        // Whoever comes to an instance that computes waits for it; another instance does not wait.
        if self.meter.busy() {
            return Err(job);
        }
        let mut state = self.lock();
        let under_way = u32::try_from(state.under_way.len()).unwrap_or(u32::MAX);
        if state.closed || !entry.policy.takes(state.taken, under_way) {
            return Err(job);
        }
        state.taken += 1;
        let number = state.taken;
        let end = self.meter.end_of_call();
        if state.under_way.is_empty() {
            self.meter.answering_until(end);
        }
        state.under_way.push_back(UnderWay { number, end, guard: guard.clone() });
        state.jobs.push_back((number, job));
        let after = state.after.take();
        self.meter.one_more();
        drop(state);
        drop(after);
        self.waker.wake();
        Ok(number)
    }

    /// A call is done. The limit of time is that of the oldest which is left.
    fn one_done(&self, number: u32) {
        let mut state = self.lock();
        let index = state.under_way.iter().position(|call| call.number == number);
        // Its caller may have said so before.
        let Some(done) = index.and_then(|index| state.under_way.remove(index)) else { return };
        if let Some(oldest) = state.under_way.front() {
            self.meter.answering_until(oldest.end);
            drop(state);
        } else {
            self.meter.answered();
            state.after = Some(done.guard);
        }
    }

    /// Ends the calls whose time is over, and gives whether there is none left then. No call joins the instance any more.
    pub(crate) fn is_over(&self, guard: &Guard) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        let is_late = |call: &UnderWay| call.end.is_some_and(|end| end <= now);
        let late = state.under_way.iter().take_while(|call| is_late(call)).count();
        let oldest = state.under_way.get(late).map(|oldest| oldest.end);
        state.closed |= late > 0 || oldest.is_none();
        let Some(oldest) = oldest else { return true };
        self.meter.answering_until(oldest);
        let ended: Vec<UnderWay> = state.under_way.drain(..late).collect();
        let numbers = || ended.iter().map(|call| call.number);
        if late > 0 {
            self.meter.is_late();
        }
        state.late.extend(numbers());
        state.ending.extend(numbers());
        drop(state);
        for _ in &ended {
            guard.refuse(Limit::Time);
            guard.failed(&self.meter.time().to_string());
        }
        drop(ended);
        self.waker.wake();
        false
    }

    /// Serves the first job and all that join, until there is nothing left to do. Says whether all ended well.
    async fn serve(&self, accessor: &Accessor<Ctx>, bindings: &Bindings, first: Job) -> wasmtime::Result<bool> {
        let begin =
            |(number, job): (u32, Job)| Begun { future: job(accessor, bindings), shared: self, number, done: false };
        // Most often the first is the only one.
        let mut first = Some(begin((FIRST, first)));
        let mut jobs = FuturesUnordered::new();
        let mut ended = 0;
        let mut well = true;
        poll_fn(|cx| {
            loop {
                self.waker.register(cx.waker());
                let (joined, ending) = {
                    let mut state = self.lock();
                    (std::mem::take(&mut state.jobs), std::mem::take(&mut state.ending))
                };
                jobs.extend(joined.into_iter().map(begin));
                if !ending.is_empty() {
                    self.meter.none_is_late();
                }
                for number in ending {
                    well = false;
                    first.take_if(|first| first.number == number);
                    if let Some(job) = jobs.iter_mut().find(|job| job.number == number) {
                        // Its caller learns it from the end of its job. It stays, and is never ready.
                        job.future = Box::pin(std::future::pending());
                        ended += 1;
                    }
                }
                let next = match first.as_mut().map(|first| Pin::new(first).poll(cx)) {
                    Some(Poll::Ready(done)) => {
                        first = None;
                        Poll::Ready(Some(done))
                    }
                    None => jobs.poll_next_unpin(cx),
                    Some(Poll::Pending) => match jobs.poll_next_unpin(cx) {
                        Poll::Ready(None) => Poll::Pending,
                        next => next,
                    },
                };
                match next {
                    Poll::Ready(Some(done)) => {
                        let (number, done) = done?;
                        well &= done == Done::Well;
                        self.one_done(number);
                    }
                    Poll::Pending if first.is_some() || jobs.len() > ended => return Poll::Pending,
                    Poll::Pending | Poll::Ready(None) => {
                        // An abandoned call may go on for ever; nobody waits for what it still does.
                        if well && accessor.poll_no_interesting_tasks(cx).is_pending() {
                            return Poll::Pending;
                        }
                        let mut state = self.lock();
                        if state.jobs.is_empty() {
                            state.closed = true;
                            return Poll::Ready(Ok(well));
                        }
                    }
                }
            }
        })
        .await
    }
}

/// A job that has begun. When it is dropped before its end, so is the instance, and nobody is to join it any more by the
/// time that the job's caller is told.
struct Begun<'a> {
    future: Pin<Box<dyn Future<Output = wasmtime::Result<Done>> + Send + 'a>>,
    shared: &'a Shared,
    number: u32,
    done: bool,
}

impl Future for Begun<'_> {
    type Output = wasmtime::Result<(u32, Done)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.future.as_mut().poll(cx);
        self.done = matches!(polled, Poll::Ready(Ok(Done::Well)));
        polled.map_ok(|done| (self.number, done))
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.shared.lock().closed = true;
        }
    }
}

/// A call on an instance that may serve others.
pub struct Submitted {
    shared: Arc<Shared>,
    number: u32,
    call: Arc<CallGuard>,
}

impl Submitted {
    /// What counts the call as under way, for a caller to whom it is until the last byte of its answer is out.
    pub fn call(&self) -> &Arc<CallGuard> {
        &self.call
    }

    /// The call has been answered, to the last byte, whatever its instance has still to do. It is so at the latest when its
    /// job is done, which is not before an instance that computes waits.
    pub fn answered(&self) {
        self.shared.one_done(self.number);
    }

    /// Why the call was ended, if it was by a limit or by the end of its workload.
    pub fn ended(&self) -> Option<Ended> {
        let late = self.shared.lock().late.contains(&self.number);
        if late { Some(self.shared.meter.time()) } else { self.shared.meter.ended() }
    }
}

impl Entry {
    /// Runs a job in an instance that may serve others at the same time: in one that runs, or in its own, which is then to
    /// be polled by the caller until its call waits for something else than the caller. What the job does is told by what
    /// it sends; a job that is dropped ended with its instance, or because its time was over.
    ///
    /// `load` makes what is kept with a new instance.
    pub fn submit<L>(self: &Arc<Self>, load: L, mut job: Job, call: CallGuard) -> (Option<Lead>, Submitted)
    where
        L: FnOnce(&mut Store<Ctx>, &Instance) -> wasmtime::Result<Bindings> + Send + 'static,
    {
        let call = Arc::new(call);
        for open in &*self.open() {
            match open.join(self, job, &call) {
                Ok(number) => return (None, Submitted { shared: open.clone(), number, call }),
                Err(back) => job = back,
            }
        }
        let shared = Shared::new(self, call.clone());
        let work = run(self.clone(), shared.clone(), load, job);
        let driven = Some(self.drive(shared.meter.clone(), work));
        let submitted = Submitted { shared: shared.clone(), number: FIRST, call };
        (Some(Lead { driven, entry: self.clone(), shared }), submitted)
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<Shared>>> {
        self.kept.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An instance that its first call drives: most calls are done before they ever wait, and need no task of their own.
/// Dropped before it is done, it goes on in a task of its own, and others may join it.
pub struct Lead {
    driven: Option<Driven<()>>,
    entry: Arc<Entry>,
    shared: Arc<Shared>,
}

impl Lead {
    /// Lets it go on, for somebody who will poll it again at once, or drop it.
    pub fn poll_now(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let Some(driven) = &mut self.driven else { return Poll::Ready(Ok(())) };
        let polled = driven.poll_now(cx);
        if polled.is_ready() {
            self.driven = None;
        }
        polled
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let (Some(mut driven), Ok(runtime)) = (self.driven.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (entry, shared) = (self.entry.clone(), self.shared.clone());
        let sharing = entry.calls.share();
        entry.open().push(shared.clone());
        driven.spawn();
        runtime.spawn(async move {
            // Dropped in any case, the last first: a workload that stops waits until nothing is left of the instance.
            let _sharing = sharing;
            let _closing = Closing { entry: entry.clone(), shared };
            if let Err(error) = driven.await {
                entry.guard().failed(&error.to_string());
            }
        });
    }
}

/// Closes an instance that has ended: no call joins it any more, and the end of its job tells each that did.
struct Closing {
    entry: Arc<Entry>,
    shared: Arc<Shared>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.entry.open().retain(|open| !Arc::ptr_eq(open, &self.shared));
        let left = {
            let mut state = self.shared.lock();
            state.closed = true;
            std::mem::take(&mut state.jobs)
        };
        drop(left);
    }
}

async fn run<L>(entry: Arc<Entry>, shared: Arc<Shared>, load: L, job: Job) -> wasmtime::Result<()>
where
    L: FnOnce(&mut Store<Ctx>, &Instance) -> wasmtime::Result<Bindings> + Send + 'static,
{
    // Given back when this is over, however it ends.
    let _calls = Calls(&shared);
    let mut found = entry.instance(&shared.meter).await?;
    let Instantiated { store, instance, kept, served } = &mut found;
    let bindings = match kept {
        Some(bindings) => bindings.clone(),
        None => kept.insert(load(store, instance)?).clone(),
    };
    // Others may have joined while it was being made.
    shared.lock().taken += *served + 1;
    let serving = shared.clone();
    let well = store.run_concurrent(async move |accessor| serving.serve(accessor, &bindings, job).await).await??;
    // `give_back` counts one.
    *served = shared.lock().taken - 1;
    if well {
        entry.give_back(found);
    }
    Ok(())
}

/// The calls of an instance, which are over when it is.
struct Calls<'a>(&'a Shared);

impl Drop for Calls<'_> {
    fn drop(&mut self) {
        let (calls, after) = {
            let mut state = self.0.lock();
            state.closed = true;
            (std::mem::take(&mut state.under_way), state.after.take())
        };
        drop((calls, after));
    }
}
