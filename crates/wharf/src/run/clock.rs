//! Time by the clock and CPU time of the current thread, in nanoseconds.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

thread_local! {
    /// When the thread's CPU time was last read, by the clock, and its value.
    static LAST_READ: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// The age of a CPU time that a poll may start with, and the shortest poll whose CPU time is read. Reading it is a system call,
/// and most polls are shorter.
pub(super) const SHORT: u64 = 250_000;

/// The time by the clock, since the first call of this function.
pub(super) fn now() -> u64 {
    static SINCE: OnceLock<Instant> = OnceLock::new();
    nanos(SINCE.get_or_init(Instant::now).elapsed()).max(1)
}

/// The CPU time of this thread. It falls behind the clock when other threads run.
pub(super) fn cpu() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // A thread's CPU time is not negative.
    nanos(Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)))
}

/// The CPU time of this thread at `now`, or shortly before.
pub(super) fn recent_cpu(now: u64) -> u64 {
    let (read, cpu_then) = LAST_READ.get();
    if read != 0 && now.saturating_sub(read) < SHORT {
        return cpu_then;
    }
    let cpu_now = cpu();
    LAST_READ.set((now, cpu_now));
    cpu_now
}

/// A duration in nanoseconds, or the largest number.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
