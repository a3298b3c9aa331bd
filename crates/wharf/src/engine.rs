//! The engine: wasmtime configured for hosting, its compiler and the cache of compiled code.

pub(crate) mod background;
pub mod cache;
pub mod compile;
pub(crate) mod core_dump;
mod feature;
mod modules;
pub(crate) mod ticker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::{
    CacheStore, Config, Enabled, Inlining, InstanceAllocationStrategy, PoolingAllocationConfig, ProfilingStrategy,
    WasmBacktraceDetails,
};

use background::BackgroundPool;
use cache::Cache;
use compile::Compiler;
use core_dump::CoreDumps;

pub use feature::{Feature, FeatureError, Profiling};

/// The bytes of a pooled memory, table and stack that stay resident between two instances. The allocator zeroes resident
/// pages itself, which costs a fraction of returning them to the kernel and faulting them in again; see docs/performance.md.
const KEEP_MEMORY: usize = 2 * 1024 * 1024;
const KEEP_TABLE: usize = 64 * 1024;
const KEEP_STACK: usize = 64 * 1024;

/// The maximum number of memories, and of tables, of a core module in a pooled instance.
const MAX_PER_MODULE: u32 = 16;

/// A wasmtime engine that is configured for hosting, with its compiler and the cache of compiled code. Clones are cheap and
/// share everything.
///
/// ```
/// use wharf::Engine;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder().instances(100).max_memory(64 << 20).build()?;
/// assert!(engine.compiler().cache().is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Engine {
    wasmtime: wasmtime::Engine,
    compiler: Arc<Compiler>,
    background: Arc<BackgroundPool>,
    core_dumps: Option<Arc<CoreDumps>>,
    pooling: bool,
}

/// The settings of an [`Engine`], from [`Engine::builder`].
///
/// ```no_run
/// use wharf::{Engine, Feature, Profiling};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder()
///     .instances(5000)
///     .cache("compiled", 1 << 30)
///     .feature(Feature::Threads, false)
///     .profiling(Profiling::PerfMap)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct EngineBuilder {
    pooling: bool,
    instances: u32,
    max_memory: usize,
    inlining: bool,
    cache: Option<(PathBuf, u64)>,
    features: BTreeMap<Feature, bool>,
    profiling: Profiling,
    debug_info: bool,
    core_dumps: Option<PathBuf>,
    functions: Option<Arc<dyn CacheStore>>,
    separate_modules: bool,
    source_lines: bool,
}

/// wasmtime rejects the settings of an [`EngineBuilder`].
#[derive(Debug, thiserror::Error)]
#[error("cannot start the engine: {0:#}")]
pub struct EngineError(#[source] wasmtime::Error);

impl Engine {
    /// Returns the default settings: a pool of 1,000 instances with memories of up to 4 GiB, without inlining and without a
    /// cache.
    pub fn builder() -> EngineBuilder {
        EngineBuilder {
            pooling: true,
            instances: 1000,
            max_memory: 4 << 30,
            inlining: false,
            cache: None,
            features: BTreeMap::new(),
            profiling: Profiling::Off,
            debug_info: false,
            core_dumps: None,
            functions: None,
            separate_modules: false,
            source_lines: false,
        }
    }

    /// Returns the wasmtime engine. It interrupts guests by epochs: a program that makes its own store sets a deadline with
    /// [`wasmtime::Store::set_epoch_deadline`] before it runs a guest.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }

    /// Returns whether instances come from the pool: `false` when pooling is off, or when the process has no address space
    /// for the pool.
    pub fn is_pooling(&self) -> bool {
        self.pooling
    }

    /// Returns the background threads, which continue guests that compute for long.
    pub(crate) fn background(&self) -> &Arc<BackgroundPool> {
        &self.background
    }

    /// Returns the writer of core dumps, if they are on.
    pub(crate) fn core_dumps(&self) -> Option<&Arc<CoreDumps>> {
        self.core_dumps.as_ref()
    }

    /// Returns the compiler with its cache.
    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }
}

impl EngineBuilder {
    /// Sets whether instances come from a pool, whose address space [`build`](Self::build) reserves. On by default. When the
    /// process has no address space for the pool, the engine logs a warning and allocates instances on demand.
    #[must_use]
    pub fn pooling(mut self, pooling: bool) -> Self {
        self.pooling = pooling;
        self
    }

    /// Sets the number of core instances, memories, tables and stacks in the pool, at least 1. 1,000 by default. A fused
    /// component takes one of each for each of its core modules.
    #[must_use]
    pub fn instances(mut self, instances: u32) -> Self {
        self.instances = instances.max(1);
        self
    }

    /// Sets the maximum size of a linear memory in a pooled instance, in bytes. 4 GiB by default. The pool reserves this
    /// much address space for each of its memories.
    #[must_use]
    pub fn max_memory(mut self, bytes: usize) -> Self {
        self.max_memory = bytes;
        self
    }

    /// Sets whether the compiler inlines calls across the adapters between components, which makes links a little faster
    /// and compilation slower. Off by default; docs/performance.md has the figures.
    #[must_use]
    pub fn inlining(mut self, inlining: bool) -> Self {
        self.inlining = inlining;
        self
    }

    /// Caches compiled code in a directory, which is created if it does not exist, and evicts the least recently used code
    /// above `max_bytes`. Off by default. [`Cache::open`] says which directories are refused.
    #[must_use]
    pub fn cache(mut self, folder: impl Into<PathBuf>, max_bytes: u64) -> Self {
        self.cache = Some((folder.into(), max_bytes));
        self
    }

