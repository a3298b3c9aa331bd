//! The folder for core dumps of guests that trapped.

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The most dumps that one process writes, so that a guest that traps all the time does not fill the disk.
pub(crate) const MAX_DUMPS: u32 = 32;

/// Writes core dumps into a folder, [`MAX_DUMPS`] at most.
pub(crate) struct CoreDumps {
    folder: PathBuf,
    written: AtomicU32,
}

impl CoreDumps {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, written: AtomicU32::new(0) }
    }

    /// The number of the next dump; `None` when enough were written.
    pub(crate) fn next(&self) -> Option<u32> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        (number < MAX_DUMPS).then_some(number)
    }

    /// The path of a dump.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a dump, readable by the owner alone: a guest's memory may hold secrets.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
    }
}
