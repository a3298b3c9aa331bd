//! `Workload` → the components' code and types.
//!
//! Takes a workload and a [`SourceLoader`]; gives a [`Loaded`] and every [`LoadError`]. Never compiles.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use workload::manifest::{Component, Digest, Source};
use workload::{ComponentError, ComponentType, Name, Workload};

use super::adapt::{AdaptError, adapt};
use super::source::{SourceError, SourceLoader};

/// The most sources that are loaded at a time for a workload.
const MAX_FETCHES: usize = 8;

/// The components of a workload: their code, and what they import and export.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The code, by component.
    pub code: BTreeMap<Name, LoadedCode>,
    /// The types, by component.
    pub types: BTreeMap<Name, ComponentType>,
}

/// The code of a component as it was loaded.
#[derive(Clone, Debug)]
pub enum LoadedCode {
    /// A component.
    Component(Arc<[u8]>),
    /// A core module that is a program of WASI 0.1. It runs as it is; fused with others, it runs as an adapted component.
    Program {
        /// The module.
        module: Arc<[u8]>,
        /// The component that adapts it.
        component: Arc<[u8]>,
    },
}

impl LoadedCode {
    /// The bytes as they were loaded.
    pub(crate) fn original(&self) -> &Arc<[u8]> {
        match self {
            Self::Component(bytes) | Self::Program { module: bytes, .. } => bytes,
        }
    }

    /// The bytes of the component, or of the component that adapts a program.
    pub fn component(&self) -> &Arc<[u8]> {
        match self {
            Self::Component(component) | Self::Program { component, .. } => component,
        }
    }
}

/// Why a component could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Its source cannot be loaded.
    #[error("cannot load `{component}`: {error}")]
    Source {
        /// The component.
        component: Name,
        /// The loader's error.
        #[source]
        error: SourceError,
    },
    /// Its bytes have another digest than the workload declares.
    #[error("digest mismatch for `{component}`: expected {expected}, found {found}")]
    Digest {
        /// The component.
        component: Name,
        /// The declared digest.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// Its bytes are not a component.
    #[error("cannot load `{component}` from {origin}: {error}")]
    Component {
        /// The component.
        component: Name,
        /// Where the bytes come from.
        origin: String,
        /// What is wrong with them.
        #[source]
        error: ComponentError,
    },
    /// Its bytes are a core module that cannot be adapted.
    #[error("cannot load `{component}` from {origin}: {error}")]
    Module {
        /// The component.
        component: Name,
        /// Where the bytes come from.
        origin: String,
        /// Why not.
        #[source]
        error: AdaptError,
    },
}

impl LoadError {
    /// Its place in the manifest, as a dotted path.
    pub fn place(&self) -> String {
        match self {
            Self::Digest { component, .. } => format!("components.{component}.digest"),
            Self::Source { component, .. } | Self::Component { component, .. } | Self::Module { component, .. } => {
                format!("components.{component}.source")
            }
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Source { error: SourceError::Read { .. }, .. } => {
                "build the component first; a relative path starts at the manifest's folder".into()
            }
            Self::Source { error: SourceError::Other { hint: Some(hint), .. }, .. } => hint.clone(),
            Self::Source { .. } => "give a path to a file".into(),
            Self::Digest { .. } => "correct the `digest` if the new bytes are intended".into(),
            Self::Component { .. } | Self::Module { .. } => {
                "give a WebAssembly component, or a core module built for WASI 0.1".into()
            }
        }
    }
}

/// The bytes of a workload's components, as their sources gave them.
pub(crate) struct Fetched(Vec<Result<Arc<[u8]>, SourceError>>);

/// Gets the bytes of all components of a workload, several at a time.
pub(crate) async fn fetch(workload: &Workload, sources: &dyn SourceLoader) -> Fetched {
    let fetches: Vec<_> = workload.components.values().map(|component| sources.load(&component.source)).collect();
    Fetched(futures_util::stream::iter(fetches).buffered(MAX_FETCHES).collect().await)
}

/// Reads the types of all components of a workload. It computes for long; independent components share the machine's cores.
pub(crate) fn load(workload: &Workload, fetched: Fetched) -> (Loaded, Vec<LoadError>) {
    let components = workload.components.iter().zip(fetched.0);
    let all: Vec<_> = match workload.components.len() {
        1 => components.map(load_one).collect(),
        _ => components.collect::<Vec<_>>().into_par_iter().map(load_one).collect(),
    };
    let (mut loaded, mut errors) = (Loaded::default(), Vec::new());
    for (name, result) in workload.components.keys().zip(all) {
        match result {
            Ok((code, ty)) => {
                loaded.code.insert(name.clone(), code);
                loaded.types.insert(name.clone(), ty);
            }
            Err(error) => errors.push(error),
        }
    }
    (loaded, errors)
}

/// Checks a component's bytes and reads its type.
fn load_one(
    ((name, declared), bytes): ((&Name, &Component), Result<Arc<[u8]>, SourceError>),
) -> Result<(LoadedCode, ComponentType), LoadError> {
    let component = name.clone();
    let bytes = bytes.map_err(|error| LoadError::Source { component: component.clone(), error })?;
    // A digest as source is one to check as well.
    let expected = match declared.source {
        Source::Digest(digest) => declared.digest.or(Some(digest)),
        _ => declared.digest,
    };
    if let Some(expected) = expected {
        let found = Digest::of(&bytes);
        if found != expected {
            return Err(LoadError::Digest { component, expected, found });
        }
    }
    let origin = declared.source.to_string();
    let code = match adapt(&bytes) {
        Ok(None) => LoadedCode::Component(bytes),
        Ok(Some(adapted)) if adapted.is_program => {
            LoadedCode::Program { module: bytes, component: adapted.component.into() }
        }
        Ok(Some(adapted)) => LoadedCode::Component(adapted.component.into()),
        Err(error) => return Err(LoadError::Module { component, origin, error }),
    };
    match ComponentType::parse(code.component()) {
        Ok(ty) => Ok((code, ty)),
        Err(error) => Err(LoadError::Component { component, origin, error }),
    }
}
