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

use super::{Entry, Instantiated};
use crate::ctx::Ctx;
use crate::meter::{Driven, Ended, Meter};

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
    /// The calls that are under way, by number, and when each began.
    under_way: VecDeque<(u32, Instant)>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job, or gives it back.
    fn join(&self, entry: &Entry, job: Job) -> Option<Job> {
        // Whoever comes to an instance that computes waits for it; another instance does not wait.
        if self.meter.busy() {
            return Some(job);
        }
        let mut state = self.lock();
        let under_way = u32::try_from(state.under_way.len()).unwrap_or(u32::MAX);
        if state.closed || !entry.policy.takes(state.taken, under_way) {
            return Some(job);
        }
        state.taken += 1;
        let number = state.taken;
        state.under_way.push_back((number, Instant::now()));
        state.jobs.push_back((number, job));
        self.meter.one_more();
        drop(state);
        self.waker.wake();
        None
    }

    /// A call is done. The limit of time is that of the oldest which is left.
    fn one_done(&self, number: u32) {
        let mut state = self.lock();
        state.under_way.retain(|(other, _)| *other != number);
        if let Some((_, oldest)) = state.under_way.front() {
            self.meter.since(*oldest);
        }
    }

    /// Serves the first job and all that join, until there is nothing left to do. Says whether all ended well.
    async fn serve(&self, accessor: &Accessor<Ctx>, bindings: &Bindings, first: Job) -> wasmtime::Result<bool> {
        let begin =
            |(number, job): (u32, Job)| Begun { future: job(accessor, bindings), shared: self, number, done: false };
        // Most often the first is the only one.
        let mut first = Some(begin((FIRST, first)));
        let mut jobs = FuturesUnordered::new();
        let mut well = true;
        poll_fn(|cx| {
            loop {
                self.waker.register(cx.waker());
                let joined = std::mem::take(&mut self.lock().jobs);
                jobs.extend(joined.into_iter().map(begin));
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
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => {
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

impl Entry {
    /// Runs a job in an instance that may serve others at the same time: in one that runs, or in its own, which is then to
    /// be polled by the caller until its call waits for something else than the caller. What the job does is told by what
    /// it sends; a job that is dropped ended with its instance.
    ///
    /// `load` makes what is kept with a new instance. The meter tells why the instance ended, if it did before the job.
    pub fn submit<L>(self: &Arc<Self>, load: L, mut job: Job) -> (Option<Lead>, Arc<Meter>)
    where
        L: FnOnce(&mut Store<Ctx>, &Instance) -> wasmtime::Result<Bindings> + Send + 'static,
    {
        for open in &*self.open() {
            match open.join(self, job) {
                None => return (None, open.meter.clone()),
                Some(back) => job = back,
            }
        }
        let meter = self.meter();
        let shared = Arc::new(Shared { meter: meter.clone(), waker: AtomicWaker::new(), state: Mutex::default() });
        let work = run(self.clone(), meter.clone(), shared.clone(), load, job);
        (Some(Lead { driven: Some(self.drive(meter.clone(), work)), entry: self.clone(), shared }), meter)
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
            let ended = driven.await;
            // Nobody joins any more, and whoever did is told by the end of its job.
            entry.open().retain(|open| !Arc::ptr_eq(open, &shared));
            let left = {
                let mut state = shared.lock();
                state.closed = true;
                std::mem::take(&mut state.jobs)
            };
            drop(left);
            if let Err(error) = ended {
                entry.guard().failed(&error.to_string());
            }
            drop(sharing);
        });
    }
}

async fn run<L>(entry: Arc<Entry>, meter: Arc<Meter>, shared: Arc<Shared>, load: L, job: Job) -> wasmtime::Result<()>
where
    L: FnOnce(&mut Store<Ctx>, &Instance) -> wasmtime::Result<Bindings> + Send + 'static,
{
    let mut found = entry.instance(&meter).await?;
    let Instantiated { store, instance, kept, served } = &mut found;
    let bindings = match kept {
        Some(bindings) => bindings.clone(),
        None => kept.insert(load(store, instance)?).clone(),
    };
    {
        let mut state = shared.lock();
        // Others may have joined while it was being made.
        state.taken += *served + 1;
        state.under_way.push_front((FIRST, Instant::now()));
    }
    let serving = shared.clone();
    let well = store.run_concurrent(async move |accessor| serving.serve(accessor, &bindings, job).await).await??;
    // `give_back` counts one.
    *served = shared.lock().taken - 1;
    if well {
        entry.give_back(found);
    }
    Ok(())
}
