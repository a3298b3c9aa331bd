//! Where guests go on that compute for long: threads that everything else goes before, taking turns by workload.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::runtime::Runtime;

use crate::meter::this_thread_is_aside;
use crate::ticker::Ticker;

/// The nice value of the threads: any thread of the usual priority goes before them at once.
const NICE: i32 = 19;

/// The threads aside, which begin when they are first needed, and the engine's clock.
pub(crate) struct Aside {
    ticker: Ticker,
    runtime: OnceLock<Option<Runtime>>,
    turns: Mutex<Turns>,
}

/// Who may run aside: as many at once as there are threads, and workloads one after the other, however many calls each has.
struct Turns {
    free: usize,
    /// The workloads that wait, and their calls. One that was served goes to the end.
    waiting: VecDeque<(Arc<str>, VecDeque<Weak<Ticket>>)>,
}

/// A call's place among those aside. Dropped, it gives its turn to the next.
pub(crate) struct Ticket {
    aside: Arc<Aside>,
    workload: Arc<str>,
    granted: AtomicBool,
    waiting: AtomicBool,
    waker: AtomicWaker,
}

impl Aside {
    pub(crate) fn new(engine: &wasmtime::Engine) -> Self {
        let turns = Turns { free: threads(), waiting: VecDeque::new() };
        Self { ticker: Ticker::new(engine), runtime: OnceLock::new(), turns: Mutex::new(turns) }
    }

    pub(crate) fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    /// The threads; `None` when the system gives none, and everything stays where it is.
    pub(crate) fn runtime(&self) -> Option<&Runtime> {
        self.runtime.get_or_init(start).as_ref()
    }

    /// Gives a turn that nobody has to whoever is next.
    fn next(&self) {
        loop {
            let next = {
                let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
                let Some((workload, mut calls)) = turns.waiting.pop_front() else {
                    turns.free += 1;
                    return;
                };
                let next = calls.pop_front();
                if !calls.is_empty() {
                    turns.waiting.push_back((workload, calls));
                }
                next
            };
            // A call that has ended does not take its turn. The ticket may be dropped here, so the lock is not held.
            if let Some(ticket) = next.and_then(|ticket| ticket.upgrade()) {
                // In this order: whoever sees that it no longer waits sees its turn, too, and takes no second one.
                ticket.granted.store(true, Ordering::SeqCst);
                ticket.waiting.store(false, Ordering::SeqCst);
                ticket.waker.wake();
                return;
            }
        }
    }
}

impl Ticket {
    pub(crate) fn new(aside: Arc<Aside>, workload: Arc<str>) -> Arc<Self> {
        let (granted, waiting) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { aside, workload, granted, waiting, waker: AtomicWaker::new() })
    }

    /// A turn, now or when it is woken.
    pub(crate) fn poll(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.granted.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        if self.waiting.swap(true, Ordering::SeqCst) {
            return Poll::Pending;
        }
        let mut turns = self.aside.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.free > 0 {
            turns.free -= 1;
            self.waiting.store(false, Ordering::SeqCst);
            self.granted.store(true, Ordering::SeqCst);
            return Poll::Ready(());
        }
        let ticket = Arc::downgrade(self);
        match turns.waiting.iter_mut().find(|(workload, _)| *workload == self.workload) {
            Some((_, calls)) => calls.push_back(ticket),
            None => turns.waiting.push_back((self.workload.clone(), VecDeque::from([ticket]))),
        }
        Poll::Pending
    }

    /// The turn is over.
    pub(crate) fn done(&self) {
        if self.granted.swap(false, Ordering::SeqCst) {
            self.aside.next();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.done();
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(Some(runtime)) = self.runtime.take() {
            // Nobody is left to wait for what runs there, and this may be an async thread.
            runtime.shutdown_background();
        }
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn start() -> Option<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads()).thread_name("wharf-aside").enable_all().on_thread_start(|| {
        this_thread_is_aside();
        // On Linux a thread has a priority of its own, and 0 is the caller's.
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::warn!(%error, "a thread for guests that compute keeps the usual priority");
        }
    });
    builder.build().map_err(|error| tracing::warn!(%error, "no threads for guests that compute")).ok()
}
