//! The limits of a unit's instances, and the count of what each limit refuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use wharf_api::Limit;

use workload::manifest::{self, ByteSize, Millis};

use crate::logs::LogBuffer;
use crate::usage::Usage;

/// The shortest time between two warnings about one limit, in milliseconds.
const WARNING_INTERVAL: u64 = 10_000;

/// The most that an open file, a socket or a stream of one buffers, in bytes.
const BUFFER: u64 = 64 * 1024;

/// The most failed calls of a unit that are logged in a second. Clients can make calls fail as often as they like.
const MAX_LOGGED_FAILURES: u32 = 20;

/// The limits of a unit: the host's defaults, overridden by what the manifest declares for the unit's entry component.
///
/// Each field says what its limit applies to. docs/limits.md says what happens when a limit is reached.
///
/// ```
/// use std::time::Duration;
///
/// use wharf::Limits;
///
/// let limits = Limits { memory: 64 << 20, time: Some(Duration::from_secs(5)), ..Limits::default() };
/// assert_eq!(limits.concurrency, 128);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of an instance, in bytes: the sum of its linear memories, its tables and what the host holds for it.
    /// 256 MiB by default.
    pub memory: u64,
    /// Wall-clock time of a call, from its admission to the last byte of its response. `None` means no limit. One minute by
    /// default.
    pub time: Option<Duration>,
    /// Wall-clock time that an instance may run on after the last byte of its last response. 30 seconds by default.
    pub after_response: Duration,
    /// CPU time of a call. `None` means no limit. 10 seconds by default.
    pub cpu: Option<Duration>,
    /// Concurrent calls of the unit. The same number of calls may wait. 128 by default.
    pub concurrency: u32,
    /// Size of the body of a request, in bytes. 256 MiB by default.
    pub request_body: u64,
    /// Size of the body of a response, in bytes. 1 GiB by default.
    pub response_body: u64,
    /// Size of all headers of a message, in bytes. 64 KiB by default.
    pub headers: u64,
    /// Open sockets of an instance, and separately its outgoing HTTP requests in progress. 256 by default.
    pub connections: u32,
    /// Open files and directories of an instance. 256 by default.
    pub files: u32,
    /// Log lines of the unit in a second. A line counts once for each KiB. 1000 by default.
    pub log_rate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            time: Some(Duration::from_mins(1)),
            after_response: Duration::from_secs(30),
            cpu: Some(Duration::from_secs(10)),
            concurrency: 128,
            request_body: 256 << 20,
            response_body: 1 << 30,
            headers: 64 << 10,
            connections: 256,
            files: 256,
            log_rate: 1000,
        }
    }
}

impl Limits {
    /// Returns these limits, overridden by those that a manifest declares.
    #[must_use]
    pub fn overridden_by(&self, declared: &manifest::Limits) -> Self {
        let bytes = |declared: Option<ByteSize>, default: u64| declared.map_or(default, |bytes| bytes.0);
        let time = |declared: Option<Millis>, default| declared.map(Millis::duration).or(default);
        Self {
            memory: bytes(declared.memory, self.memory),
            time: time(declared.time, self.time),
            after_response: declared.after_response.map_or(self.after_response, Millis::duration),
            cpu: time(declared.cpu, self.cpu),
            // With a limit of 0 the unit could never accept a call.
            concurrency: declared.concurrency.unwrap_or(self.concurrency).max(1),
            request_body: bytes(declared.request_body, self.request_body),
            response_body: bytes(declared.response_body, self.response_body),
            headers: bytes(declared.headers, self.headers),
            connections: declared.connections.unwrap_or(self.connections),
            files: declared.files.unwrap_or(self.files),
            log_rate: declared.log_rate.unwrap_or(self.log_rate),
        }
    }

