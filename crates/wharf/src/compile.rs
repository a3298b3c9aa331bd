//! Fused component → compiled code.
//!
//! Takes a component's bytes; gives a [`Compiled`]. Each distinct component is compiled once while anybody holds it, off
//! the async threads, from the [cache] where it can. Never looks at what a component imports or is granted.

pub mod cache;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;
use wasmtime::Module;
use wasmtime::component::Component;

use cache::Cache;

/// Compiled code. Whoever holds one keeps it from being compiled again.
pub type Compiled<C = Component> = Arc<OnceCell<C>>;

/// What can be compiled: components, and the core modules that run as they are.
pub(crate) trait Code: Sized + Send + 'static {
    fn compile(engine: &wasmtime::Engine, bytes: &[u8]) -> wasmtime::Result<Self>;
    fn serialize(&self) -> wasmtime::Result<Vec<u8>>;
    /// Reads what [`serialize`](Self::serialize) wrote.
    ///
    /// # Safety
    /// `code` must be what it wrote, whole, for an engine with the same settings: it is run as it is.
    #[allow(unsafe_code, reason = "the engine trusts what it deserialises; see the cache")]
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
            #[allow(unsafe_code, reason = "the engine trusts what it deserialises; see the cache")]
            unsafe fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Self> {
                // SAFETY: the caller's, as it stands above.
                unsafe { Self::deserialize(engine, code) }
            }
        }
    )* };
}

code!(Component Module);

/// Why a component could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The engine refuses it.
    #[error("the engine cannot compile this component: {0}")]
    Refused(String),
    /// The thread that compiled it ended early.
    #[error("compiling was interrupted")]
    Interrupted,
}

/// What compiles components for an engine.
pub struct Compiler {
    engine: wasmtime::Engine,
    cache: Option<Cache>,
    components: Slots<Component>,
    modules: Slots<Module>,
}

/// What is compiled, or was and is still held.
type Slots<C> = Mutex<HashMap<Key, Weak<OnceCell<C>>>>;

/// What tells one compiled component from another: its bytes and the engine's settings.
pub(crate) type Key = blake3::Hash;

impl Compiler {
    pub(crate) fn new(engine: wasmtime::Engine, cache: Option<Cache>) -> Self {
        Self { engine, cache, components: Mutex::default(), modules: Mutex::default() }
    }

    /// The cache, if there is one.
    pub fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// Compiles a component, or finds it compiled.
    ///
    /// # Errors
    /// [`CompileError`] when the engine refuses it.
    pub async fn compile(&self, bytes: Arc<[u8]>) -> Result<Compiled, CompileError> {
        self.compile_once(&self.components, bytes).await
    }

    /// Compiles a core module that runs as it is.
    pub(crate) async fn compile_module(&self, bytes: Arc<[u8]>) -> Result<Compiled<Module>, CompileError> {
        self.compile_once(&self.modules, bytes).await
    }

    async fn compile_once<C: Code>(&self, slots: &Slots<C>, bytes: Arc<[u8]>) -> Result<Compiled<C>, CompileError> {
        let key = self.key(&bytes);
        let slot = slot(slots, key);
        slot.get_or_try_init(|| async {
            let (engine, cache) = (self.engine.clone(), self.cache.clone());
            let compiled = tokio::task::spawn_blocking(move || load_or_compile(&engine, cache.as_ref(), key, &bytes));
            compiled.await.map_err(|_| CompileError::Interrupted)?
        })
        .await?;
        Ok(slot)
    }

    fn key(&self, bytes: &[u8]) -> Key {
        let mut hasher = Blake3(blake3::Hasher::new());
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.write(env!("CARGO_PKG_VERSION").as_bytes());
        hasher.write(bytes);
        hasher.0.finalize()
    }
}

fn slot<C>(slots: &Slots<C>, key: Key) -> Compiled<C> {
    let mut running = slots.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = running.get(&key).and_then(Weak::upgrade) {
        return slot;
    }
    running.retain(|_, slot| slot.strong_count() > 0);
    let slot = Compiled::<C>::default();
    running.insert(key, Arc::downgrade(&slot));
    slot
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
    let refused = |error: wasmtime::Error| CompileError::Refused(format!("{error:#}"));
    let compiled = C::compile(engine, bytes).map_err(refused)?;
    if let Some(cache) = cache {
        match compiled.serialize() {
            Ok(code) => cache.store(key, &code),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "compiled code could not be written"),
        }
    }
    Ok(compiled)
}

/// A [`Hasher`] with a digest wide enough to name content by.
struct Blake3(blake3::Hasher);

impl Hasher for Blake3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    fn finish(&self) -> u64 {
        // Only `finalize` is read; the trait wants a number.
        0
    }
}
