//! What all stores of this process on the same folder share.
//!
//! Takes the identity of a folder; gives its use of space and the grouping of its syncs. Knows nothing of other
//! processes: their writes count from the next scan on.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::Stat;

use super::root::{Root, cost, stat_object};
use crate::backend::Error;

/// The shortest time between two scans for what other processes changed.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);

type Folders = HashMap<(u64, u64), Weak<Shared>>;
static FOLDERS: LazyLock<Mutex<Folders>> = LazyLock::new(Mutex::default);

/// The state of a folder in this process.
#[derive(Default)]
pub(super) struct Shared {
    used: Mutex<Used>,
    syncs: Mutex<Syncs>,
    renames: Mutex<u64>,
}

#[derive(Default)]
struct Used {
    objects: u64,
    writing: u64,
    scanned: Option<Instant>,
}

#[derive(Default)]
struct Syncs {
    /// How many renames are durable.
    done: u64,
}

/// A poisoned lock is used on: no code under these locks panics half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn of(folder: &Stat) -> Arc<Self> {
        let mut folders = lock(&FOLDERS);
        folders.retain(|_, shared| shared.strong_count() > 0);
        #[allow(clippy::useless_conversion, reason = "the type depends on the platform")]
        let key = (u64::from(folder.st_dev), u64::from(folder.st_ino));
        if let Some(shared) = folders.get(&key).and_then(Weak::upgrade) {
            return shared;
        }
        let shared = Arc::<Self>::default();
        folders.insert(key, Arc::downgrade(&shared));
        shared
    }

    /// Counts the objects afresh.
    pub(super) fn scan(&self, count: impl FnOnce() -> Result<u64, Error>) -> Result<(), Error> {
        let mut used = lock(&self.used);
        used.objects = count()?;
        used.scanned = Some(Instant::now());
        Ok(())
    }

    /// Makes the renames durable that this thread made in `objects`. One sync serves every thread that waits for it.
    pub(super) fn sync_renames(&self, root: &Root, objects: &OwnedFd) -> Result<(), Error> {
        if !root.sync {
            return Ok(());
        }
        let mine = {
            let mut renames = lock(&self.renames);
            *renames += 1;
            *renames
        };
        let mut syncs = lock(&self.syncs);
        if syncs.done >= mine {
            return Ok(());
        }
        // Those who registered by now renamed before: this sync covers them.
        let covered = *lock(&self.renames);
        root.sync_folder(objects)?;
        syncs.done = covered;
        Ok(())
    }
}

/// The space of a write in progress. Dropping it gives the space back.
pub(super) struct Space {
    root: Arc<Root>,
    bytes: u64,
}

impl Space {
    pub(super) fn new(root: Arc<Root>) -> Self {
        Self { root, bytes: 0 }
    }

    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Error> {
        let Some(max) = self.root.max_bytes else { return Ok(()) };
        let mut used = lock(&self.root.shared.used);
        let is_full = |used: &Used| used.objects.saturating_add(used.writing).saturating_add(bytes) > max;
        if is_full(&used) && used.scanned.is_none_or(|scanned| scanned.elapsed() > SCAN_INTERVAL) {
            used.objects = super::root::size_of_objects(&self.root)?;
            used.scanned = Some(Instant::now());
        }
        if is_full(&used) {
            return Err(Error::QuotaExceeded(format!("limit reached: the store's folder is full ({max} bytes)")));
        }
        used.writing += bytes;
        self.bytes += bytes;
        Ok(())
    }

    /// Carries out a change of one file of `objects` and counts what it changes.
    pub(super) fn change<T>(
        root: &Root,
        objects: &OwnedFd,
        file: &str,
        change: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        if root.max_bytes.is_none() {
            return change();
        }
        let size = || stat_object(objects, file).map_or(0, |stat| cost(&stat));
        let mut used = lock(&root.shared.used);
        let before = size();
        let done = change()?;
        used.objects = used.objects.saturating_sub(before).saturating_add(size());
        Ok(done)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let mut used = lock(&self.root.shared.used);
            used.writing = used.writing.saturating_sub(self.bytes);
        }
    }
}
