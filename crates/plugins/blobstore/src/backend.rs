//! The backend of a blob store: what every kind of store does, whatever serves it.
//!
//! Takes names and streams of bytes; gives streams, or an [`Error`]. Knows no component, no WIT and no grant: those
//! are the plugin's.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

pub mod memory;
#[cfg(unix)]
pub mod folder;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(any(feature = "s3", feature = "nats"))]
mod parts;
#[cfg(test)]
mod conformance;
#[cfg(test)]
#[cfg(any(feature = "s3", feature = "nats"))]
mod servers;
#[cfg(test)]
#[cfg(any(feature = "s3", feature = "nats"))]
mod faults;

/// The longest name of an object, in bytes.
pub const MAX_NAME: usize = 1024;
/// The longest time that [`Container::health`] takes.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Why an operation on a blob store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The container was removed.
    #[error("no such container")]
    NoSuchContainer,
    /// The container exists.
    #[error("the container exists")]
    ContainerExists,
    /// There is no object of this name.
    #[error("no such object")]
    NoSuchObject,
    /// The name or the range makes no sense.
    #[error("{0}")]
    InvalidArgument(String),
    /// The store did not answer in time.
    #[error("the store did not answer in time")]
    Timeout,
    /// The store cannot be reached. A later attempt may succeed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A limit was reached: the size of the store, the space on the disk.
    #[error("{0}")]
    QuotaExceeded(String),
    /// Any other failure.
    #[error("{0}")]
    Other(String),
}

/// Bytes on their way in or out. A backend gives pieces of 1 to [`PIECE`] bytes and takes pieces of any size. An error
/// ends the stream.
pub type Body = BoxStream<'static, Result<Bytes, Error>>;

/// The largest piece in which a body is read from a store, in bytes.
pub const PIECE: usize = 64 * 1024;

/// The age and size of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// When the object was written, in nanoseconds since the Unix epoch.
    pub created_ns: u64,
    /// Bytes of the whole object, also when a range of it is read.
    pub size: u64,
}

/// A container of objects: one declared store.
///
/// Names are any text of 1 to [`MAX_NAME`] bytes, `/`, `..` and NUL included: they name objects, never paths. A write
/// is atomic: readers see the old object or the new one, whole. A write whose body fails, or whose future is dropped
/// before the body ended, leaves the old object as it was; dropped after that, either. A read that has begun goes on
/// with the bytes it began with, or fails; it never mixes two versions. Memory stays flat, whatever the size of an
/// object (a backend in memory keeps the objects, of course).
#[async_trait]
pub trait Container: Send + Sync + 'static {
    /// When the container was created, in nanoseconds since the Unix epoch; [`Error::NoSuchContainer`] after
    /// [`remove`](Self::remove). A container exists from the start: opening a store creates it.
    async fn info(&self) -> Result<u64, Error>;

    /// Creates the container again after [`remove`](Self::remove); [`Error::ContainerExists`] if it exists.
    async fn create(&self) -> Result<(), Error>;

    /// Removes the container with all objects. Every other operation, a write in progress included, fails with
    /// [`Error::NoSuchContainer`] until [`create`](Self::create). A backend whose service knows no containers may keep
    /// that state for its own lifetime only.
    async fn remove(&self) -> Result<(), Error>;

    /// Reads an object, or the bytes in `range` of it. A range that ends beyond the object ends with it; one that
    /// starts beyond it is empty; one that ends before it starts is an [`Error::InvalidArgument`].
    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<(ObjectInfo, Body), Error>;

    /// Writes an object from a body. When this returns, the object is durable by the backend's measure.
    async fn put(&self, name: &str, body: Body) -> Result<(), Error>;

    /// The most memory that one [`put`](Self::put) takes while it is in progress, in bytes.
    fn write_size(&self) -> u64 {
        8 * PIECE as u64
    }

    /// The names of all objects, in no order, as a stream that reads on demand. An object that is written or deleted
    /// meanwhile may be listed or not.
    async fn list(&self) -> Result<BoxStream<'static, Result<String, Error>>, Error>;

    /// Deletes objects; does nothing for those that do not exist.
    async fn delete(&self, names: &[String]) -> Result<(), Error>;

    /// The age and size of an object; [`Error::NoSuchObject`] if there is none.
    async fn object_info(&self, name: &str) -> Result<ObjectInfo, Error>;

    /// Removes all objects.
    async fn clear(&self) -> Result<(), Error>;

    /// Copies an object within the container; [`Error::NoSuchObject`] if there is none.
    async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        let (_, body) = self.get(from, None).await?;
        self.put(to, body).await
    }

    /// Whether the store answers; the text says why not. Returns within [`HEALTH_TIMEOUT`].
    async fn health(&self) -> Result<(), String>;

    /// Releases files and connections.
    async fn close(&self) {}
}

/// Rejects a name that is empty or too long.
fn check_name(name: &str) -> Result<(), Error> {
    match name.len() {
        0 => Err(Error::InvalidArgument("the name of an object is empty".to_owned())),
        length if length > MAX_NAME => {
            let problem = format!("the name of an object has {length} bytes, more than {MAX_NAME}");
            Err(Error::InvalidArgument(problem))
        }
        _ => Ok(()),
    }
}

/// Rejects a range that ends before it starts.
fn check_range(range: Option<&Range<u64>>) -> Result<(), Error> {
    match range {
        Some(range) if range.start > range.end => {
            let problem = format!("the range {}..{} ends before it starts", range.start, range.end);
            Err(Error::InvalidArgument(problem))
        }
        _ => Ok(()),
    }
}

/// The bytes to read of an object of `size` bytes.
fn clamp(range: Option<Range<u64>>, size: u64) -> Range<u64> {
    let Range { start, end } = range.unwrap_or(0..size);
    start.min(size)..end.min(size)
}

/// Cuts the items of a stream into pieces of 1 to [`PIECE`] bytes.
fn cut(stream: impl futures_util::Stream<Item = Result<Bytes, Error>> + Send + 'static) -> Body {
    let cut = stream.flat_map(|item| {
        let (mut rest, error) = match item {
            Ok(bytes) => (bytes, None),
            Err(error) => (Bytes::new(), Some(error)),
        };
        let pieces = std::iter::from_fn(move || (!rest.is_empty()).then(|| Ok(rest.split_to(rest.len().min(PIECE)))));
        stream::iter(pieces.chain(error.map(Err)))
    });
    cut.boxed()
}

/// The current time, in nanoseconds since the Unix epoch.
fn now_ns() -> u64 {
    epoch_ns(SystemTime::now())
}

fn epoch_ns(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
