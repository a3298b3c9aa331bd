//! Sources: how a host gets the bytes that a manifest names.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use workload::component::MAX_BYTES;
use workload::manifest::Source;

/// Loads the bytes of components.
///
/// [`LocalSources`] reads files and knows bytes in memory. A host for other sources, such as a registry or a content store,
/// brings a loader of its own and may fall back on it:
///
/// ```
/// use std::sync::Arc;
///
/// use wharf::prepare::source::{LocalSources, SourceError, SourceLoader};
/// use wharf::workload::manifest::Source;
///
/// /// Components that the program carries, by the name of their file.
/// struct Embedded;
///
/// #[async_trait::async_trait]
/// impl SourceLoader for Embedded {
///     async fn load(&self, source: &Source) -> Result<Arc<[u8]>, SourceError> {
///         match source {
///             Source::Path(path) if path.ends_with("hello.wasm") => Ok(b"\0asm\x0d\0\x01\0".as_slice().into()),
///             other => LocalSources.load(other).await,
///         }
///     }
/// }
///
/// let engine = wharf::Engine::builder().pooling(false).build().unwrap();
/// let host = wharf::Host::builder(engine).sources(Embedded).build().unwrap();
/// ```
#[async_trait]
pub trait SourceLoader: Send + Sync + 'static {
    /// Loads the bytes of a source.
    ///
    /// # Errors
    /// [`SourceError`] when the source cannot be read, or is of a kind that the loader does not know.
    async fn load(&self, source: &Source) -> Result<Arc<[u8]>, SourceError>;
}

/// Why a source could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        error: std::io::Error,
    },
    /// The loader does not know this kind of source.
    #[error("this host cannot load sources of this kind")]
    Unsupported,
    /// A loader of a program's own failed.
    #[error("{message}")]
    Other {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// The error that caused it.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// Loads files, and bytes in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalSources;

#[async_trait]
impl SourceLoader for LocalSources {
    async fn load(&self, source: &Source) -> Result<Arc<[u8]>, SourceError> {
        match source {
            Source::Bytes(bytes) => Ok(bytes.clone()),
            Source::Path(path) => {
                let read_path = path.clone();
                let read = move || {
                    let file = std::fs::File::open(read_path)?;
                    let mut bytes = Vec::new();
                    // One byte beyond the limit, which parsing then rejects: a pipe or a device has no size to check first.
                    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
                    Ok(bytes.into())
                };
                let read = tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other).flatten();
                read.map_err(|error| SourceError::Read { path: path.clone(), error })
            }
            _ => Err(SourceError::Unsupported),
        }
    }
}
