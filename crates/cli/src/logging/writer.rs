//! Writes lines to standard error from a thread of its own, so that a reader who stalls stalls nothing else.
//!
//! Takes whole lines, of the host or of a component; writes them in their order. Each of the two has a share of the
//! memory for lines that wait, so that components cannot crowd out what the host has to say; beyond it lines are dropped,
//! and how many were stands where they would have stood.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many bytes of lines may wait.
const HOST: usize = 1 << 20;
const GUESTS: usize = 4 << 20;

/// Whose a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Host,
    Guest,
}

/// Lines that wait to be written. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(crate) struct LogWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// There is something to write.
    ready: Condvar,
    /// Everything is written.
    idle: Condvar,
    /// How the dropped lines of the host and of components are told.
    dropped: fn(u64, u64) -> String,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Line>,
    waiting: Bytes,
    writing: bool,
}

/// How many bytes wait of either.
#[derive(Default)]
struct Bytes {
    host: usize,
    guests: usize,
}

enum Line {
    Text(Vec<u8>),
    /// Lines of the host and of components that were dropped here.
    Dropped(u64, u64),
}

impl LogWriter {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(to: impl Write + Send + 'static, dropped: fn(u64, u64) -> String) -> io::Result<Self> {
        let shared = Shared { queue: Mutex::default(), ready: Condvar::new(), idle: Condvar::new(), dropped };
        let writer = Self(Arc::new(shared));
        let shared = writer.0.clone();
        std::thread::Builder::new().name("wharf-log".into()).spawn(move || shared.run(to))?;
        Ok(writer)
    }

    /// Adds a line, or drops it when as much waits as may.
    pub(crate) fn push(&self, origin: Origin, line: &[u8]) {
        let mut queue = self.0.lock();
        let (waiting, most) = match origin {
            Origin::Host => (&mut queue.waiting.host, HOST),
            Origin::Guest => (&mut queue.waiting.guests, GUESTS),
        };
        // However long it is, one line has room.
        if *waiting > 0 && *waiting + line.len() > most {
            queue.drop_one(origin);
            return;
        }
        *waiting += line.len();
        queue.lines.push_back(Line::Text(line.to_vec()));
        if queue.lines.len() == 1 {
            self.0.ready.notify_one();
        }
    }

    /// Waits until everything is written, or the time is up.
    pub(crate) fn flush(&self, at_most: Duration) {
        let queue = self.0.lock();
        let busy = |queue: &mut Queue| queue.writing || !queue.lines.is_empty();
        // What is not written by then never will be.
        drop(self.0.idle.wait_timeout_while(queue, at_most, busy));
    }
}

impl Queue {
    fn drop_one(&mut self, origin: Origin) {
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
                // What is taken here is written or blocks: no more than this waits besides.
                queue.waiting = Bytes::default();
                std::mem::take(&mut queue.lines)
            };
            for line in lines {
                // There is nowhere left to say that standard error is closed.
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
    use super::{GUESTS, LogWriter, Origin};
    use std::io::{self, Write};
    use std::sync::mpsc;
    use std::time::Duration;

    /// Writes nothing until the test says so, and then everything.
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
    fn a_stalled_reader_costs_lines_and_is_told_how_many() {
        let (start, go) = mpsc::channel();
        let (sender, written) = mpsc::channel();
        let dropped = |host, guests| format!("dropped {host} {guests}\n");
        let writer = LogWriter::start(Stalled { go, written: sender, going: false }, dropped).unwrap();
        let line = vec![b'x'; 1024];
        // As much again is in the thread's hands.
        for _ in 0..3 * GUESTS / line.len() {
            writer.push(Origin::Guest, &line);
        }
        writer.push(Origin::Host, b"the host\n");
        writer.flush(Duration::from_millis(1));
        start.send(()).unwrap();
        writer.flush(Duration::from_mins(1));
        let written: Vec<String> = written.try_iter().collect();
        let at = written.iter().position(|line| line.starts_with("dropped")).unwrap();
        assert_eq!(written[at + 1..], ["the host\n"], "the host's own line came through, after the gap");
        let count: usize = written[at].split(' ').nth(2).unwrap().trim().parse().unwrap();
        assert_eq!(at + count, 3 * GUESTS / line.len(), "every line was written or counted");
        assert!(written.len() * 1024 < 3 * GUESTS, "what waits is bounded");
    }
}
