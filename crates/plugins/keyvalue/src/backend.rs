//! The backend of a key-value store: what every kind of store does, whatever serves it.
//!
//! Takes keys and values; gives values, or an [`Error`]. Knows no component, no WIT and no grant: those are the
//! plugin's.

mod limits;
mod changes;
mod memory;
mod embedded;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod servers;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use embedded::{Embedded, EmbeddedConfig, SyncMode};
pub use memory::{Memory, MemoryConfig};
#[cfg(feature = "nats")]
pub use nats::{Nats, NatsConfig};
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisConfig};

/// The longest key, in bytes. A longer one is [`Error::InvalidArgument`]. A backend may have a lower limit of its own.
pub const MAX_KEY: usize = 64 * 1024;
/// The longest value, in bytes. A longer one is [`Error::QuotaExceeded`]. A backend may have a lower limit of its own.
pub const MAX_VALUE: usize = 64 * 1024 * 1024;
/// The most keys in one [`Page`], and at most about 1 MiB of them.
pub const PAGE: usize = 1000;
/// How long [`Store::health`] waits for a server.
#[cfg(any(feature = "nats", feature = "redis"))]
const HEALTH_TIMEOUT: Duration = Duration::from_millis(1800);

/// Why an operation on a store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request makes no sense: a key that is too long, a cursor that is not the store's.
    #[error("{0}")]
    InvalidArgument(String),
    /// [`SetOptions::if_absent`] and the key exists.
    #[error("the key exists")]
    PreconditionFailed,
    /// The store did not answer in time. A write may still happen.
    #[error("the store did not answer in time")]
    Timeout,
    /// The store cannot be reached. A later attempt may succeed. A write that was in progress may have happened.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A limit was reached: the size of a value, the size of the store, the space on the disk.
    #[error("{0}")]
    QuotaExceeded(String),
    /// Any other failure, such as a value that is not a number for `increment`.
    #[error("{0}")]
    Other(String),
}

/// How a value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    /// The entry expires this long after the write, or up to a second later. A backend that cannot expire entries
    /// returns [`Error::Other`].
    pub ttl: Option<Duration>,
    /// The write fails with [`Error::PreconditionFailed`] if the key exists.
    pub if_absent: bool,
}

/// A value and its version. A version is opaque, changes with every write of the key through a store (also one of the
/// same value), and is never reused for the key, even when it is deleted in between. It may change without a write; a
/// [`swap`](Store::swap) is then stale, and succeeds when it is tried again with the new version. What the writes of
/// clients that are no store do to it is the backend's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// The version.
    pub version: String,
}

/// What must hold for a [`swap`](Store::swap). All conditions that are set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The key must not exist.
    pub absent: bool,
    /// The entry must have this version.
    pub version: Option<String>,
    /// The entry must have this value.
    pub value: Option<Bytes>,
}

/// The outcome of a [`swap`](Store::swap).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// The value was written.
    Yes,
    /// A condition did not hold, and nothing was written. The current entry, if there is one.
    Stale(Option<Entry>),
}

/// Some of a store's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys, at most [`PAGE`].
    pub keys: Vec<String>,
    /// Where the next page starts; `None` after the last page.
    pub cursor: Option<String>,
}

/// A change of a store, as [`watch`](Store::watch) reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key has a new value.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
    },
    /// A key was deleted, or expired if the backend can tell.
    Deleted {
        /// The key.
        key: String,
    },
    /// Changes were lost: the watcher was too slow, or the connection broke for a while.
    Lost,
}

/// A key-value store.
///
/// A caller that reads after its own write was acknowledged reads that write or a later one. Keys are any text, also
/// empty; values are any bytes, also none. Dropping a future cancels waiting, not necessarily the write.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The value of a key.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Error>;

    /// Writes a value; replaces value and expiry of a key that exists.
    async fn set(&self, key: &str, value: Bytes, options: SetOptions) -> Result<(), Error>;

    /// Deletes a key; does nothing if there is none.
    async fn delete(&self, key: &str) -> Result<(), Error>;

    /// Whether a key exists.
    async fn exists(&self, key: &str) -> Result<bool, Error>;

    /// The keys that start with `prefix` (all for an empty one), page by page; `cursor` is that of the page before. A
    /// key that exists from the first page to the last is listed; one that comes or goes meanwhile may be. One that is
    /// written meanwhile may be listed twice, and a page may be empty although a cursor follows. A cursor carries no
    /// authority: it only says where to go on.
    async fn keys(&self, prefix: &str, cursor: Option<&str>) -> Result<Page, Error>;

    /// Adds to a number, atomically; a key that does not exist counts as 0. The value is the number in decimal text, as
    /// Redis keeps it. Keeps an expiry.
    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error>;

    /// The values of several keys, in their order.
    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, Error>;

    /// Writes several values, without expiry. Not atomic; of two values of one key, the last is left.
    async fn set_many(&self, entries: Vec<(String, Bytes)>) -> Result<(), Error>;

    /// Deletes several keys. Not atomic.
    async fn delete_many(&self, keys: &[String]) -> Result<(), Error>;

    /// A key's value with its version.
    async fn entry(&self, key: &str) -> Result<Option<Entry>, Error>;

    /// Writes a value if every condition holds, atomically. Removes an expiry.
    async fn swap(&self, key: &str, value: Bytes, condition: Condition) -> Result<Swapped, Error>;

    /// The changes from now on, of every writer; those of one key in their order. Writes of one key in quick succession
    /// may be one change, with the last value. The stream ends when the store is gone; it buffers a bounded number of
    /// changes and reports [`Change::Lost`] beyond.
    async fn watch(&self) -> Result<BoxStream<'static, Change>, Error>;

    /// Whether the store answers; the text says why not. Returns within 2 seconds.
    async fn health(&self) -> Result<(), String>;

    /// Completes what is in progress and releases files and connections.
    async fn close(&self) {}
}
