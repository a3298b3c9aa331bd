//! Where a component's standard streams go.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use workload::Name;

use crate::ctx::ComponentGrants;
use crate::guest_log::{self, MAX_LINE, Source};
use crate::limits::Guard;

/// Where a component's standard streams go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdio {
    /// Output is thrown away; input is empty.
    Null,
    /// Output goes to the log, a line at a time, under the component's name; input is empty.
    #[default]
    Log,
    /// The streams are the host program's own.
    Inherit,
}

impl Stdio {
    pub(super) fn open(self, builder: &mut WasiCtxBuilder, grants: &ComponentGrants, guard: &Arc<Guard>) {
        match self {
            Self::Null => {}
            Self::Inherit => {
                builder.inherit_stdio();
            }
            Self::Log => {
                let to = |stream| ToLog::new(grants, guard, stream);
                builder.stdout(to("stdout")).stderr(to("stderr"));
            }
        }
    }
}

/// A standard stream of one component in one instance, however often it is opened.
#[derive(Clone)]
struct ToLog(Arc<Mutex<Line>>);

impl ToLog {
    fn new(grants: &ComponentGrants, guard: &Arc<Guard>, stream: &'static str) -> Self {
        let (component, guard) = (grants.component().clone(), guard.clone());
        Self(Arc::new(Mutex::new(Line { component, stream, guard, begun: Vec::new() })))
    }
}

/// The line that was begun.
struct Line {
    component: Name,
    stream: &'static str,
    guard: Arc<Guard>,
    begun: Vec<u8>,
}

impl Line {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.write();
            } else {
                self.begun.push(*byte);
                if self.begun.len() >= MAX_LINE {
                    self.write();
                }
            }
        }
    }

    fn write(&mut self) {
        let line = String::from_utf8_lossy(&self.begun);
        let level = tracing::Level::INFO;
        guest_log::write(&self.guard, self.component.as_str(), level, Source::Stream(self.stream), &line);
        self.begun.clear();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.begun.is_empty() {
            self.write();
        }
    }
}

impl IsTerminal for ToLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for ToLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for ToLog {
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