    /// Sets whether components may use a WebAssembly feature. Each [`Feature`] documents its default.
    #[must_use]
    pub fn feature(mut self, feature: Feature, on: bool) -> Self {
        self.features.insert(feature, on);
        self
    }

    /// Sets how compiled code is announced to an external profiler. Off by default.
    #[must_use]
    pub fn profiling(mut self, profiling: Profiling) -> Self {
        self.profiling = profiling;
        self
    }

    /// Sets whether the compiler translates DWARF, so that a native debugger can step through components. Off by default,
    /// because the code is larger and takes longer to compile.
    #[must_use]
    pub fn debug_info(mut self, debug_info: bool) -> Self {
        self.debug_info = debug_info;
        self
    }

    /// Writes a core dump of each guest that traps into a directory, at most 32 in one process. Off by default. A core dump
    /// has the frames, globals and memories of the guest, and with them its secrets. Only the owner can read the file.
    #[must_use]
    pub fn core_dumps(mut self, folder: impl Into<PathBuf>) -> Self {
        self.core_dumps = Some(folder.into());
        self
    }

    /// Sets whether the backtraces of traps name the files and lines of the source, for components with DWARF. Off by default, because
    /// a component decides how long its DWARF takes to read. `WASMTIME_BACKTRACE_DETAILS=1` in the environment sets it as well.
    #[must_use]
    pub fn source_lines(mut self, source_lines: bool) -> Self {
        self.source_lines = source_lines;
        self
    }

    /// Compiles incrementally: keeps the code of each function in a store, and compiles a changed component's other functions no
    /// more. The first compilation is slower. Off by default. The engine runs what the store returns without checks, so nothing but
    /// this process and its like may write to it.
    #[must_use]
    pub fn incremental(mut self, functions: Arc<dyn CacheStore>) -> Self {
        self.functions = Some(functions);
        self
    }

    /// Compiles the large core modules of a fused component by themselves, so that a change of one component leaves the code of the others
    /// in use. Instances take a little longer to make. Off by default.
    #[must_use]
    pub fn separate_modules(mut self, separate_modules: bool) -> Self {
        self.separate_modules = separate_modules;
        self
    }

    /// Builds the engine. A cache that cannot be used is logged and left out.
    ///
    /// # Errors
    /// [`EngineError`] when wasmtime rejects the settings.
    pub fn build(self) -> Result<Engine, EngineError> {
        let (wasmtime, pooling) = if self.pooling {
            match wasmtime::Engine::new(&self.config(true)) {
                Ok(engine) => (engine, true),
                Err(error) => {
                    // Settings that contradict each other fail here as well.
                    let engine = wasmtime::Engine::new(&self.config(false)).map_err(EngineError)?;
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "cannot reserve a pool of {} instances; allocating instances on demand, which is slower",
                        self.instances
                    );
                    (engine, false)
                }
            }
        } else {
            (wasmtime::Engine::new(&self.config(false)).map_err(EngineError)?, false)
        };
        let cache = self.cache.and_then(|(folder, max_bytes)| Cache::open(folder, max_bytes));
        let compiler = Arc::new(Compiler::new(wasmtime.clone(), cache, self.separate_modules));
        let background = Arc::new(BackgroundPool::new(&wasmtime));
        let core_dumps = self.core_dumps.map(|folder| Arc::new(CoreDumps::new(folder)));
        Ok(Engine { wasmtime, compiler, background, core_dumps, pooling })
    }

    fn config(&self, pooling: bool) -> Config {
        let mut config = Config::new();
        config.wasm_component_model_async(true);
        config.wasm_component_model_map(true);
        config.wasm_component_model_implements(true);
        let simd = self.features.get(&Feature::Simd).copied().unwrap_or(true);
        for (feature, _, default) in Feature::ALL {
            // wasmtime rejects relaxed SIMD without SIMD.
            let default = default && (feature != Feature::RelaxedSimd || simd);
            feature.set(&mut config, self.features.get(&feature).copied().unwrap_or(default));
        }
        config.profiler(match self.profiling {
            Profiling::Off => ProfilingStrategy::None,
            Profiling::PerfMap => ProfilingStrategy::PerfMap,
            Profiling::JitDump => ProfilingStrategy::JitDump,
        });
        config.debug_info(self.debug_info);
        config.coredump_on_trap(self.core_dumps.is_some());
        // A guest yields at each tick of the ticker, so that the host can suspend or end it.
        config.epoch_interruption(true);
        if self.source_lines {
            config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
        }
        if let Some(functions) = &self.functions
            && let Err(error) = config.enable_incremental_compilation(functions.clone())
        {
            tracing::warn!(error = format!("{error:#}"), "cannot compile incrementally");
        }
        if self.inlining {
            config.compiler_inlining(Inlining::Yes);
        }
        if pooling {
            let mut pool = PoolingAllocationConfig::new();
            pool.total_component_instances(self.instances)
                .total_core_instances(self.instances)
                .total_memories(self.instances)
                .total_tables(self.instances)
                .total_stacks(self.instances)
                // A fused component contains the modules of all its components, and adapters between them.
                .max_core_instances_per_component(self.instances)
                .max_memories_per_component(self.instances)
                .max_tables_per_component(self.instances)
                .max_memories_per_module(MAX_PER_MODULE)
                .max_tables_per_module(MAX_PER_MODULE)
                .max_component_instance_size(16 * 1024 * 1024)
                .max_core_instance_size(16 * 1024 * 1024)
                .max_memory_size(self.max_memory)
                .table_elements(100_000)
                .linear_memory_keep_resident(KEEP_MEMORY)
                .table_keep_resident(KEEP_TABLE)
                .async_stack_keep_resident(KEEP_STACK)
                .pagemap_scan(Enabled::Auto);
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        }
        config
    }
}
