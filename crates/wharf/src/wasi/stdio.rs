//! Where a component's standard streams go.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use crate::ctx::ComponentGrants;

/// The longest line that goes to the log in one piece, in bytes.
const MAX_LINE: usize = 16 * 1024;

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
    pub(super) fn open(self, builder: &mut WasiCtxBuilder, grants: &ComponentGrants) {
        match self {
            Self::Null => {}
            Self::Inherit => {
                builder.inherit_stdio();
            }
            Self::Log => {
                builder.stdout(ToLog::new(grants, "stdout")).stderr(ToLog::new(grants, "stderr"));
            }
        }
    }
}

#[derive(Clone)]
struct ToLog {
    workload: String,
    component: String,
    stream: &'static str,
}

impl ToLog {
    fn new(grants: &ComponentGrants, stream: &'static str) -> Self {
        Self { workload: grants.workload().to_owned(), component: grants.component().to_string(), stream }
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
    fn say(&mut self) {
        let ToLog { workload, component, stream } = &self.to;
        let line = String::from_utf8_lossy(&self.line);
        tracing::info!(target: "wharf::guest", %workload, %component, stream, "{}", line.trim_end_matches('\r'));
        self.line.clear();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.say();
        }
    }
}

impl AsyncWrite for Lines {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        for byte in bytes {
            if *byte == b'\n' {
                self.say();
            } else {
                self.line.push(*byte);
                if self.line.len() >= MAX_LINE {
                    self.say();
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
