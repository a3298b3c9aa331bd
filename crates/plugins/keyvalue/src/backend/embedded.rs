//! A store in a file, by redb.
//!
//! Takes a folder and a name; gives a [`Store`] that survives the process and the machine, as far as [`SyncMode`] says.
//! Needs no server. One process opens a file, any number of times: the openers share it, and the last one closes it.
//!
//! - Reads run where they are called, on the snapshot that the last commit left, and cost little more than redb itself.
//!   What redb has not cached comes from the file; for a value above [`INLINE_READ`] and for a page of keys, that
//!   happens on a thread for blocking work.
//! - Writes go to one thread, which commits all that wait in one transaction ([`writer`]).
//! - A failed write of the file (a full disk) fails the writes of that transaction and no others; the file is then
//!   opened anew, which restores the last commit.

mod disk;
mod file;
mod read;
mod tables;
mod writer;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use self::file::Shared;
use self::tables::{Done, Op};
use super::limits::{self, check_entries, check_key, check_keys, check_value};
use super::{Change, Condition, Entry, Error, Page, SetOptions, Store, Swapped};

/// The largest value, in bytes, that is read where the read is called.
const INLINE_READ: usize = 64 * 1024;
/// The memory for cached pages when the configuration sets none.
const DEFAULT_CACHE: usize = 64 * 1024 * 1024;

/// When a write is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// Before it is acknowledged. Writes that come together share a sync.
    #[default]
    Always,
    /// At most this long after it is acknowledged. A crash loses the writes since; what is left is the state at one
    /// moment.
    Every(Duration),
    /// When the store closes, and whenever 64 MiB have been written. A crash loses the writes since, as above.
    Never,
}

impl FromStr for SyncMode {
    type Err = Error;

    /// Reads `always`, `never`, or an interval: a whole number and `ms`, `s` or `m`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let interval = || {
            let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
            let number: u64 = number.parse().ok()?;
            let millis = match unit {
                "ms" => Some(number),
                "s" => number.checked_mul(1000),
                "m" => number.checked_mul(60_000),
                _ => None,
            };
            millis.filter(|millis| *millis > 0).map(Duration::from_millis)
        };
        match text {
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => interval().map(Self::Every).ok_or_else(|| {
                let text = text.escape_debug();
                Error::InvalidArgument(format!(
                    "`{text}` is no sync setting: use `always`, `never`, or an interval such as `100ms`"
                ))
            }),
        }
    }
}

/// The settings of an [`Embedded`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// The folder. It is created if there is none.
    pub folder: PathBuf,
    /// The store's name: letters, digits, `-`, `_` and `.`, not at the start. Its file is `<name>.redb`.
    pub name: String,
    /// When a write is on the disk.
    pub sync: SyncMode,
    /// How many bytes the entries may have: keys, values and 64 for each entry. The file is larger. No limit unless
    /// set.
    pub max_bytes: Option<u64>,
    /// How many bytes of pages are cached in memory. 64 MiB unless set.
    pub cache_bytes: usize,
}

impl EmbeddedConfig {
    /// The default settings for a store.
    pub fn new(folder: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self {
            folder: folder.into(),
            name: name.into(),
            sync: SyncMode::default(),
            max_bytes: None,
            cache_bytes: DEFAULT_CACHE,
        }
    }
}

/// A store in a file.
pub struct Embedded {
    shared: ArcSwapOption<Shared>,
}

impl Embedded {
    /// Opens a store, or joins one that this process has open; its settings then apply from now on, except for the
    /// cache.
    ///
    /// After a crash, this checks the whole file. [`Error::Unavailable`] if another process has the file open,
    /// [`Error::Other`] if it is not a store or corrupt.
    pub async fn open(config: EmbeddedConfig) -> Result<Self, Error> {
        let open = tokio::task::spawn_blocking(move || file::open(&config)).await;
        let shared = open.map_err(|_| Error::Unavailable("the store cannot be opened".to_owned()))??;
        Ok(Self { shared: ArcSwapOption::new(Some(shared)) })
    }

    fn shared(&self) -> Result<Arc<Shared>, Error> {
        self.shared.load_full().ok_or_else(closed)
    }

    async fn write(&self, op: Op) -> Result<Done, Error> {
        self.shared()?.write(op).await
    }
}

fn closed() -> Error {
    Error::Unavailable("the store is closed".to_owned())
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.swap(None) {
            shared.release();
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        check_key(key)?;
        Ok(read::entry(&self.shared()?, key).await?.map(|(value, _)| value))
    }

    async fn set(&self, key: &str, value: Bytes, options: SetOptions) -> Result<(), Error> {
        check_key(key)?;
        check_value(&value)?;
        let expires = options.ttl.map_or(0, tables::expiry);
        self.write(Op::Set { key: key.to_owned(), value, expires, if_absent: options.if_absent }).await?;
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        check_key(key)?;
        self.write(Op::Delete(vec![key.to_owned()])).await?;
        Ok(())
    }

    async fn exists(&self, key: &str) -> Result<bool, Error> {
        check_key(key)?;
        read::exists(&*self.shared()?, key)
    }

    async fn keys(&self, prefix: &str, cursor: Option<&str>) -> Result<Page, Error> {
        check_key(prefix)?;
        let after = cursor.map(|cursor| limits::parse_cursor(cursor, prefix).map(str::to_owned)).transpose()?;
        read::keys(self.shared()?, prefix.to_owned(), after).await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        check_key(key)?;
        match self.write(Op::Increment { key: key.to_owned(), delta }).await? {
            Done::Number(sum) => Ok(sum),
            Done::Written | Done::Swapped(_) => Err(closed()),
        }
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, Error> {
        check_keys(keys)?;
        let shared = self.shared()?;
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            values.push(read::entry(&shared, key).await?.map(|(value, _)| value));
        }
        Ok(values)
    }

    async fn set_many(&self, entries: Vec<(String, Bytes)>) -> Result<(), Error> {
        check_entries(&entries)?;
        for op in tables::split(entries) {
            self.write(op).await?;
        }
        Ok(())
    }

    async fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        check_keys(keys)?;
        for keys in keys.chunks(tables::MAX_OPS) {
            self.write(Op::Delete(keys.to_vec())).await?;
        }
        Ok(())
    }

    async fn entry(&self, key: &str) -> Result<Option<Entry>, Error> {
        check_key(key)?;
        let entry = read::entry(&self.shared()?, key).await?;
        Ok(entry.map(|(value, version)| Entry { value, version: version.to_string() }))
    }

    async fn swap(&self, key: &str, value: Bytes, condition: Condition) -> Result<Swapped, Error> {
        check_key(key)?;
        check_value(&value)?;
        match self.write(Op::Swap { key: key.to_owned(), value, condition }).await? {
            Done::Swapped(swapped) => Ok(swapped),
            Done::Written | Done::Number(_) => Err(closed()),
        }
    }

    async fn watch(&self) -> Result<BoxStream<'static, Change>, Error> {
        Ok(self.shared()?.changes.subscribe())
    }

    async fn health(&self) -> Result<(), String> {
        let shared = self.shared().map_err(|error| error.to_string())?;
        read::exists(&shared, "").map(|_| ()).map_err(|error| error.to_string())
    }

    async fn close(&self) {
        if let Some(shared) = self.shared.swap(None) {
            shared.release();
            shared.closed().await;
        }
    }
}

#[cfg(test)]
mod tests;
