//! What one instance of a unit may use, and what was refused for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use workload::manifest::{self, Bytes, Millis};

/// How long ago, in milliseconds, reaching a limit was last logged for it to be logged again.
const BURST: u64 = 10_000;

/// What a file, a socket or a stream of one holds at most, in bytes: what is on its way to or from the system.
const HELD: u64 = 64 * 1024;

/// What one instance of a unit may use: what its entry component's manifest says, and a host's defaults for the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes: all linear memories and tables together, and what the host keeps for the instance.
    pub memory: u64,
    /// Wall-clock time of a call, from its admission to the last byte of its answer. `None` is no limit.
    pub time: Option<Duration>,
    /// Wall-clock time of what an instance does once its calls are answered, to the last byte.
    pub after_response: Duration,
    /// CPU time of a call. `None` is no limit.
    pub cpu: Option<Duration>,
    /// Calls at once. As many again may wait.
    pub concurrency: u32,
    /// Size of a request's body, in bytes.
    pub request_body: u64,
    /// Size of a response's body, in bytes.
    pub response_body: u64,
    /// Size of all headers of a message together, in bytes.
    pub headers: u64,
    /// Open sockets, and HTTP requests under way, each.
    pub connections: u32,
    /// Open files and folders.
    pub files: u32,
    /// Log lines a second; a line counts once for each KiB of it.
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
    /// These, with what a manifest says instead.
    #[must_use]
    pub fn with(&self, declared: &manifest::Limits) -> Self {
        let bytes = |declared: Option<Bytes>, default: u64| declared.map_or(default, |bytes| bytes.0);
        let time = |declared: Option<Millis>, default| declared.map(Millis::duration).or(default);
        Self {
            memory: bytes(declared.memory, self.memory),
            time: time(declared.time, self.time),
            after_response: declared.after_response.map_or(self.after_response, Millis::duration),
            cpu: time(declared.cpu, self.cpu),
            // None at all would be a workload that can never answer.
            concurrency: declared.concurrency.unwrap_or(self.concurrency).max(1),
            request_body: bytes(declared.request_body, self.request_body),
            response_body: bytes(declared.response_body, self.response_body),
            headers: bytes(declared.headers, self.headers),
            connections: declared.connections.unwrap_or(self.connections),
            files: declared.files.unwrap_or(self.files),
            log_rate: declared.log_rate.unwrap_or(self.log_rate),
        }
    }

    /// These without time limits but for what a manifest says: for commands and services, which run as long as they run.
    #[must_use]
    pub fn untimed(mut self, declared: &manifest::Limits) -> Self {
        self.time = declared.time.map(Millis::duration);
        self.cpu = declared.cpu.map(Millis::duration);
        self
    }

    /// These, where they are not above what a host lets any workload have.
    #[must_use]
    pub fn below(self, ceilings: &manifest::Limits) -> Self {
        let bytes = |limit: u64, ceiling: Option<Bytes>| ceiling.map_or(limit, |ceiling| limit.min(ceiling.0));
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

    /// How many files or sockets there may be where a manifest allows `count`: each holds something.
    pub(crate) fn by_memory(&self, count: u32) -> u64 {
        u64::from(count).min(self.memory / HELD)
    }

    /// A limit as people write it.
    fn shown(&self, limit: Limit) -> String {
        let time =
            |time: Option<Duration>| time.map_or("none".to_owned(), |t| humantime::format_duration(t).to_string());
        match limit {
            Limit::Memory => Bytes(self.memory).to_string(),
            Limit::Time => time(self.time),
            Limit::AfterResponse => time(Some(self.after_response)),
            Limit::Cpu => time(self.cpu),
            Limit::Concurrency => self.concurrency.to_string(),
            Limit::RequestBody => Bytes(self.request_body).to_string(),
            Limit::ResponseBody => Bytes(self.response_body).to_string(),
            Limit::Headers => Bytes(self.headers).to_string(),
            Limit::Connections => self.by_memory(self.connections).to_string(),
            Limit::Files => self.by_memory(self.files).to_string(),
            Limit::LogRate => self.log_rate.to_string(),
            Limit::Instances => "the host's pool".to_owned(),
        }
    }
}

/// The limits by name, as the manifest spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// [`Limits::memory`].
    Memory,
    /// [`Limits::time`].
    Time,
    /// [`Limits::after_response`].
    AfterResponse,
    /// [`Limits::cpu`].
    Cpu,
    /// [`Limits::concurrency`].
    Concurrency,
    /// [`Limits::request_body`].
    RequestBody,
    /// [`Limits::response_body`].
    ResponseBody,
    /// [`Limits::headers`].
    Headers,
    /// [`Limits::connections`].
    Connections,
    /// [`Limits::files`].
    Files,
    /// [`Limits::log_rate`].
    LogRate,
    /// Not of a workload: the host's pool has no more instances.
    Instances,
}

