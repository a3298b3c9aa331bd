//! Writes lines to standard error on a thread of its own, so that a slow reader of standard error blocks only this thread.
//!
//! Takes whole lines of the host or of a component, and writes them in order. The host and the components each have a limit
//! on queued bytes, so that components cannot displace the host's lines. Lines beyond the limit are dropped, and their
//! count is written in their place.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many bytes of the host's lines may be queued.
const MAX_HOST_BYTES: usize = 1 << 20;
/// How many bytes of the components' lines may be queued.
const MAX_GUEST_BYTES: usize = 4 << 20;

/// The source of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Host,
    Guest,
}

/// A queue of lines to write. Clones share the queue.
#[derive(Clone)]
pub(crate) struct LogWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Signals that the queue has lines.
    ready: Condvar,
    /// Signals that all lines are written.
    idle: Condvar,
    /// Formats the number of dropped lines of the host and of components.
    dropped: fn(u64, u64) -> String,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Line>,
    queued: Bytes,
    writing: bool,
}

/// The queued bytes of each origin.
#[derive(Default)]
struct Bytes {
    host: usize,
    guests: usize,
}

enum Line {
    Text(Vec<u8>),
    /// How many lines of the host and of components were dropped at this point.
    Dropped(u64, u64),
}

impl LogWriter {
    /// Starts the writer thread.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub(crate) fn start(to: impl Write + Send + 'static, dropped: fn(u64, u64) -> String) -> io::Result<Self> {
        let shared = Shared { queue: Mutex::default(), ready: Condvar::new(), idle: Condvar::new(), dropped };
        let writer = Self(Arc::new(shared));
        let shared = writer.0.clone();
        std::thread::Builder::new().name("wharf-log".into()).spawn(move || shared.run(to))?;
        Ok(writer)
    }

    /// Queues a line, or drops it if the queue of its origin is full.
    pub(crate) fn push(&self, origin: Origin, line: &[u8]) {
        let mut queue = self.0.lock();
        let (queued, max) = match origin {
            Origin::Host => (&mut queue.queued.host, MAX_HOST_BYTES),
            Origin::Guest => (&mut queue.queued.guests, MAX_GUEST_BYTES),
        };
        // An empty queue takes a line of any length, so that a line longer than the limit is still written.
        if *queued > 0 && *queued + line.len() > max {
            queue.count_dropped(origin);
            return;
        }
        *queued += line.len();
        queue.lines.push_back(Line::Text(line.to_vec()));
        if queue.lines.len() == 1 {
            self.0.ready.notify_one();
        }
    }

    /// Waits until all lines are written, or the timeout expires.
    pub(crate) fn flush(&self, timeout: Duration) {
        let queue = self.0.lock();
        let busy = |queue: &mut Queue| queue.writing || !queue.lines.is_empty();
        // The program exits after a flush, so lines that are not written by then are lost.
        drop(self.0.idle.wait_timeout_while(queue, timeout, busy));
    }
}

impl Queue {
    fn count_dropped(&mut self, origin: Origin) {
        let (host, guests) = if origin == Origin::Host { (1, 0) } else { (0, 1) };
        match self.lines.back_mut() {
            Some(Line::Dropped(more, others)) => {
                *more += host;
                *others += guests;
            }
            _ => self.lines.push_back(Line::Dropped(host, guests)),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut to: impl Write) {
        loop {
            let lines = {
                let mut queue = self.lock();
                queue.writing = false;
                self.idle.notify_all();
                let empty = |queue: &mut Queue| queue.lines.is_empty();
                let mut queue = self.ready.wait_while(queue, empty).unwrap_or_else(PoisonError::into_inner);
                queue.writing = true;
                // The thread holds the taken lines until they are written, so the queue's limits begin anew.
                queue.queued = Bytes::default();
                std::mem::take(&mut queue.lines)
            };
            for line in lines {
                // An error means that standard error is closed, and there is no other place to report it.
                match line {
                    Line::Text(text) => to.write_all(&text),
                    Line::Dropped(host, guests) => to.write_all((self.dropped)(host, guests).as_bytes()),
                }
                .ok();
            }
            to.flush().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LogWriter, MAX_GUEST_BYTES, Origin};
    use std::io::{self, Write};
    use std::sync::mpsc;
    use std::time::Duration;

    /// Blocks until the test signals, then writes everything.
    struct Stalled {
        go: mpsc::Receiver<()>,
        written: mpsc::Sender<String>,
        going: bool,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.going {
                self.going = self.go.recv().is_ok();
            }
            self.written.send(String::from_utf8_lossy(bytes).into_owned()).ok();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_reader_receives_the_count_of_dropped_lines() {
        let (start, go) = mpsc::channel();
        let (sender, written) = mpsc::channel();
        let dropped = |host, guests| format!("dropped {host} {guests}\n");
        let writer = LogWriter::start(Stalled { go, written: sender, going: false }, dropped).unwrap();
        let line = vec![b'x'; 1024];
        // The thread can hold one full queue besides the queued one, so three times the limit always drops lines.
        for _ in 0..3 * MAX_GUEST_BYTES / line.len() {
            writer.push(Origin::Guest, &line);
        }
        writer.push(Origin::Host, b"the host\n");
        writer.flush(Duration::from_millis(1));
        start.send(()).unwrap();
        writer.flush(Duration::from_mins(1));
        let written: Vec<String> = written.try_iter().collect();
        let at = written.iter().position(|line| line.starts_with("dropped")).unwrap();
        assert_eq!(written[at + 1..], ["the host\n"], "the host's line follows the count");
        let count: usize = written[at].split(' ').nth(2).unwrap().trim().parse().unwrap();
        assert_eq!(at + count, 3 * MAX_GUEST_BYTES / line.len(), "every line is written or counted");
        assert!(written.len() * 1024 < 3 * MAX_GUEST_BYTES, "the queue is bounded");
    }
}
