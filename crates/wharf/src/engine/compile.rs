//! Fused component → compiled code.
//!
//! Takes a component's bytes; returns [`Compiled`] code, from the [cache](super::cache) if it has the code. Compiles each
//! distinct component once while its code is in use, on a blocking thread. Never looks at imports or grants.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::future::{try_join, try_join_all};
use tokio::sync::OnceCell;
use wasmtime::Module;
use wasmtime::component::Component;

use super::cache::Cache;
use super::modules::{Split, split};

/// Shared compiled code. While a clone exists, the same bytes are not compiled again.
pub type Compiled<C = Component> = Arc<OnceCell<C>>;

/// The core modules that compiled code imports, by name.
pub(crate) type Modules = Vec<(String, Compiled<Module>)>;

/// Code that can be compiled: a component, or a core module that runs without being adapted.
pub(crate) trait Code: Sized + Send + 'static {
    fn compile(engine: &wasmtime::Engine, bytes: &[u8]) -> wasmtime::Result<Self>;
    fn serialize(&self) -> wasmtime::Result<Vec<u8>>;
    /// Loads the output of [`serialize`](Self::serialize).
    ///
    /// # Safety
    /// `code` must be the complete, unmodified output of `serialize` for an engine with the same settings: the engine runs it
    /// without checks.
    #[allow(unsafe_code, reason = "the engine trusts serialized code; `Cache::load` has the argument")]
    unsafe fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Self>;
}

macro_rules! code {
    ($($ty:ident)*) => { $(
        impl Code for $ty {
            fn compile(engine: &wasmtime::Engine, bytes: &[u8]) -> wasmtime::Result<Self> {
                Self::from_binary(engine, bytes)
            }
            fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
                self.serialize()
            }
            #[allow(unsafe_code, reason = "the engine trusts serialized code; `Cache::load` has the argument")]
            unsafe fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Self> {
                // SAFETY: the caller upholds the contract of the trait's method, which is that of this one.
                unsafe { Self::deserialize(engine, code) }
            }
        }
    )* };
}

code!(Component Module);

/// Why a component cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The engine rejects the component: it is not valid, or needs a [`Feature`](crate::Feature) that is off.
    #[error("cannot compile the component: {0:#}")]
    Rejected(#[source] wasmtime::Error),
    /// The compiling thread ended early, because the runtime shut down or the compiler panicked.
    #[error("compilation was interrupted")]
    Interrupted,
}

/// The compiler of an [`Engine`](super::Engine).
pub struct Compiler {
    engine: wasmtime::Engine,
    cache: Option<Cache>,
    components: Cells<Component>,
    modules: Cells<Module>,
    /// Large modules of fused components are compiled by themselves.
    separate_modules: bool,
}

/// The code in use, and the code that is being compiled, by its key.
type Cells<C> = Mutex<HashMap<Key, Weak<OnceCell<C>>>>;

/// The identity of compiled code: a digest of the component's bytes, the engine's settings and the versions.
pub(crate) type Key = blake3::Hash;

impl Compiler {
    pub(crate) fn new(engine: wasmtime::Engine, cache: Option<Cache>, separate_modules: bool) -> Self {
        Self { engine, cache, components: Mutex::default(), modules: Mutex::default(), separate_modules }
    }

    /// Returns the cache, unless it is off or could not be opened.
    pub fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// Compiles a component, or returns its code when that is in use or in the cache. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`CompileError`] when the engine rejects the component, or when the compilation was interrupted.
    pub async fn compile(&self, bytes: Arc<[u8]>) -> Result<Compiled, CompileError> {
        self.compile_once(&self.components, bytes).await
    }

    /// Compiles a unit: a component, and the modules that it imports if they are compiled by themselves.
    pub(crate) async fn compile_unit(&self, bytes: Arc<[u8]>) -> Result<(Compiled, Modules), CompileError> {
        let fused = bytes.clone();
        let split = async {
            if !self.separate_modules {
                return Ok(None);
            }
            tokio::task::spawn_blocking(move || split(&fused)).await.map_err(|_| CompileError::Interrupted)
        };
        let Some(Split { shell, modules }) = split.await? else {
            return Ok((self.compile(bytes).await?, Modules::new()));
        };
        let modules = modules.into_iter().map(|(name, bytes)| async move {
            Ok::<_, CompileError>((name, self.compile_module(bytes.into()).await?))
        });
        try_join(self.compile(shell.into()), try_join_all(modules)).await
    }

    /// Compiles a core module that runs without being adapted.
    pub(crate) async fn compile_module(&self, bytes: Arc<[u8]>) -> Result<Compiled<Module>, CompileError> {
        self.compile_once(&self.modules, bytes).await
    }

    async fn compile_once<C: Code>(&self, cells: &Cells<C>, bytes: Arc<[u8]>) -> Result<Compiled<C>, CompileError> {
        let key = self.key(&bytes);
        let cell = cell(cells, key);
        cell.get_or_try_init(|| async {
            let (engine, cache) = (self.engine.clone(), self.cache.clone());
            let compiled = tokio::task::spawn_blocking(move || load_or_compile(&engine, cache.as_ref(), key, &bytes));
            compiled.await.map_err(|_| CompileError::Interrupted)?
        })
        .await?;
        Ok(cell)
    }

    fn key(&self, bytes: &[u8]) -> Key {
        let mut hasher = Blake3(blake3::Hasher::new());
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.write(env!("CARGO_PKG_VERSION").as_bytes());
        hasher.write(bytes);
        hasher.0.finalize()
    }
}

/// Returns the cell of a key. If there is none, makes one, and removes the cells that are no longer in use.
fn cell<C>(cells: &Cells<C>, key: Key) -> Compiled<C> {
    let mut cells = cells.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cell) = cells.get(&key).and_then(Weak::upgrade) {
        return cell;
    }
    cells.retain(|_, cell| cell.strong_count() > 0);
    let cell = Compiled::<C>::default();
    cells.insert(key, Arc::downgrade(&cell));
    cell
}

fn load_or_compile<C: Code>(
    engine: &wasmtime::Engine,
    cache: Option<&Cache>,
    key: Key,
    bytes: &[u8],
) -> Result<C, CompileError> {
    if let Some(compiled) = cache.and_then(|cache| cache.load(engine, key)) {
        return Ok(compiled);
    }
    let compiled = C::compile(engine, bytes).map_err(CompileError::Rejected)?;
    if let Some(cache) = cache {
        match compiled.serialize() {
            Ok(code) => cache.store(key, &code),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "cannot serialize compiled code for the cache"),
        }
    }
    Ok(compiled)
}

/// Feeds a [`Hash`] into a BLAKE3 digest, which is wide enough to identify content.
struct Blake3(blake3::Hasher);

impl Hasher for Blake3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    fn finish(&self) -> u64 {
        // The trait requires a number. Only `blake3::Hasher::finalize` is used.
        0
    }
}
