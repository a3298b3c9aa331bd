//! Background threads for guests that compute for long: threads of the lowest priority, shared fairly between workloads.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::runtime::Runtime;

use crate::engine::ticker::Ticker;

/// The nice value of the threads: a thread of the usual priority preempts them at once.
const NICE: i32 = 19;

thread_local! {
    static IS_BACKGROUND: Cell<bool> = const { Cell::new(false) };
}

/// Whether the current thread is a background thread. Its CPU time is not charged to a call's credit.
pub(crate) fn is_background_thread() -> bool {
    IS_BACKGROUND.get()
}

/// The background threads, which start when they are first needed, and the engine's ticker.
pub(crate) struct BackgroundPool {
    ticker: Ticker,
    runtime: OnceLock<Option<Runtime>>,
    turns: Mutex<TurnQueue>,
}

/// The calls that wait for a background thread. Workloads take turns, however many calls each of them has.
struct TurnQueue {
    /// The number of threads without a call.
    free: usize,
    /// The waiting calls by workload. A workload that had its turn moves to the end.
    waiting: VecDeque<(Arc<str>, VecDeque<Weak<Turn>>)>,
}

/// A call's place in the queue. Dropped, it passes its turn on.
pub(crate) struct Turn {
    background: Arc<BackgroundPool>,
    workload: Arc<str>,
    granted: AtomicBool,
    waiting: AtomicBool,
    waker: AtomicWaker,
}

impl BackgroundPool {
    pub(crate) fn new(engine: &wasmtime::Engine) -> Self {
        let turns = TurnQueue { free: threads(), waiting: VecDeque::new() };
        Self { ticker: Ticker::new(engine), runtime: OnceLock::new(), turns: Mutex::new(turns) }
    }

    pub(crate) fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    /// The threads' runtime; `None` when the system refuses to start them, and every call stays on its own thread.
    pub(crate) fn runtime(&self) -> Option<&Runtime> {
        self.runtime.get_or_init(start).as_ref()
    }

    /// Grants a free turn to the next call in the queue.
    fn grant_next(&self) {
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
            // A call that has ended is skipped. The turn may be dropped here, so the lock is not held.
            if let Some(turn) = next.and_then(|turn| turn.upgrade()) {
                // In this order: a call that sees `waiting` cleared also sees its turn granted, and takes no second one.
                turn.granted.store(true, Ordering::SeqCst);
                turn.waiting.store(false, Ordering::SeqCst);
                turn.waker.wake();
                return;
            }
        }
    }
}

impl Turn {
    pub(crate) fn new(background: Arc<BackgroundPool>, workload: Arc<str>) -> Arc<Self> {
        let (granted, waiting) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { background, workload, granted, waiting, waker: AtomicWaker::new() })
    }

    /// Ready when the call may use a thread; otherwise it waits in the queue and its task is woken.
    pub(crate) fn poll(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.granted.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        if self.waiting.swap(true, Ordering::SeqCst) {
            return Poll::Pending;
        }
        let mut turns = self.background.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.free > 0 {
            turns.free -= 1;
            self.waiting.store(false, Ordering::SeqCst);
            self.granted.store(true, Ordering::SeqCst);
            return Poll::Ready(());
        }
        let turn = Arc::downgrade(self);
        match turns.waiting.iter_mut().find(|(workload, _)| *workload == self.workload) {
            Some((_, calls)) => calls.push_back(turn),
            None => turns.waiting.push_back((self.workload.clone(), VecDeque::from([turn]))),
        }
        Poll::Pending
    }

    /// Ends the turn.
    pub(crate) fn release(&self) {
        if self.granted.swap(false, Ordering::SeqCst) {
            self.background.grant_next();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.release();
    }
}

impl Drop for BackgroundPool {
    fn drop(&mut self) {
        if let Some(Some(runtime)) = self.runtime.take() {
            // The drop may happen on an async thread, which must not block on the runtime's threads.
            runtime.shutdown_background();
        }
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn start() -> Option<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads()).thread_name("wharf-background").enable_all().on_thread_start(|| {
        IS_BACKGROUND.set(true);
        // On Linux each thread has a priority of its own; `None` is the calling thread.
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::warn!(%error, "cannot lower the priority of a background thread");
        }
    });
    builder.build().map_err(|error| tracing::warn!(%error, "cannot start the background threads")).ok()
}