impl Limit {
    const ALL: [(Self, &'static str); 12] = [
        (Self::Memory, "memory"),
        (Self::Time, "time"),
        (Self::AfterResponse, "after-response"),
        (Self::Cpu, "cpu"),
        (Self::Concurrency, "concurrency"),
        (Self::RequestBody, "request-body"),
        (Self::ResponseBody, "response-body"),
        (Self::Headers, "headers"),
        (Self::Connections, "connections"),
        (Self::Files, "files"),
        (Self::LogRate, "log-rate"),
        (Self::Instances, "instances"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// How often each limit was reached by the instances of one unit.
#[derive(Debug)]
pub struct Refusals {
    counts: [AtomicU64; Limit::ALL.len()],
    /// When each was last logged, in milliseconds since `since`, plus one.
    logged: [AtomicU64; Limit::ALL.len()],
    since: Instant,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { counts: Default::default(), logged: Default::default(), since: Instant::now() }
    }
}

impl Refusals {
    /// Counts a refusal. Gives whether it begins a burst, and so is to be logged.
    fn count(&self, limit: Limit) -> bool {
        let i = limit as usize;
        self.counts[i].fetch_add(1, Ordering::Relaxed);
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let before = self.logged[i].load(Ordering::Relaxed);
        let quiet = before == 0 || now - before.min(now) >= BURST;
        quiet && self.logged[i].compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The limits that were reached, and how often.
    pub fn counts(&self) -> BTreeMap<Limit, u64> {
        let counts = Limit::ALL.iter().zip(&self.counts).map(|((limit, _), n)| (*limit, n.load(Ordering::Relaxed)));
        counts.filter(|(_, n)| *n > 0).collect()
    }
}

/// The limits of a unit, and what was refused for them: one for all its instances.
#[derive(Debug)]
pub struct Guard {
    pub(crate) workload: std::sync::Arc<str>,
    pub(crate) entry: workload::Name,
    pub(crate) limits: Limits,
    pub(crate) refusals: Refusals,
    /// Whether nobody else is on the host, for whom its calls would have to make room.
    pub(crate) dedicated: bool,
    log: LogRate,
    failures: LogRate,
    /// The failures that were not logged since the last one that was.
    unlogged: AtomicU64,
}

/// How many failures of calls are logged a second. Clients can have a component fail as often as they like.
const FAILURES: u32 = 20;

impl Guard {
    pub(crate) fn new(workload: std::sync::Arc<str>, entry: workload::Name, limits: Limits, dedicated: bool) -> Self {
        Self {
            workload,
            entry,
            limits,
            refusals: Refusals::default(),
            dedicated,
            log: LogRate::default(),
            failures: LogRate::default(),
            unlogged: AtomicU64::new(0),
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts that a limit was reached, and logs it once for a burst.
    pub fn refuse(&self, limit: Limit) {
        if self.refusals.count(limit) {
            let (name, value) = (limit.name(), self.limits.shown(limit));
            tracing::warn!(
                workload = &*self.workload, component = %self.entry, limit = name,
                "a limit was reached: {name}, {value}; said once for many"
            );
        }
    }

    /// Whether a component may write so many more lines to the log now.
    pub(crate) fn may_log(&self, lines: u32) -> bool {
        let may = self.log.take(self.limits.log_rate, lines);
        if !may {
            self.refuse(Limit::LogRate);
        }
        may
    }

    /// Logs that a call failed, unless many others did in the same second; those are counted.
    pub fn failed(&self, why: &str) {
        if !self.failures.take(FAILURES, 1) {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (workload, component) = (&*self.workload, &self.entry);
        match self.unlogged.swap(0, Ordering::Relaxed) {
            0 => tracing::error!(workload, %component, "the component failed: {why}"),
            unlogged => tracing::error!(workload, %component, unlogged, "the component failed: {why}"),
        }
    }
}

/// Counts lines second by second.
#[derive(Debug)]
struct LogRate {
    since: Instant,
    /// The second in the upper half, the lines in it in the lower.
    window: AtomicU64,
}

impl Default for LogRate {
    fn default() -> Self {
        Self { since: Instant::now(), window: AtomicU64::new(0) }
    }
}

impl LogRate {
    fn take(&self, rate: u32, count: u32) -> bool {
        let second = self.since.elapsed().as_secs() << 32;
        let step = |window: u64| {
            let lines = if window & !0xffff_ffff == second { window & 0xffff_ffff } else { 0 };
            // The first of a second goes out however long it is.
            let fits = lines == 0 && rate > 0 || lines + u64::from(count) <= u64::from(rate);
            fits.then_some(second | (lines + u64::from(count)))
        };
        self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok()
    }
}
