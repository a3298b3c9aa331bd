//! The standard streams of components: a sink that a host chooses, per component if it likes.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use workload::Name;

use crate::guest_log::{self, MAX_LINE, Source};
use crate::limits::LimitTracker;
use crate::store::ComponentContext;

/// The standard streams of components.
///
/// [`Null`], [`Log`] and [`Inherit`] are ready-made; a program can bring its own, and choose by component:
///
/// ```
/// use std::sync::Arc;
///
/// use wharf::stdio::{self, Stdio};
/// use wharf::wasmtime_wasi::{WasiCtxBuilder, p2::pipe::MemoryOutputPipe};
/// use wharf::{ComponentContext, limits::LimitTracker};
///
/// /// Keeps the first KiB that `main` prints; the other components print to the log.
/// struct Capture(MemoryOutputPipe);
///
/// impl Stdio for Capture {
///     fn open(&self, component: &ComponentContext, tracker: &Arc<LimitTracker>, streams: &mut WasiCtxBuilder) {
///         if component.component().as_str() == "main" {
///             streams.stdout(self.0.clone());
///         } else {
///             stdio::Log.open(component, tracker, streams);
///         }
///     }
/// }
///
/// let engine = wharf::Engine::builder().pooling(false).build().unwrap();
/// let host = wharf::Host::builder(engine).stdio(Capture(MemoryOutputPipe::new(1024))).build().unwrap();
/// ```
pub trait Stdio: Send + Sync + 'static {
    /// Sets the streams of a component in one instance, when the component first uses one. Without a setting, input is empty
    /// and output is discarded.
    fn open(&self, component: &ComponentContext, tracker: &Arc<LimitTracker>, streams: &mut WasiCtxBuilder);
}

/// Discards output; input is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

impl Stdio for Null {
    fn open(&self, _: &ComponentContext, _: &Arc<LimitTracker>, _: &mut WasiCtxBuilder) {}
}

/// Writes output to the host's log line by line, under the component's name; input is empty. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Stdio for Log {
    fn open(&self, component: &ComponentContext, tracker: &Arc<LimitTracker>, streams: &mut WasiCtxBuilder) {
        let to = |stream| LogStream::new(component, tracker, stream);
        streams.stdout(to("stdout")).stderr(to("stderr"));
    }
}

/// Gives components the host program's own streams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inherit;

impl Stdio for Inherit {
    fn open(&self, _: &ComponentContext, _: &Arc<LimitTracker>, streams: &mut WasiCtxBuilder) {
        streams.inherit_stdio();
    }
}

/// A standard stream of one component in one instance, however often it is opened.
#[derive(Clone)]
struct LogStream(Arc<Mutex<Line>>);

impl LogStream {
    fn new(component: &ComponentContext, tracker: &Arc<LimitTracker>, stream: &'static str) -> Self {
        let (component, tracker) = (component.component().clone(), tracker.clone());
        Self(Arc::new(Mutex::new(Line { component, stream, tracker, bytes: Vec::new(), held: None })))
    }
}

/// The line in progress, and lines that belong together.
///
/// A traceback is one entry: Python's from its first line to the exception's, over several writes; JavaScript's stack within one write.
struct Line {
    component: Name,
    stream: &'static str,
    tracker: Arc<LimitTracker>,
    bytes: Vec<u8>,
    held: Option<Held>,
}

/// Lines that are not written yet, because others may belong to them.
struct Held {
    text: String,
    /// Whether the first line that is not indented is the last.
    is_python: bool,
}

/// What a traceback of Python begins with.
const TRACEBACK: &str = "Traceback (most recent call last):";

impl Line {
    fn add(&mut self, bytes: &[u8]) {
        for (at, byte) in bytes.iter().enumerate() {
            if *byte == b'\n' {
                let next = bytes[at + 1..].trim_ascii_start();
                let is_stack = bytes.get(at + 1).is_some_and(|next| *next == b' ') && next.starts_with(b"at ");
                self.end(is_stack);
            } else {
                self.bytes.push(*byte);
                if self.bytes.len() >= MAX_LINE {
                    self.write();
                }
            }
        }
    }

    /// The line in progress is complete. `is_stack` says whether lines of a stack follow.
    fn end(&mut self, is_stack: bool) {
        let line = String::from_utf8_lossy(&self.bytes).into_owned();
        if let Some(held) = &mut self.held {
            let is_within = line.starts_with([' ', '\t']);
            let fits = held.text.len() + line.len() < MAX_LINE;
            if (is_within || held.is_python) && fits {
                held.text.push('\n');
                held.text.push_str(&line);
                self.bytes.clear();
                if !is_within || (!held.is_python && !is_stack) {
                    self.release();
                }
                return;
            }
            self.release();
        }
        let is_python = line.starts_with(TRACEBACK);
        if is_python || is_stack {
            self.bytes.clear();
            self.held = Some(Held { text: line, is_python });
        } else {
            self.write();
        }
    }

    /// Writes what is held.
    fn release(&mut self) {
        if let Some(Held { text, .. }) = self.held.take() {
            let (level, source) = (tracing::Level::INFO, Source::Stream(self.stream));
            guest_log::write_entry(&self.tracker, self.component.as_str(), level, source, &text);
        }
    }

    fn write(&mut self) {
        self.release();
        let line = String::from_utf8_lossy(&self.bytes);
        let level = tracing::Level::INFO;
        guest_log::write(&self.tracker, self.component.as_str(), level, Source::Stream(self.stream), &line);
        self.bytes.clear();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.held.is_some() && !self.bytes.is_empty() {
            self.end(false);
        }
        self.release();
        if !self.bytes.is_empty() {
            self.write();
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
