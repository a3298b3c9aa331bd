//! The ticker advances an engine's epoch while guests run, and parks its thread while none does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::Duration;

/// The time between two epochs: how long a guest runs before it yields to the host.
pub(crate) const TICK: Duration = Duration::from_millis(2);
/// The number of ticks without a guest after which the ticker parks. Waking it costs a system call; the delay spares that cost
/// to a request that follows shortly after another.
const IDLE_TICKS: u32 = 50;

/// Advances an engine's epoch while a guest [runs](Ticker::run).
pub(crate) struct Ticker(Arc<Inner>);

struct Inner {
    engine: wasmtime::EngineWeak,
    running: AtomicUsize,
    parked: AtomicBool,
    thread: OnceLock<Thread>,
}

/// A running guest. The ticker ticks until the last one is dropped.
pub(crate) struct Running<'a>(&'a Inner);

impl Ticker {
    /// Creates a ticker. Its thread starts with the first guest, and ends with the last clone of the engine.
    pub(crate) fn new(engine: &wasmtime::Engine) -> Self {
        Self(Arc::new(Inner {
            engine: engine.weak(),
            running: AtomicUsize::new(0),
            parked: AtomicBool::new(true),
            thread: OnceLock::new(),
        }))
    }

    /// Marks a guest as running until the returned value is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        if self.0.parked.load(Ordering::SeqCst) {
            self.wake();
        }
        Running(&self.0)
    }

    #[cold]
    fn wake(&self) {
        if !self.0.parked.swap(false, Ordering::SeqCst) {
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
                // The next guest tries again. Until then no guest is interrupted.
                tracing::error!(%error, "cannot start the thread that interrupts guests");
                self.0.parked.store(true, Ordering::SeqCst);
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
    let mut idle = 0;
    loop {
        std::thread::sleep(TICK);
        {
            let Some(inner) = inner.upgrade() else { return };
            let Some(engine) = inner.engine.upgrade() else { return };
            engine.increment_epoch();
            idle = if inner.running.load(Ordering::Relaxed) == 0 { idle + 1 } else { 0 };
            if idle < IDLE_TICKS {
                continue;
            }
            idle = 0;
            inner.parked.store(true, Ordering::SeqCst);
            // A guest may have started before it could see that the ticker parks.
            if inner.running.load(Ordering::SeqCst) > 0 {
                inner.parked.store(false, Ordering::SeqCst);
                continue;
            }
        }
        // A guest or the end of the engine unparks the thread. A spurious wake-up costs one tick.
        std::thread::park();
    }
}
