//! Reads of a store in a file.
//!
//! Takes keys; gives what the last commit left of them. Locks nothing and never waits for the writer.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, ReadOnlyTable, ReadableDatabase as _, StorageError};

use super::super::limits::{PAGE_BYTES, cursor_after};
use super::super::{Error, PAGE, Page};
use super::file::Shared;
use super::tables::{ENTRIES, Header, VALUES, Value};
use super::{INLINE_READ, disk};

/// The tables as a commit left them. Holding one keeps redb from reusing their pages, so it is replaced with each
/// commit.
pub(super) struct Snapshot {
    entries: ReadOnlyTable<&'static str, &'static [u8]>,
    values: ReadOnlyTable<u64, &'static [u8]>,
}

impl Snapshot {
    /// The last commit of a database.
    pub(super) fn take(database: &Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        Ok(Self { entries: transaction.open_table(ENTRIES)?, values: transaction.open_table(VALUES)? })
    }
}

enum Found {
    Value(Bytes, u64),
    /// A value that is read on another thread.
    Large,
}

/// The snapshot to read. Without one, the file could not be read after a failure.
fn snapshot(shared: &Shared) -> Result<Arc<Snapshot>, Error> {
    let unreadable =
        || Error::Unavailable(format!("`{}` could not be opened anew after a failure", shared.path.display()));
    shared.snapshot.load_full().ok_or_else(unreadable)
}

/// Reads from the snapshot; once more if the writer replaced the file meanwhile.
fn read<T>(shared: &Shared, read: impl Fn(&Snapshot) -> Result<T, StorageError>) -> Result<T, Error> {
    let first = snapshot(shared)?;
    let result = disk::guard(&shared.path, || read(&first))?;
    let Err(error) = result else { return result.map_err(|error| disk::storage_error(&shared.path, &error)) };
    let second = snapshot(shared)?;
    if Arc::ptr_eq(&first, &second) {
        return Err(disk::storage_error(&shared.path, &error));
    }
    disk::guard(&shared.path, || read(&second))?.map_err(|error| disk::storage_error(&shared.path, &error))
}

/// A key's value and version.
pub(super) async fn entry(shared: &Arc<Shared>, key: &str) -> Result<Option<(Bytes, u64)>, Error> {
    let found = read(shared, |snapshot| find(snapshot, key, INLINE_READ))?;
    match found {
        None => Ok(None),
        Some(Found::Value(value, version)) => Ok(Some((value, version))),
        Some(Found::Large) => {
            let (shared, key) = (shared.clone(), key.to_owned());
            let found = blocking(move || read(&shared, |snapshot| find(snapshot, &key, usize::MAX))).await?;
            Ok(found.and_then(|found| match found {
                Found::Value(value, version) => Some((value, version)),
                Found::Large => None,
            }))
        }
    }
}

fn find(snapshot: &Snapshot, key: &str, largest: usize) -> Result<Option<Found>, StorageError> {
    let Some(guard) = snapshot.entries.get(key)? else { return Ok(None) };
    let Some((header, value)) = Header::parse(guard.value()).filter(|(header, _)| header.live()) else {
        return Ok(None);
    };
    match value {
        Value::Inline(value) => Ok(Some(Found::Value(Bytes::copy_from_slice(value), header.version))),
        Value::Apart(length) if length > largest => Ok(Some(Found::Large)),
        Value::Apart(_) => {
            let value = snapshot.values.get(header.version)?;
            let missing = || StorageError::Corrupted("a value is missing".to_owned());
            let value = value.ok_or_else(missing)?;
            Ok(Some(Found::Value(Bytes::copy_from_slice(value.value()), header.version)))
        }
    }
}

/// Whether a key exists.
pub(super) fn exists(shared: &Shared, key: &str) -> Result<bool, Error> {
    read(shared, |snapshot| {
        let guard = snapshot.entries.get(key)?;
        Ok(guard.is_some_and(|guard| Header::parse(guard.value()).is_some_and(|(header, _)| header.live())))
    })
}

/// A page of keys.
pub(super) async fn keys(shared: Arc<Shared>, prefix: String, after: Option<String>) -> Result<Page, Error> {
    blocking(move || read(&shared, |snapshot| page(snapshot, &prefix, after.as_deref()))).await
}

fn page(snapshot: &Snapshot, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
    let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
    let (mut page, mut bytes) = (Page::default(), 0);
    for item in snapshot.entries.range::<&str>((start, Bound::Unbounded))? {
        let (key, value) = item?;
        let key = key.value();
        if !key.starts_with(prefix) {
            break;
        }
        if page.keys.len() == PAGE || (bytes + key.len() > PAGE_BYTES && !page.keys.is_empty()) {
            page.cursor = page.keys.last().map(|key| cursor_after(key));
            break;
        }
        if Header::parse(value.value()).is_some_and(|(header, _)| header.live()) {
            bytes += key.len();
            page.keys.push(key.to_owned());
        }
    }
    Ok(page)
}

async fn blocking<T: Send + 'static>(run: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let result = tokio::task::spawn_blocking(run).await;
    result.map_err(|_| Error::Unavailable("the host is shutting down".to_owned()))?
}
