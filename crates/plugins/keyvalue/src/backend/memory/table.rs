//! The entries of a store in memory.
//!
//! Takes writes, each a function from the current entry to the next one; gives entries and pages of keys. Never does IO
//! and never waits, except for a lock that another thread holds for the time of one write.
//!
//! Locks are taken in one order: a shard, then the index. A change is published under its shard's lock, so that
//! watchers see the changes of a key in the order of the writes.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher as _;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use bytes::Bytes;
use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::super::changes::Changes;
use super::super::limits::{PAGE_BYTES, cursor_after};
use super::super::{Change, Error, PAGE, Page};

/// How many locks the entries are spread over.
const SHARDS: usize = 32;
/// What an entry counts beside its key and value: about what the maps need for it.
const OVERHEAD: u64 = 128;
/// How many expired entries one pass removes before it looks at the clock again.
const SWEEP_BATCH: usize = 256;

/// An entry.
pub(super) struct Slot {
    pub(super) value: Bytes,
    pub(super) version: u64,
    pub(super) expires: Option<Instant>,
}

impl Slot {
    fn live(&self) -> bool {
        self.expires.is_none_or(|expires| expires > Instant::now())
    }
}

/// What a write does.
pub(super) enum Write {
    /// Writes an entry.
    Set {
        /// The value.
        value: Bytes,
        /// When the entry expires.
        expires: Option<Instant>,
    },
    /// Removes the entry.
    Delete,
    /// Leaves everything as it is.
    Nothing,
}

type Shard = HashMap<Arc<str>, Slot, RandomState>;

#[derive(Default)]
struct Index {
    keys: BTreeSet<Arc<str>>,
    expiring: BTreeSet<(Instant, Arc<str>)>,
}

/// The entries of a store.
pub(super) struct Table {
    hasher: RandomState,
    shards: Vec<RwLock<Shard>>,
    index: Mutex<Index>,
    used: AtomicU64,
    max_bytes: u64,
    version: AtomicU64,
    sweeping: AtomicBool,
    /// The watchers.
    pub(super) changes: Changes,
}

impl Table {
    pub(super) fn new(max_bytes: u64) -> Self {
        let hasher = RandomState::default();
        Self {
            shards: (0..SHARDS).map(|_| RwLock::new(Shard::with_hasher(hasher.clone()))).collect(),
            hasher,
            index: Mutex::default(),
            used: AtomicU64::new(0),
            max_bytes,
            version: AtomicU64::new(0),
            sweeping: AtomicBool::new(false),
            changes: Changes::default(),
        }
    }

