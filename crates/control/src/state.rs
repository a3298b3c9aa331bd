//! A folder that says which workloads run, so that they come back after a restart or a crash.
//!
//! A file for each workload, `workloads/NAMESPACE/NAME.json`, which is replaced atomically; the components are [`Blobs`] beside them.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use wharf::workload::Workload;
use wharf::workload::manifest::Source;

use crate::blobs::{Blobs, sync};

/// A host's state on disk.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// Held while the host runs.
    _lock: File,
}

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The folder cannot be created, read or written.
    #[error("cannot use `{}`: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// Another host uses the folder.
    #[error("another host uses `{}`; stop it, or choose another folder", .0.display())]
    InUse(PathBuf),
    /// A workload's file does not parse.
    #[error("`{}` is not a workload: {error}; correct it, or remove it and start the workload again", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        error: serde_json::Error,
    },
}

impl State {
    /// Opens the state in a folder, which is created with access for its owner alone if it does not exist.
    ///
    /// # Errors
    /// [`StateError`] when the folder cannot be used, or another host uses it.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StateError> {
        let folder = folder.into();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| StateError::Io { path, error }
        };
        let workloads = folder.join("workloads");
        DirBuilder::new().recursive(true).mode(0o700).create(&workloads).map_err(failed(&workloads))?;
        let path = folder.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(StateError::InUse(folder)),
            Err(fs::TryLockError::Error(error)) => Err(StateError::Io { path, error }),
        }
    }

    /// The components of the workloads.
    ///
    /// # Errors
    /// [`StateError`] when their folder cannot be created.
    pub fn blobs(&self) -> Result<Blobs, StateError> {
        let path = self.folder.join("blobs");
        Blobs::open(&path).map_err(|error| StateError::Io { path, error })
    }

    fn path(&self, id: &str) -> PathBuf {
        // An id is two names with a slash between them.
        self.folder.join("workloads").join(format!("{id}.json"))
    }

    /// The workloads, and what is wrong with the files that cannot be read.
    pub fn workloads(&self) -> Vec<Result<Workload, StateError>> {
        let files = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        let folders = files(&self.folder.join("workloads"));
        let mut found: Vec<_> = folders.iter().flat_map(|folder| files(folder)).collect();
        found.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        found.sort();
        let read = |path: PathBuf| {
            let text = fs::read(&path).map_err(|error| StateError::Io { path: path.clone(), error })?;
            serde_json::from_slice(&text).map_err(|error| StateError::Parse { path, error })
        };
        found.into_iter().map(read).collect()
    }

    /// Keeps a workload, whose sources are digests.
    pub(crate) fn save(&self, workload: &Workload) -> Result<(), StateError> {
        let path = self.path(&workload.id());
        let write = || -> io::Result<()> {
            let folder = path.parent().unwrap_or(&self.folder);
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            // For its owner alone: configuration can be confidential.
            let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
            file.write_all(&serde_json::to_vec_pretty(workload)?)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            sync(folder)
        };
        write().map_err(|error| StateError::Io { path: path.clone(), error })
    }

    /// Forgets a workload, if it was kept.
    pub(crate) fn remove(&self, id: &str) -> Result<(), StateError> {
        let path = self.path(id);
        let removed = match fs::remove_file(&path) {
            Ok(()) => sync(path.parent().unwrap_or(&self.folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        removed.map_err(|error| StateError::Io { path, error })
    }
}

/// Whether a workload came through the API: a manifest's has sources in files, and comes back with the manifest.
pub(crate) fn is_from_api(workload: &Workload) -> bool {
    workload.components.values().all(|component| matches!(component.source, Source::Digest(_)))
}
