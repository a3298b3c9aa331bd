//! Why a call ended early: a trap with its backtrace, a limit, or the end of its workload.

use std::time::Duration;

use workload::manifest::ByteSize;

use crate::guest_log::{MAX_LINE, bounded};

/// Why a call ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Termination {
    /// The component trapped. The engine's error is not a source, because its text may be the component's own: this one's
    /// text escapes and bounds it.
    #[error("{}", describe_trap(.0))]
    Trap(wasmtime::Error),
    /// The component could not be instantiated.
    #[error("{}", describe_trap(.0))]
    Instantiate(wasmtime::Error),
    /// The call reached its limit `time`.
    #[error("limit reached: time ({})", humantime::format_duration(*.0))]
    Time(Duration),
    /// The instance went on after its calls were answered until it reached its limit `after-response`.
    #[error("limit reached: after-response ({})", humantime::format_duration(*.0))]
    AfterResponse(Duration),
    /// The call reached its limit `cpu`.
    #[error("limit reached: cpu ({})", humantime::format_duration(*.0))]
    Cpu(Duration),
    /// The memory that the host keeps for the instance reached its limit `memory`, in bytes.
    #[error("limit reached: memory ({}), with the resources that the host keeps for the instance", ByteSize(*.0))]
    Memory(u64),
    /// The instance that served several calls ended before this one, because another call or its service failed.
    #[error("the instance ended before the call, because another call or its service failed")]
    InstanceEnded,
    /// The workload stopped, and its time to drain is over.
    #[error("the workload has stopped")]
    Stopped,
    /// The pool is empty, or the workload has used up its share of it.
    #[error("no instance available: the pool, or the workload's share of it, is used up")]
    NoInstance,
}

/// The longest line of a stack frame, in bytes: names of generic functions are long.
const MAX_FRAME: usize = 1024;

const BACKTRACE: &str = "error while executing at wasm backtrace:";

/// The reason of a trap, then its backtrace: the engine's error has them in the other order, with the core dump's text between.
/// Names in it are chosen by the component, and so may the reason be: both are escaped and bounded.
fn describe_trap(error: &wasmtime::Error) -> String {
    let all: Vec<_> = error.chain().map(ToString::to_string).collect();
    let is_backtrace = |text: &&String| text.starts_with(BACKTRACE);
    let is_reason = |text: &&String| !text.starts_with(BACKTRACE) && !text.starts_with("wasm coredump generated");
    let reason = all.iter().filter(is_reason).cloned().collect::<Vec<_>>().join(": ");
    let mut described = bounded(&reason, MAX_LINE).into_owned();
    let Some(frames) = all.iter().find(is_backtrace) else { return described };
    // A hint about an environment variable of the engine's own command line follows.
    let frames = frames.split("\nnote: ").next().unwrap_or(frames).trim_end();
    for line in frames.lines() {
        // A frame is indented. Any other line after the first belongs to a name with a line break in it.
        let is_line = line.starts_with(BACKTRACE) || line.starts_with("   ");
        described.push_str(if is_line { "\n" } else { "\\n" });
        described.push_str(&bounded(line, MAX_FRAME));
    }
    described
}
