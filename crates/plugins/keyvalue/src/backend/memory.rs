//! A store in the host's memory.
//!
//! Takes a limit on its size; gives a [`Store`] that is empty at the start and gone at the end. Never waits, except
//! that a task removes expired entries.
//!
//! Values are in shards of a hash map, so that a read locks one shard for the time of a look-up. An ordered index apart
//! holds the keys for listing; only a key that comes or goes touches it. With one lock over a `BTreeMap` instead, a get
//! takes two to four times as long at a million keys.

mod table;

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use self::table::{Table, Write};
use super::limits::{self, check_entries, check_key, check_keys, check_value};
use super::{Change, Condition, Entry, Error, Page, SetOptions, Store, Swapped};

/// The limit on a store's size when the configuration sets none.
const DEFAULT_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The settings of a [`Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// How many bytes the entries may have: keys, values and 128 for each entry. 256 MiB unless set.
    pub max_bytes: u64,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { max_bytes: DEFAULT_MAX_BYTES }
    }
}

/// A store in memory.
pub struct Memory {
    table: Arc<Table>,
}

impl Memory {
    /// An empty store.
    pub fn new(config: MemoryConfig) -> Self {
        Self { table: Arc::new(Table::new(config.max_bytes)) }
    }

    /// Starts the task that removes expired entries, unless it runs.
    fn sweep(&self) {
        if self.table.start_sweeper() {
            tokio::spawn(sweep(Arc::downgrade(&self.table)));
        }
    }
}

/// Removes entries when they expire, until none is left that can.
async fn sweep(table: Weak<Table>) {
    // A runtime that stops drops the task. The next write with a time to live then starts another.
    let mut running = table::Sweeper::new(table.clone());
    while let Some(next) = table.upgrade().and_then(|table| running.sweep(&table)) {
        // At most a second, since a later write may expire earlier.
        let latest = tokio::time::Instant::now() + Duration::from_secs(1);
        tokio::time::sleep_until(next.min(latest)).await;
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        check_key(key)?;
        Ok(self.table.get(key).map(|(value, _)| value))
    }

    async fn set(&self, key: &str, value: Bytes, options: SetOptions) -> Result<(), Error> {
        check_key(key)?;
        check_value(&value)?;
        let expires = options.ttl.map(|ttl| tokio::time::Instant::now() + limits::clamp_ttl(ttl));
        self.table.write(key, |current| {
            if options.if_absent && current.is_some() {
                return Err(Error::PreconditionFailed);
            }
            Ok((Write::Set { value, expires }, ()))
        })?;
        if expires.is_some() {
            self.sweep();
        }
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        check_key(key)?;
        self.table.write(key, |_| Ok((Write::Delete, ())))
    }

    async fn exists(&self, key: &str) -> Result<bool, Error> {
        check_key(key)?;
        Ok(self.table.get(key).is_some())
    }

    async fn keys(&self, prefix: &str, cursor: Option<&str>) -> Result<Page, Error> {
        check_key(prefix)?;
        let after = cursor.map(|cursor| limits::parse_cursor(cursor, prefix)).transpose()?;
        Ok(self.table.keys(prefix, after))
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        check_key(key)?;
        self.table.write(key, |current| {
            let sum = limits::add(current.map(|slot| &slot.value[..]), delta)?;
            let expires = current.and_then(|slot| slot.expires);
            Ok((Write::Set { value: Bytes::from(sum.to_string()), expires }, sum))
        })
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, Error> {
        check_keys(keys)?;
        Ok(keys.iter().map(|key| self.table.get(key).map(|(value, _)| value)).collect())
    }

    async fn set_many(&self, entries: Vec<(String, Bytes)>) -> Result<(), Error> {
        check_entries(&entries)?;
        for (key, value) in entries {
            self.table.write(&key, |_| Ok((Write::Set { value, expires: None }, ())))?;
        }
        Ok(())
    }

    async fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        check_keys(keys)?;
        keys.iter().try_for_each(|key| self.table.write(key, |_| Ok((Write::Delete, ()))))
    }

    async fn entry(&self, key: &str) -> Result<Option<Entry>, Error> {
        check_key(key)?;
        Ok(self.table.get(key).map(|(value, version)| Entry { value, version: version.to_string() }))
    }

    async fn swap(&self, key: &str, value: Bytes, condition: Condition) -> Result<Swapped, Error> {
        check_key(key)?;
        check_value(&value)?;
        self.table.write(key, |current| {
            let entry = current.map(|slot| Entry { value: slot.value.clone(), version: slot.version.to_string() });
            if limits::holds(&condition, entry.as_ref()) {
                Ok((Write::Set { value, expires: None }, Swapped::Yes))
            } else {
                Ok((Write::Nothing, Swapped::Stale(entry)))
            }
        })
    }

    async fn watch(&self) -> Result<BoxStream<'static, Change>, Error> {
        Ok(self.table.changes.subscribe())
    }

    async fn health(&self) -> Result<(), String> {
        Ok(())
    }

    async fn close(&self) {
        self.table.changes.close();
    }
}

#[cfg(test)]
mod tests;
