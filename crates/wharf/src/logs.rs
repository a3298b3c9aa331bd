//! What workloads logged last: lines in memory, a bounded number for each, which the host API reads.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use wharf_api::{LogLine, LogPage};

/// The most lines that are kept of a workload.
pub const MAX_LINES: usize = 1000;
/// The most text that is kept of a workload, in bytes. The last line is kept whatever its length.
pub const MAX_BYTES: usize = 128 * 1024;

/// The last lines of one workload, of all its versions.
#[derive(Debug, Default)]
pub(crate) struct LogBuffer {
    lines: Mutex<Lines>,
    /// Notified when there is a line more, and when the workload has gone.
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<LogLine>,
    bytes: usize,
    /// The number of the next line.
    next: u64,
}

impl LogBuffer {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line.
    pub(crate) fn push(&self, level: tracing::Level, component: &str, source: Option<&str>, text: &str) {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut line = LogLine {
            number: 0,
            time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            level: level.as_str().to_ascii_lowercase(),
            component: component.to_owned(),
            source: source.map(str::to_owned),
            text: text.to_owned(),
        };
        let mut lines = self.lock();
        line.number = lines.next;
        lines.next += 1;
        lines.bytes += line.text.len();
        lines.kept.push_back(line);
        while lines.kept.len() > MAX_LINES || (lines.bytes > MAX_BYTES && lines.kept.len() > 1) {
            let dropped = lines.kept.pop_front().map_or(0, |line| line.text.len());
            lines.bytes -= dropped;
        }
        drop(lines);
        self.changed.notify_waiters();
    }

    /// The lines from a number on.
    fn page(&self, from: u64) -> LogPage {
        let lines = self.lock();
        let first = lines.kept.front().map_or(lines.next, |line| line.number);
        let skipped = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let kept = lines.kept.iter().skip(skipped).cloned().collect();
        // A number beyond the end is of an earlier run of the workload.
        LogPage { lines: kept, next: lines.next, dropped: first.saturating_sub(from) }
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        self.changed.notify_waiters();
    }
}

/// The logs of a host's workloads, by id. A workload's is there as long as one of its versions is.
#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<HashMap<String, Weak<LogBuffer>>>);

impl Logs {
    /// The log of a workload.
    pub(crate) fn of(&self, id: &str) -> Arc<LogBuffer> {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = logs.get(id).and_then(Weak::upgrade) {
            return log;
        }
        if logs.len() == logs.capacity() {
            logs.retain(|_, log| log.strong_count() > 0);
        }
        let log = Arc::<LogBuffer>::default();
        logs.insert(id.to_owned(), Arc::downgrade(&log));
        log
    }

    fn find(&self, id: &str) -> Option<Arc<LogBuffer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).and_then(Weak::upgrade)
    }

    /// The lines of a workload from a number on. If there is none, waits for one. `None` if there is no such workload.
    pub(crate) async fn read(&self, id: &str, from: u64, wait: Duration) -> Option<LogPage> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let log = self.find(id)?;
            let changed = log.changed.clone();
            let mut changed = std::pin::pin!(changed.notified());
            // Registered before the lines are read, so that one in between is not missed.
            changed.as_mut().enable();
            let page = log.page(from);
            // The log goes away with its workload while this waits.
            drop(log);
            let is_empty = page.lines.is_empty() && page.next >= from;
            if !is_empty || tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Some(page);
            }
        }
    }
}
