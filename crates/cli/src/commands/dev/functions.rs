//! The code of functions, so that `wharf dev` compiles only those that changed: a redb database in the user's cache.
//!
//! The engine runs what it returns without checks, so that only the user may write to it: its folder has the same rule as the cache of
//! whole components.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, DatabaseError, Durability, ReadOnlyTable, ReadableDatabase as _, TableDefinition};
use wharf::wasmtime::CacheStore;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("functions");
/// A larger database starts anew, in bytes.
const MAX_BYTES: u64 = 2 << 30;

pub(crate) struct Functions {
    database: Database,
    /// What was read when the last code was kept.
    kept: Mutex<Option<Arc<ReadOnlyTable<&'static [u8], &'static [u8]>>>>,
    /// What is not kept yet.
    new: Mutex<HashMap<Vec<u8>, Arc<[u8]>>>,
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions").finish_non_exhaustive()
    }
}

impl Functions {
    /// The store in a folder. `None`, with a line in the log, if it cannot be used; another process may have it open.
    pub(crate) fn open(folder: &Path) -> Option<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).ok()?;
        let found = std::fs::metadata(folder).ok()?;
        if found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
            tracing::warn!(folder = %folder.display(), "others may write to the folder of compiled functions; not using it");
            return None;
        }
        let file = folder.join("functions.redb");
        if std::fs::metadata(&file).is_ok_and(|found| found.len() > MAX_BYTES) {
            // It may be open elsewhere, which then goes on with it.
            std::fs::remove_file(&file).ok();
        }
        let mut database = Database::create(&file);
        if database.as_ref().is_err_and(|error| !matches!(error, DatabaseError::DatabaseAlreadyOpen)) {
            // What is damaged is only a cache.
            std::fs::remove_file(&file).ok();
            database = Database::create(&file);
        }
        match database {
            Ok(database) => {
                let functions = Self { database, kept: Mutex::default(), new: Mutex::default() };
                functions.read();
                Some(functions)
            }
            Err(error) => {
                tracing::debug!(%error, "compiled functions are not kept");
                None
            }
        }
    }

    /// Reads from here on what is kept now.
    fn read(&self) {
        let table = self.database.begin_read().ok().and_then(|read| read.open_table(TABLE).ok());
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = table.map(Arc::new);
    }

    /// Keeps what is new. What cannot be kept is compiled again another time.
    pub(crate) fn keep(&self) {
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if new.is_empty() {
            return;
        }
        if let Err(error) = self.write(&new) {
            tracing::debug!(%error, "compiled functions are not kept");
        }
        self.read();
        self.new.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| !new.contains_key(key));
    }

    fn write(&self, new: &HashMap<Vec<u8>, Arc<[u8]>>) -> Result<(), redb::Error> {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        {
            let mut table = write.open_table(TABLE)?;
            for (key, value) in new {
                table.insert(key.as_slice(), &value[..])?;
            }
        }
        write.commit()?;
        Ok(())
    }
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        if let Some(value) = self.new.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Some(Cow::Owned(value.to_vec()));
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        kept.get(key).ok()?.map(|value| Cow::Owned(value.value().to_vec()))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        self.new.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_vec(), value.into());
        true
    }
}
