//! Core dumps of guests that trapped, in a folder that somebody asked for.

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::{Store, WasmCoreDump};
use wasmtime_wasi::I32Exit;

use crate::ctx::Ctx;

/// How many are written until the program ends: a guest that traps all the time does not fill the disk.
const MOST: u32 = 32;

/// Where core dumps go, in WebAssembly's own format (tool-conventions, `Coredump.md`).
pub(crate) struct Dumps {
    folder: PathBuf,
    written: AtomicU32,
}

impl Dumps {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, written: AtomicU32::new(0) }
    }

    /// Writes the dump that an error brings along, if it does.
    pub(crate) fn keep(&self, store: &mut Store<Ctx>, error: &wasmtime::Error) {
        // A guest that exits, or is ended by a limit, did not trap.
        let ended = error.is::<I32Exit>() || store.data().meter().is_some_and(|meter| meter.ended().is_some());
        let Some(dump) = error.downcast_ref::<WasmCoreDump>().filter(|_| !ended) else { return };
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        if number >= MOST {
            return;
        }
        let guard = store.data().guard();
        let (workload, entry) = (guard.workload.clone(), guard.entry.clone());
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let name = format!("{}-{entry}-{at}-{number}.coredump", workload.replace('/', "-"));
        let bytes = dump.serialize(store, entry.as_str());
        let path = self.folder.join(name);
        match self.write(&path, &bytes) {
            Ok(()) => tracing::info!(%workload, component = %entry, file = %path.display(), "a core dump was written"),
            Err(error) => {
                tracing::warn!(%workload, component = %entry, file = %path.display(), %error, "a core dump could not be written");
            }
        }
        if number + 1 == MOST {
            tracing::warn!("these were {MOST} core dumps; no more are written until the program starts again");
        }
    }

    /// For its owner alone: what is in a guest's memory may be secret.
    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
    }
}
