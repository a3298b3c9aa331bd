//! The file and the disk that it is on.
//!
//! Takes paths and errors of redb; gives databases and errors that name the file. Turns a panic over a corrupt file
//! into an error, and lets none out.

use std::fs::OpenOptions;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Database, DatabaseError, StorageError};

use super::super::Error;

/// Up to this size, a file is checked whole each time that it is opened, not only after a crash.
const CHECKED_SIZE: u64 = 64 * 1024 * 1024;
/// The space on the disk that a transaction needs beside its keys and values.
const TRANSACTION_SPACE: u64 = 256 * 1024;

/// Opens a file.
pub(super) fn open(path: &Path, cache: usize) -> Result<Database, Error> {
    let opened = guard(path, || {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let check = file.metadata().is_ok_and(|metadata| metadata.len() <= CHECKED_SIZE);
        let mut builder = Database::builder();
        builder.set_cache_size(cache).set_check_integrity_on_open(check);
        builder.create_with_backend(redb::backends::FileBackend::new(file)?)
    })?;
    opened.map_err(|error| open_error(path, &error))
}

/// Runs what reads or writes a file. A panic is an error.
pub(super) fn guard<T>(path: &Path, run: impl FnOnce() -> T) -> Result<T, Error> {
    // redb trusts a large file that was closed cleanly, and panics where a page of it makes no sense.
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| corrupt(path, "a page makes no sense"))
}

fn open_error(path: &Path, error: &DatabaseError) -> Error {
    let path_text = path.display();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Error::Unavailable(format!("another process has `{path_text}` open"))
        }
        DatabaseError::UpgradeRequired(version) => {
            Error::Other(format!("`{path_text}` has the format {version} of redb, which this version does not read"))
        }
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            corrupt(path, "it is not a store")
        }
        DatabaseError::Storage(error) => storage_error(path, error),
        other => Error::Unavailable(format!("cannot open `{path_text}`: {other}")),
    }
}

fn corrupt(path: &Path, reason: &str) -> Error {
    Error::Other(format!(
        "`{}` is corrupt: {reason}; restore a copy of it, or remove it to start empty",
        path.display()
    ))
}

/// An error of redb, with the file's name.
pub(super) fn storage_error(path: &Path, error: &StorageError) -> Error {
    match error {
        StorageError::Corrupted(reason) => corrupt(path, reason),
        StorageError::Io(error) if is_full(error) => full(path),
        StorageError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => corrupt(path, "its end is missing"),
        StorageError::PreviousIo | StorageError::DatabaseClosed => {
            Error::Unavailable(format!("`{}` is being opened anew", path.display()))
        }
        StorageError::Io(error) => Error::Unavailable(format!("cannot read or write `{}`: {error}", path.display())),
        other => Error::Other(format!("`{}`: {other}", path.display())),
    }
}

/// Any error of redb, with the file's name.
pub(super) fn any_error(path: &Path, error: redb::Error) -> Error {
    match error {
        redb::Error::Corrupted(reason) => corrupt(path, &reason),
        redb::Error::Io(error) => storage_error(path, &StorageError::Io(error)),
        redb::Error::PreviousIo => storage_error(path, &StorageError::PreviousIo),
        redb::Error::DatabaseClosed => storage_error(path, &StorageError::DatabaseClosed),
        other => Error::Other(format!("`{}`: {other}", path.display())),
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn full(path: &Path) -> Error {
    Error::QuotaExceeded(format!("no space is left on the disk for `{}`", path.display()))
}

/// Rejects a write for which the disk has no space.
///
/// A transaction that fails for lack of space costs opening the file anew, so this asks first. Another writer of the
/// disk may still take the space in between.
pub(super) fn check_space(path: &Path, bytes: u64) -> Result<(), Error> {
    // A value is written once, and with it the pages on the way to it.
    let needed = bytes.saturating_mul(2).saturating_add(TRANSACTION_SPACE);
    match rustix::fs::statvfs(path) {
        Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < needed => Err(full(path)),
        // A disk that does not say gets the benefit of the doubt.
        _ => Ok(()),
    }
}
