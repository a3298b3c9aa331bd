//! The WebAssembly features that an engine can accept or reject.

use std::fmt;
use std::str::FromStr;

use wasmtime::Config;

/// A WebAssembly [feature](https://webassembly.org/features/) that an [`Engine`](super::Engine) accepts or rejects in components.
/// docs/engine.md has the cost of each.
///
/// ```
/// use wharf::{Engine, Feature};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let feature: Feature = "threads".parse()?;
/// let builder = Engine::builder().feature(feature, true);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// Memories with 64-bit addresses. On by default.
    Memory64,
    /// Atomic instructions and shared memories. Off by default, because no memory limit covers a shared memory.
    Threads,
    /// Calls that replace the frame of their caller. On by default.
    TailCalls,
    /// Structs and arrays that the engine garbage-collects. On by default.
    Gc,
    /// Exceptions. On by default; they need [`Gc`](Self::Gc).
    Exceptions,
    /// 128-bit vectors. On by default; without them [`RelaxedSimd`](Self::RelaxedSimd) is off by default as well.
    Simd,
    /// Vector instructions whose results may differ between processors. On by default.
    RelaxedSimd,
    /// Cooperative threads of the component model. Off by default, because the engine's support is experimental.
    ComponentThreading,
    /// The component model's `error-context`. Off by default, because the engine's support is experimental.
    ErrorContext,
}

/// A text is not the name of a [`Feature`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown feature `{name}`; the features are {}", Feature::ALL.map(|(_, name, _)| name).join(", "))]
pub struct FeatureError {
    name: String,
}

impl Feature {
    /// All features with their names, and whether each is on by default.
    pub(super) const ALL: [(Self, &'static str, bool); 9] = [
        (Self::Memory64, "memory64", true),
        (Self::Threads, "threads", false),
        (Self::TailCalls, "tail-calls", true),
        (Self::Gc, "gc", true),
        (Self::Exceptions, "exceptions", true),
        (Self::Simd, "simd", true),
        (Self::RelaxedSimd, "relaxed-simd", true),
        (Self::ComponentThreading, "component-threading", false),
        (Self::ErrorContext, "error-context", false),
    ];

    pub(super) fn set(self, config: &mut Config, on: bool) {
        match self {
            Self::Memory64 => config.wasm_memory64(on),
            // wasmtime has a separate switch for shared memories, and atomics are of little use without them.
            Self::Threads => config.wasm_threads(on).shared_memory(on),
            Self::TailCalls => config.wasm_tail_call(on),
            Self::Gc => config.wasm_function_references(on).wasm_gc(on),
            Self::Exceptions => config.wasm_exceptions(on),
            Self::Simd => config.wasm_simd(on),
            Self::RelaxedSimd => config.wasm_relaxed_simd(on),
            Self::ComponentThreading => config.wasm_component_model_threading(on),
            Self::ErrorContext => config.wasm_component_model_error_context(on),
        };
    }
}

impl FromStr for Feature {
    type Err = FeatureError;
    fn from_str(text: &str) -> Result<Self, FeatureError> {
        let found = Self::ALL.iter().find(|(_, name, _)| *name == text);
        found.map(|(feature, ..)| *feature).ok_or_else(|| FeatureError { name: text.to_owned() })
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(feature, ..)| feature == self);
        f.write_str(found.map_or("", |(_, name, _)| name))
    }
}

/// How an [`Engine`](super::Engine) announces compiled code to an external profiler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profiling {
    /// Not at all.
    #[default]
    Off,
    /// By a map file for Linux `perf`: `/tmp/perf-PID.map`.
    PerfMap,
    /// By a dump for Linux `perf` with code and line numbers, `jit-PID.dump` in the current directory; see `perf inject --jit`.
    JitDump,
}
