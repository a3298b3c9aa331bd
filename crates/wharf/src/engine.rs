//! The engine: wasmtime with the settings that hosting needs, and the compiler's cache.

mod feature;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::{Config, Enabled, Inlining, InstanceAllocationStrategy, PoolingAllocationConfig, ProfilingStrategy};

use crate::aside::Aside;
use crate::compile::Compiler;
use crate::compile::cache::Cache;
use crate::dump::Dumps;

pub use feature::{Feature, FeatureError, Profiling};

/// How many bytes of a pooled instance's memory, table and stack stay resident between two calls. Kept pages are cleared
/// by writing zeros over what was touched, which costs a fraction of giving them back to the kernel and faulting them in
/// again; see docs/performance.md.
const KEEP_MEMORY: usize = 2 * 1024 * 1024;
const KEEP_TABLE: usize = 64 * 1024;
const KEEP_STACK: usize = 64 * 1024;

/// How many memories, and how many tables, one core module of a pooled instance can have.
const MOST_PER_MODULE: u32 = 16;

/// A wasmtime engine set up for hosting, with its compiler and the cache of what it compiled. Cheap to clone; clones
/// share everything.
#[derive(Clone)]
pub struct Engine {
    wasmtime: wasmtime::Engine,
    compiler: Arc<Compiler>,
    aside: Arc<Aside>,
    dumps: Option<Arc<Dumps>>,
    pooling: bool,
}

/// The settings of an [`Engine`].
#[derive(Clone, Debug)]
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
}

/// Why an engine could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the engine could not be started: {0:#}")]
pub struct EngineError(wasmtime::Error);

impl Engine {
    /// The default settings: a pool of 1,000 instances, memories of 4 GiB at most, no inlining, no cache.
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
        }
    }

    /// The engine underneath. It interrupts guests by epochs: a store that a program makes by itself needs a deadline
    /// ([`wasmtime::Store::set_epoch_deadline`]) before it runs anything.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }

    /// Whether instances come from the pool. `false` when it was turned off, or when the address space was too small.
    pub fn is_pooling(&self) -> bool {
        self.pooling
    }

    /// Where guests go on that compute for long.
    pub(crate) fn aside(&self) -> &Arc<Aside> {
        &self.aside
    }

    /// Where core dumps go.
    pub(crate) fn dumps(&self) -> Option<&Arc<Dumps>> {
        self.dumps.as_ref()
    }

    /// The compiler, with its cache.
    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }
}

impl EngineBuilder {
    /// Whether instances come from a pool whose memory is reserved at the start. On by default; an engine that has no
    /// address space for the pool makes instances on demand, and says so in the log.
    #[must_use]
    pub fn pooling(mut self, pooling: bool) -> Self {
        self.pooling = pooling;
        self
    }

    /// How many instances, memories, tables and stacks the pool has. A fused component takes one of each for every core
    /// module in it.
    #[must_use]
    pub fn instances(mut self, instances: u32) -> Self {
        self.instances = instances.max(1);
        self
    }

    /// The most that one linear memory can have in a pooled instance, in bytes. Address space for it is reserved once
    /// for each instance of the pool.
    #[must_use]
    pub fn max_memory(mut self, bytes: usize) -> Self {
        self.max_memory = bytes;
        self
    }

    /// Whether the compiler inlines calls between components and their adapters: links get a little faster, compiling
    /// slower. Off by default; docs/performance.md has the figures.
    #[must_use]
    pub fn inlining(mut self, inlining: bool) -> Self {
        self.inlining = inlining;
        self
    }

    /// Keeps compiled code in this folder, which is made if it is not there, and no more of it than `max_bytes`.
    #[must_use]
    pub fn cache(mut self, folder: impl Into<PathBuf>, max_bytes: u64) -> Self {
        self.cache = Some((folder.into(), max_bytes));
        self
    }

    /// Whether components may use a newer part of WebAssembly; each [`Feature`] says what it is otherwise.
    #[must_use]
    pub fn feature(mut self, feature: Feature, on: bool) -> Self {
        self.features.insert(feature, on);
        self
    }

    /// How an outside profiler learns what compiled code is whose. Off by default.
    #[must_use]
    pub fn profiling(mut self, profiling: Profiling) -> Self {
        self.profiling = profiling;
        self
    }

    /// Whether a native debugger can step through components that have DWARF. Off by default: code gets larger, and takes
    /// longer to compile.
    #[must_use]
    pub fn debug_info(mut self, debug_info: bool) -> Self {
        self.debug_info = debug_info;
        self
    }

    /// Writes a core dump into this folder when a guest traps: its frames, globals and memories, 32 times at most. Whoever can
    /// read the folder reads what the guests held.
    #[must_use]
    pub fn core_dumps(mut self, folder: impl Into<PathBuf>) -> Self {
        self.core_dumps = Some(folder.into());
        self
    }

    /// Makes the engine.
    ///
    /// # Errors
    /// [`EngineError`] when wasmtime refuses the settings.
    pub fn build(self) -> Result<Engine, EngineError> {
        let (wasmtime, pooling) = if self.pooling {
            match wasmtime::Engine::new(&self.config(true)) {
                Ok(engine) => (engine, true),
                Err(error) => {
                    // Settings that do not go together fail without a pool, too.
                    let engine = wasmtime::Engine::new(&self.config(false)).map_err(EngineError)?;
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "no address space for a pool of {} instances; making instances on demand, which is slower",
                        self.instances
                    );
                    (engine, false)
                }
            }
        } else {
            (wasmtime::Engine::new(&self.config(false)).map_err(EngineError)?, false)
        };
        let cache = self.cache.and_then(|(folder, max_bytes)| Cache::open(folder, max_bytes));
        let compiler = Arc::new(Compiler::new(wasmtime.clone(), cache));
        let aside = Arc::new(Aside::new(&wasmtime));
        let dumps = self.core_dumps.map(|folder| Arc::new(Dumps::new(folder)));
        Ok(Engine { wasmtime, compiler, aside, dumps, pooling })
    }

    fn config(&self, pooling: bool) -> Config {
        let mut config = Config::new();
        config.wasm_component_model_async(true);
        config.wasm_component_model_map(true);
        config.wasm_component_model_implements(true);
        let simd = self.features.get(&Feature::Simd).copied().unwrap_or(true);
        for (feature, _, default) in Feature::ALL {
            // Relaxed vectors are vectors.
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
        // What makes a guest stop at each tick of the clock, to be asked whether it may go on.
        config.epoch_interruption(true);
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
                // A fused component has its siblings' modules and the adapters between them.
                .max_core_instances_per_component(self.instances)
                .max_memories_per_component(self.instances)
                .max_tables_per_component(self.instances)
                .max_memories_per_module(MOST_PER_MODULE)
                .max_tables_per_module(MOST_PER_MODULE)
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
