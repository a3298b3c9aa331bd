//! What the components of a workload share: the folders of its volumes, its loopback and its resolver.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use workload::Name;
use workload::manifest::Volume;

use super::sockets::lookup::Lookups;
use super::sockets::loopback::Loopback;
use crate::plugin::PluginError;

/// The part of a workload that is opened once. Dropped, it deletes the ephemeral volumes.
pub(super) struct Shared {
    folders: BTreeMap<Name, PathBuf>,
    pub(super) loopback: Arc<Loopback>,
    pub(super) lookups: Lookups,
    _ephemeral: Vec<tempfile::TempDir>,
}

impl Shared {
    /// Opens the volumes that a workload declares, and makes the folders of the ephemeral ones.
    pub(super) fn open(volumes: &BTreeMap<Name, Volume>, lookups: u32) -> Result<Self, PluginError> {
        let (mut folders, mut ephemeral) = (BTreeMap::new(), Vec::new());
        let mut errors = Vec::new();
        for (name, volume) in volumes {
            let path = match volume {
                Volume::Host { host } => {
                    errors.extend(check_folder(name, host).err());
                    host.clone()
                }
                Volume::Ephemeral { .. } => {
                    let folder = tempfile::Builder::new().prefix("wharf-volume-").tempdir().map_err(|error| {
                        let message = format!("cannot make a folder for the ephemeral volume `{name}`: {error}");
                        PluginError::new(message).at(format!("volumes.{name}")).caused_by(error)
                    })?;
                    let path = folder.path().to_owned();
                    ephemeral.push(folder);
                    path
                }
            };
            folders.insert(name.clone(), path);
        }
        if let Some(error) = PluginError::all(errors) {
            return Err(error);
        }
        let (loopback, lookups) = (Arc::default(), Lookups::new(lookups));
        Ok(Self { folders, loopback, lookups, _ephemeral: ephemeral })
    }

    /// The folder of a volume on this host.
    pub(super) fn folder(&self, volume: &Name) -> Option<&Path> {
        self.folders.get(volume).map(PathBuf::as_path)
    }
}

/// Fails early, at the place of the volume, if its folder cannot be used.
fn check_folder(name: &Name, path: &Path) -> Result<(), PluginError> {
    let found = std::fs::metadata(path)
        .and_then(|found| if found.is_dir() { Ok(()) } else { Err(std::io::ErrorKind::NotADirectory.into()) });
    found.map_err(|error| {
        let message = format!("cannot open the volume `{name}` at {}: {error}", path.display());
        PluginError::new(message)
            .at(format!("volumes.{name}.host"))
            .hint("create the folder, or correct `host`")
            .caused_by(error)
    })
}
