//! What a unit uses, as counters that only grow: read by metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of a [`Histogram`]'s buckets, in seconds: those of OpenTelemetry's `http.server.request.duration`, and shorter ones.
pub const BOUNDS: [f64; 17] =
    [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The calls of a unit, and their CPU time, over all of its instances.
#[derive(Debug, Default)]
pub struct Usage {
    calls: AtomicU64,
    failed: AtomicU64,
    cpu: AtomicU64,
}

impl Usage {
    /// The number of calls that have ended, failed ones among them.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The number of calls that trapped or reached a limit.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// The CPU time of guests. That of a call in progress is added every 10 milliseconds of it.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu.load(Ordering::Relaxed))
    }

    pub(crate) fn add_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds CPU time in nanoseconds.
    pub(crate) fn add_cpu(&self, nanos: u64) {
        self.cpu.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// Durations by [`BOUNDS`], which many threads record at once.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what is longer.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// Records a duration.
    pub fn record(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The number of durations up to each bound, and of all.
    pub fn cumulative(&self) -> [u64; BOUNDS.len() + 1] {
        let mut count = 0;
        std::array::from_fn(|i| {
            count += self.buckets[i].load(Ordering::Relaxed);
            count
        })
    }

    /// The sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}