    /// Returns these limits without the default limits of time and CPU: only those that a manifest declares apply. For
    /// commands and services, which have no natural end.
    #[must_use]
    pub fn without_default_times(mut self, declared: &manifest::Limits) -> Self {
        self.time = declared.time.map(Millis::duration);
        self.cpu = declared.cpu.map(Millis::duration);
        self
    }

    /// Returns these limits, lowered to the ceilings that the host sets for all workloads.
    #[must_use]
    pub fn capped_at(self, ceilings: &manifest::Limits) -> Self {
        let bytes = |limit: u64, ceiling: Option<ByteSize>| ceiling.map_or(limit, |ceiling| limit.min(ceiling.0));
        let count = |limit: u32, ceiling: Option<u32>| ceiling.map_or(limit, |ceiling| limit.min(ceiling));
        let time = |limit: Option<Duration>, ceiling: Option<Millis>| {
            let ceiling = ceiling.map(Millis::duration);
            limit.zip(ceiling).map(|(limit, ceiling)| limit.min(ceiling)).or(limit).or(ceiling)
        };
        Self {
            memory: bytes(self.memory, ceilings.memory),
            time: time(self.time, ceilings.time),
            after_response: time(Some(self.after_response), ceilings.after_response).unwrap_or(self.after_response),
            cpu: time(self.cpu, ceilings.cpu),
            concurrency: count(self.concurrency, ceilings.concurrency),
            request_body: bytes(self.request_body, ceilings.request_body),
            response_body: bytes(self.response_body, ceilings.response_body),
            headers: bytes(self.headers, ceilings.headers),
            connections: count(self.connections, ceilings.connections),
            files: count(self.files, ceilings.files),
            log_rate: count(self.log_rate, ceilings.log_rate),
        }
    }

    /// Lowers a number of files or sockets to what the memory limit has room for, because each one holds a buffer.
    pub(crate) fn capped_by_memory(&self, count: u32) -> u64 {
        u64::from(count).min(self.memory / BUFFER)
    }

    /// Formats the value of a limit for people.
    fn display(&self, limit: Limit) -> String {
        let time =
            |time: Option<Duration>| time.map_or("none".to_owned(), |t| humantime::format_duration(t).to_string());
        match limit {
            Limit::Memory => ByteSize(self.memory).to_string(),
            Limit::Time => time(self.time),
            Limit::AfterResponse => time(Some(self.after_response)),
            Limit::Cpu => time(self.cpu),
            Limit::Concurrency => self.concurrency.to_string(),
            Limit::RequestBody => ByteSize(self.request_body).to_string(),
            Limit::ResponseBody => ByteSize(self.response_body).to_string(),
            Limit::Headers => ByteSize(self.headers).to_string(),
            Limit::Connections => self.capped_by_memory(self.connections).to_string(),
            Limit::Files => self.capped_by_memory(self.files).to_string(),
            Limit::LogRate => self.log_rate.to_string(),
            _ => "the host's pool".to_owned(),
        }
    }
}

/// The number of refusals by each limit, over all instances of a unit.
#[derive(Debug)]
pub struct Refusals {
    counts: [AtomicU64; Limit::ALL.len()],
    /// The time of each limit's last warning, in milliseconds since `start`, plus one. 0 means that there was none.
    last_warned: [AtomicU64; Limit::ALL.len()],
    start: Instant,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { counts: Default::default(), last_warned: Default::default(), start: Instant::now() }
    }
}

