//! Where a component's standard streams go.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
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

#[derive(Clone)]
struct ToLog {
    component: Name,
    stream: &'static str,
    guard: Arc<Guard>,
}

impl ToLog {
    fn new(grants: &ComponentGrants, guard: &Arc<Guard>, stream: &'static str) -> Self {
        Self { component: grants.component().clone(), stream, guard: guard.clone() }
    }
}

impl IsTerminal for ToLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for ToLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Lines { to: self.clone(), line: Vec::new() })
    }
}

struct Lines {
    to: ToLog,
    line: Vec<u8>,
}

impl Lines {
    fn write(&mut self) {
        let ToLog { component, stream, guard } = &self.to;
        let line = String::from_utf8_lossy(&self.line);
        guest_log::write(guard, component.as_str(), tracing::Level::INFO, Source::Stream(stream), &line);
        self.line.clear();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.write();
        }
    }
}

impl AsyncWrite for Lines {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        for byte in bytes {
            if *byte == b'\n' {
                self.write();
            } else {
                self.line.push(*byte);
                if self.line.len() >= MAX_LINE {
                    self.write();
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
