//! The newer parts of WebAssembly that an engine can be told to take or to refuse.

use std::fmt;
use std::str::FromStr;

use wasmtime::Config;

/// A part of WebAssembly that components may need, and an [`Engine`](super::Engine) takes or refuses. docs/engine.md says what
/// each costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// Memories with addresses of 64 bits. On.
    Memory64,
    /// Atomics, and memories that several instances share. Off: what they share no limit of memory holds.
    Threads,
    /// Calls that take the place of their caller. On.
    TailCalls,
    /// Objects that the engine collects. On.
    Gc,
    /// Exceptions. On; they need [`Gc`](Self::Gc).
    Exceptions,
    /// Vectors of 128 bits. On; without them [`RelaxedSimd`](Self::RelaxedSimd) is off, too.
    Simd,
    /// Vectors whose results may differ from one kind of processor to another. On.
    RelaxedSimd,
    /// Threads of the component model, which take turns in one instance. Off: the engine's support is experimental.
    ComponentThreading,
    /// The component model's errors with a context. Off: the engine's support is experimental.
    ErrorContext,
}

/// Why a text is not a [`Feature`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no feature; there are: {}", Feature::ALL.map(|(_, name, _)| name).join(", "))]
pub struct FeatureError {
    name: String,
}

impl Feature {
    /// All of them: the name, and whether it is on unless somebody says otherwise.
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
            // Without shared memories atomics are of no use, and harm nobody.
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

/// How an outside profiler learns what compiled code is whose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profiling {
    /// It does not.
    #[default]
    Off,
    /// Linux perf's map: `/tmp/perf-PID.map`.
    PerfMap,
    /// Linux perf's `jit-PID.dump` in the current folder, with lines and code; see `perf inject --jit`.
    JitDump,
}