    fn shard(&self, key: &str) -> &RwLock<Shard> {
        // The map itself uses the low and the highest bits.
        let hash = self.hasher.hash_one(key) >> 40;
        &self.shards[usize::try_from(hash).unwrap_or(0) % SHARDS]
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value and the version of a key.
    pub(super) fn get(&self, key: &str) -> Option<(Bytes, u64)> {
        let shard = read(self.shard(key));
        shard.get(key).filter(|slot| slot.live()).map(|slot| (slot.value.clone(), slot.version))
    }

    /// Writes what `decide` returns for the current entry. No other write of the key comes between.
    pub(super) fn write<T>(
        &self,
        key: &str,
        decide: impl FnOnce(Option<&Slot>) -> Result<(Write, T), Error>,
    ) -> Result<T, Error> {
        let mut shard = write(self.shard(key));
        let (decision, result) = decide(shard.get(key).filter(|slot| slot.live()))?;
        match decision {
            Write::Set { value, expires } => self.set(&mut shard, key, &value, expires)?,
            Write::Delete => self.remove(&mut shard, key),
            Write::Nothing => {}
        }
        Ok(result)
    }

    fn set(&self, shard: &mut Shard, key: &str, value: &Bytes, expires: Option<Instant>) -> Result<(), Error> {
        let before = shard.get(key).map_or(0, |slot| size(key, &slot.value));
        self.reserve(before, size(key, value))?;
        // A value may be a small part of a large buffer, which would not be counted but stay in memory.
        let value = Bytes::copy_from_slice(value);
        if self.changes.watched() {
            self.changes.publish(&Change::Set { key: key.to_owned(), value: value.clone() });
        }
        let version = self.version.fetch_add(1, Ordering::Relaxed);
        let slot = Slot { value, version, expires };
        if let Some(old) = shard.get_mut(key) {
            let old = std::mem::replace(old, slot);
            if old.expires != expires {
                let mut index = self.index();
                let Some(key) = index.keys.get(key).cloned() else { return Ok(()) };
                old.expires.map(|old| index.expiring.remove(&(old, key.clone())));
                expires.map(|new| index.expiring.insert((new, key)));
            }
        } else {
            let key = Arc::<str>::from(key);
            shard.insert(key.clone(), slot);
            let mut index = self.index();
            expires.map(|new| index.expiring.insert((new, key.clone())));
            index.keys.insert(key);
        }
        Ok(())
    }

    /// Counts an entry that grows or shrinks, unless the store would be too large.
    fn reserve(&self, before: u64, after: u64) -> Result<(), Error> {
        let fits = |used: u64| {
            let used = used.saturating_sub(before).saturating_add(after);
            (after <= before || used <= self.max_bytes).then_some(used)
        };
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::QuotaExceeded(format!("the store is full: its limit is {} bytes", self.max_bytes))),
        }
    }

    fn remove(&self, shard: &mut Shard, key: &str) {
        let Some(slot) = shard.remove(key) else { return };
        self.used.fetch_sub(size(key, &slot.value), Ordering::Relaxed);
        let mut index = self.index();
        if let Some(key) = index.keys.take(key)
            && let Some(expires) = slot.expires
        {
            index.expiring.remove(&(expires, key));
        }
        drop(index);
        if self.changes.watched() {
            self.changes.publish(&Change::Deleted { key: key.to_owned() });
        }
    }

    /// The keys with a prefix, from the one after `after`.
    pub(super) fn keys(&self, prefix: &str, after: Option<&str>) -> Page {
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let (mut found, mut bytes, mut more) = (Vec::new(), 0, false);
        for key in self.index().keys.range::<str, _>((start, Bound::Unbounded)) {
            if !key.starts_with(prefix) {
                break;
            }
            if found.len() == PAGE || (bytes + key.len() > PAGE_BYTES && !found.is_empty()) {
                more = true;
                break;
            }
            bytes += key.len();
            found.push(key.clone());
        }
        let cursor = found.last().filter(|_| more).map(|key| cursor_after(key));
        // The index also holds keys that have expired a moment ago.
        let live = |key: &Arc<str>| self.get(key).map(|_| key.to_string());
        Page { keys: found.iter().filter_map(live).collect(), cursor }
    }

    /// Removes what has expired. Returns when the next entry will.
    fn sweep(&self) -> Option<Instant> {
        loop {
            let now = Instant::now();
            let due: Vec<Arc<str>> = {
                let index = self.index();
                let expired = index.expiring.iter().take_while(|(expires, _)| *expires <= now);
                let due: Vec<_> = expired.take(SWEEP_BATCH).map(|(_, key)| key.clone()).collect();
                if due.is_empty() {
                    return index.expiring.first().map(|(expires, _)| *expires);
                }
                due
            };
            for key in due {
                let mut shard = write(self.shard(&key));
                // Another write may have replaced the entry.
                if shard.get(&key).is_some_and(|slot| !slot.live()) {
                    self.remove(&mut shard, &key);
                }
            }
        }
    }

    /// Whether the caller must start the task that sweeps.
    pub(super) fn start_sweeper(&self) -> bool {
        !self.sweeping.swap(true, Ordering::SeqCst)
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// The right to sweep. Dropping it allows another task to.
pub(super) struct Sweeper {
    table: Weak<Table>,
    running: bool,
}

impl Sweeper {
    pub(super) fn new(table: Weak<Table>) -> Self {
        Self { table, running: true }
    }

    /// Removes what has expired. Returns when the next entry will; after `None`, the task must end.
    pub(super) fn sweep(&mut self, table: &Table) -> Option<Instant> {
        loop {
            if let Some(next) = table.sweep() {
                return Some(next);
            }
            table.sweeping.store(false, Ordering::SeqCst);
            // A writer that came between saw the task running and started none.
            if table.index().expiring.is_empty() || !table.start_sweeper() {
                self.running = false;
                return None;
            }
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade().filter(|_| self.running) {
            table.sweeping.store(false, Ordering::SeqCst);
        }
    }
}

fn size(key: &str, value: &Bytes) -> u64 {
    OVERHEAD.saturating_add(key.len() as u64).saturating_add(value.len() as u64)
}

fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}