impl Refusals {
    /// Counts a refusal. Returns whether to log a warning: at most one in [`WARNING_INTERVAL`].
    fn record(&self, limit: Limit) -> bool {
        let i = limit as usize;
        self.counts[i].fetch_add(1, Ordering::Relaxed);
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let last = self.last_warned[i].load(Ordering::Relaxed);
        let due = last == 0 || now - last.min(now) >= WARNING_INTERVAL;
        due && self.last_warned[i].compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Returns the number of refusals by each limit that was reached.
    pub fn counts(&self) -> BTreeMap<Limit, u64> {
        let counts = Limit::ALL.iter().zip(&self.counts).map(|(limit, n)| (*limit, n.load(Ordering::Relaxed)));
        counts.filter(|(_, n)| *n > 0).collect()
    }
}

/// The limits of a unit with their refusals and log rates, shared by all instances of the unit.
#[derive(Debug)]
pub struct LimitTracker {
    pub(crate) workload: Arc<str>,
    pub(crate) entry: workload::Name,
    pub(crate) limits: Limits,
    pub(crate) refusals: Refusals,
    /// Whether the host runs this workload alone, so that its calls need not yield to others.
    pub(crate) dedicated: bool,
    lines: RateLimiter,
    failures: RateLimiter,
    /// The failures since the last logged one.
    unlogged: AtomicU64,
    /// The last lines of the workload.
    pub(crate) log: Arc<LogBuffer>,
    pub(crate) usage: Usage,
}

impl LimitTracker {
    pub(crate) fn new(
        workload: Arc<str>,
        entry: workload::Name,
        limits: Limits,
        dedicated: bool,
        log: Arc<LogBuffer>,
    ) -> Self {
        Self {
            workload,
            entry,
            limits,
            refusals: Refusals::default(),
            dedicated,
            lines: RateLimiter::default(),
            failures: RateLimiter::default(),
            unlogged: AtomicU64::new(0),
            log,
            usage: Usage::default(),
        }
    }

    /// Returns the limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns what the unit has used.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Counts a refusal by a limit, and logs a warning unless one was logged for the same limit in the last 10 seconds.
    pub fn refuse(&self, limit: Limit) {
        if self.refusals.record(limit) {
            let (name, value) = (limit.name(), self.limits.display(limit));
            let text = format!("limit reached: {name} ({value}); further warnings suppressed for 10 s");
            self.log.push(tracing::Level::WARN, self.entry.as_str(), None, &text);
            tracing::warn!(
                workload = &*self.workload, component = %self.entry, limit = name, "{text}"
            );
        }
    }

    /// Takes `lines` from the log rate of this second. Returns whether the component may write them.
    pub(crate) fn may_log(&self, lines: u32) -> bool {
        let allowed = self.lines.take(self.limits.log_rate, lines);
        if !allowed {
            self.refuse(Limit::LogRate);
        }
        allowed
    }

    /// Logs a failed call with its reason. Above 20 failures in a second it only counts them, and the next logged failure
    /// reports the count in the field `unlogged`.
    pub fn log_failure(&self, reason: &str) {
        self.usage.add_failure();
        if !self.failures.take(MAX_LOGGED_FAILURES, 1) {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (workload, component) = (&*self.workload, &self.entry);
        self.log.push(tracing::Level::ERROR, component.as_str(), None, &format!("the component failed: {reason}"));
        match self.unlogged.swap(0, Ordering::Relaxed) {
            0 => tracing::error!(workload, %component, "the component failed: {reason}"),
            unlogged => tracing::error!(workload, %component, unlogged, "the component failed: {reason}"),
        }
    }
}

/// Limits how much happens in each second.
#[derive(Debug)]
struct RateLimiter {
    start: Instant,
    /// The current second in the upper 32 bits, and the amount taken in it in the lower 32.
    window: AtomicU64,
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self { start: Instant::now(), window: AtomicU64::new(0) }
    }
}

impl RateLimiter {
    /// Takes `count` from this second's `rate`. Returns whether there was room.
    fn take(&self, rate: u32, count: u32) -> bool {
        let second = self.start.elapsed().as_secs() << 32;
        let step = |window: u64| {
            let taken = if window & !0xffff_ffff == second { window & 0xffff_ffff } else { 0 };
            // The first line of a second always fits, so that a line longer than the whole rate is not lost.
            let fits = taken == 0 && rate > 0 || taken + u64::from(count) <= u64::from(rate);
            fits.then_some(second | (taken + u64::from(count)))
        };
        self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok()
    }
}
