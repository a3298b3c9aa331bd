//! `Workload` → the components' bytes and types.
//!
//! Takes a workload; gives a [`Loaded`] and every [`LoadError`]. Reads files, and nothing else.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use workload::component::MAX_BYTES;
use workload::manifest::{Component, Digest, Source};
use workload::{ComponentError, ComponentType, Name, Workload};

use crate::adapt::{AdaptError, adapt};

/// A workload's components: their bytes, and what they import and export.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The bytes, by component.
    pub bytes: BTreeMap<Name, Arc<[u8]>>,
    /// The types, by component.
    pub types: BTreeMap<Name, ComponentType>,
    /// The core modules that are programs of WASI 0.1, by component. They run as they are; what they would be as
    /// components is in `bytes` and `types`.
    pub programs: BTreeMap<Name, Arc<[u8]>>,
}

/// Why a component could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its file cannot be read.
    #[error("the source of `{component}`, {}, cannot be read: {error}", path.display())]
    Read {
        /// The component.
        component: Name,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Its bytes have another digest than the workload says.
    #[error("`{component}` has the digest {found}, not {wanted}")]
    Digest {
        /// The component.
        component: Name,
        /// The digest that the workload says.
        wanted: Digest,
        /// The digest that the bytes have.
        found: Digest,
    },
    /// Its bytes are no component.
    #[error("the source of `{component}` ({origin}): {error}")]
    Component {
        /// The component.
        component: Name,
        /// Where the bytes come from.
        origin: String,
        /// What is wrong with them.
        error: ComponentError,
    },
    /// Its bytes are a core module that cannot be made a component.
    #[error("the source of `{component}` ({origin}): {error}")]
    Module {
        /// The component.
        component: Name,
        /// Where the bytes come from.
        origin: String,
        /// Why not.
        error: AdaptError,
    },
    /// A source of a kind that this host does not know.
    #[error("the source of `{component}` is of a kind that this host cannot read")]
    Unsupported {
        /// The component.
        component: Name,
    },
}

impl LoadError {
    /// The part of the manifest that it is about, as a dotted path.
    pub fn place(&self) -> String {
        match self {
            Self::Digest { component, .. } => format!("components.{component}.digest"),
            Self::Read { component, .. }
            | Self::Component { component, .. }
            | Self::Module { component, .. }
            | Self::Unsupported { component } => format!("components.{component}.source"),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "is the component built? (a relative path in a manifest starts at its folder)",
            Self::Digest { .. } => "correct the `digest` if the new bytes are meant",
            Self::Component { .. } | Self::Module { .. } => {
                "give a WebAssembly component, or a core module that was made for WASI 0.1"
            }
            Self::Unsupported { .. } => "give a path to a file",
        }
    }
}

/// Loads all components of a workload. It blocks on files.
pub fn load(workload: &Workload) -> (Loaded, Vec<LoadError>) {
    let mut loaded = Loaded::default();
    let mut errors = Vec::new();
    for (name, found) in at_once(&workload.components.iter().collect::<Vec<_>>()) {
        match found {
            Ok(one) => {
                loaded.bytes.insert(name.clone(), one.bytes);
                loaded.types.insert(name.clone(), one.ty);
                loaded.programs.extend(one.program.map(|program| (name.clone(), program)));
            }
            Err(error) => errors.push(error),
        }
    }
    (loaded, errors)
}

struct One {
    bytes: Arc<[u8]>,
    ty: ComponentType,
    program: Option<Arc<[u8]>>,
}

type Found = Result<One, LoadError>;

/// Loads components on all cores: most of the time goes into reading their types.
fn at_once<'a>(components: &[(&'a Name, &'a Component)]) -> Vec<(&'a Name, Found)> {
    let load = |(name, component): &(&'a Name, &'a Component)| (*name, load_one(name, component));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if components.len() < 2 || cores < 2 {
        return components.iter().map(load).collect();
    }
    std::thread::scope(|scope| {
        let share = components.len().div_ceil(cores);
        let begun: Vec<_> = components
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().map(load).collect::<Vec<_>>()))
            .collect();
        let done = begun.into_iter().map(|thread| match thread.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        done.flatten().collect()
    })
}

fn load_one(name: &Name, component: &Component) -> Found {
    let bytes = read(name, &component.source)?;
    if let Some(wanted) = component.digest {
        let found = Digest::of(&bytes);
        if found != wanted {
            return Err(LoadError::Digest { component: name.clone(), wanted, found });
        }
    }
    let origin = || component.source.to_string();
    let refused = |error| LoadError::Module { component: name.clone(), origin: origin(), error };
    let (bytes, program) = match adapt(&bytes).map_err(refused)? {
        None => (bytes, None),
        Some(adapted) => (adapted.component.into(), adapted.is_program.then_some(bytes)),
    };
    let refused = |error| LoadError::Component { component: name.clone(), origin: origin(), error };
    let ty = ComponentType::parse(&bytes).map_err(refused)?;
    Ok(One { bytes, ty, program })
}

fn read(name: &Name, source: &Source) -> Result<Arc<[u8]>, LoadError> {
    match source {
        Source::Bytes(bytes) => Ok(bytes.clone()),
        Source::Path(path) => {
            let refuse = |error| LoadError::Read { component: name.clone(), path: path.clone(), error };
            let file = std::fs::File::open(path).map_err(refuse)?;
            let mut bytes = Vec::new();
            // One byte more than may be there: a pipe or a device has no size to look at first.
            file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(refuse)?;
            Ok(bytes.into())
        }
        _ => Err(LoadError::Unsupported { component: name.clone() }),
    }
}
