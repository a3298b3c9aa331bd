//! The engine's clock: advances the epoch while guests run, and sleeps when none does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::Duration;

/// How long a guest runs before it is asked whether it may go on.
pub(crate) const TICK: Duration = Duration::from_millis(2);
/// How many ticks without a guest it takes until the clock sleeps. Waking it costs a system call, which a request that
/// comes soon after another is spared.
const QUIET: u32 = 50;

/// Advances an engine's epoch while anything is [running](Ticker::run).
pub(crate) struct Ticker(Arc<Inner>);

struct Inner {
    engine: wasmtime::EngineWeak,
    running: AtomicUsize,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

/// While this lives, the clock ticks.
pub(crate) struct Running<'a>(&'a Inner);

impl Ticker {
    /// The clock's thread begins with the first guest, and ends with the last clone of the engine.
    pub(crate) fn new(engine: &wasmtime::Engine) -> Self {
        Self(Arc::new(Inner {
            engine: engine.weak(),
            running: AtomicUsize::new(0),
            asleep: AtomicBool::new(true),
            thread: OnceLock::new(),
        }))
    }

    /// A guest runs until what this returns is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        if self.0.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        Running(&self.0)
    }

    #[cold]
    fn wake(&self) {
        if !self.0.asleep.swap(false, Ordering::SeqCst) {
            return;
        }
        match self.0.thread.get() {
            Some(thread) => thread.unpark(),
            None => self.start(),
        }
    }

    fn start(&self) {
        let inner = Arc::downgrade(&self.0);
        let started = std::thread::Builder::new().name("wharf-clock".into()).spawn(move || tick(&inner));
        match started {
            Ok(handle) => {
                let thread = self.0.thread.get_or_init(|| handle.thread().clone());
                thread.unpark();
            }
            Err(error) => {
                // The next guest tries again; until then nobody is interrupted.
                tracing::error!(%error, "the clock that interrupts guests cannot be started");
                self.0.asleep.store(true, Ordering::SeqCst);
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Release);
    }
}

fn tick(inner: &Weak<Inner>) {
    let mut quiet = 0;
    loop {
        std::thread::sleep(TICK);
        {
            let Some(inner) = inner.upgrade() else { return };
            let Some(engine) = inner.engine.upgrade() else { return };
            engine.increment_epoch();
            quiet = if inner.running.load(Ordering::Relaxed) == 0 { quiet + 1 } else { 0 };
            if quiet < QUIET {
                continue;
            }
            quiet = 0;
            inner.asleep.store(true, Ordering::SeqCst);
            // A guest that began before it could see that the clock sleeps.
            if inner.running.load(Ordering::SeqCst) > 0 {
                inner.asleep.store(false, Ordering::SeqCst);
                continue;
            }
        }
        // Woken by a guest, or by the end of the engine. Waking for nothing only costs a round.
        std::thread::park();
    }
}
