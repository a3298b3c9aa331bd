//! The tables of a store in a file, and what each operation does to them.
//!
//! Takes operations, within a transaction; gives their results and the changes for watchers. Commits nothing itself.
//!
//! An entry is 16 bytes (version, expiry in Unix milliseconds or 0), a byte that says where the value is, and the
//! value. A value above [`INLINE`] is in a table of its own, under its version, so that listing keys does not read it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redb::{ReadableTable as _, StorageError, Table, TableDefinition, WriteTransaction};

use super::super::limits::{self, clamp_ttl};
use super::super::{Change, Condition, Entry, Error, Swapped};

pub(super) const ENTRIES: TableDefinition<&str, &[u8]> = TableDefinition::new("entries");
pub(super) const VALUES: TableDefinition<u64, &[u8]> = TableDefinition::new("values");
const EXPIRING: TableDefinition<(u64, &str), ()> = TableDefinition::new("expiring");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// The largest value, in bytes, that is beside its key.
const INLINE: usize = 1024;
/// The most operations in a transaction.
pub(super) const MAX_OPS: usize = 1024;
/// The most bytes of keys and values in a transaction, unless one operation has more.
pub(super) const MAX_OP_BYTES: usize = 16 * 1024 * 1024;
/// What an entry counts beside its key and value.
const OVERHEAD: u64 = 64;
/// How many expired entries a transaction removes.
const SWEEP_BATCH: usize = 1000;
/// A store that opens skips this many versions. Writes that were not synced before a crash had some of them.
const VERSION_GAP: u64 = 1 << 32;

const HEADER: usize = 17;
const BESIDE: u8 = 0;
const APART: u8 = 1;

/// What is known of an entry without its value.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) version: u64,
    expires: u64,
}

/// Where a value is.
pub(super) enum Value<'a> {
    /// Beside its key.
    Inline(&'a [u8]),
    /// In the table of values; its length.
    Apart(usize),
}

impl Value<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Inline(value) => value.len(),
            Self::Apart(length) => *length,
        }
    }
}

impl Header {
    /// Reads an entry. `None` if it is malformed.
    pub(super) fn parse(entry: &[u8]) -> Option<(Self, Value<'_>)> {
        let (version, rest) = entry.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (place, rest) = rest.split_first()?;
        let header = Self { version: u64::from_le_bytes(*version), expires: u64::from_le_bytes(*expires) };
        let value = match *place {
            BESIDE => Value::Inline(rest),
            _ => Value::Apart(usize::try_from(u64::from_le_bytes(*rest.first_chunk()?)).ok()?),
        };
        Some((header, value))
    }

    /// Whether the entry has not expired.
    pub(super) fn live(self) -> bool {
        self.expires == 0 || self.expires > now()
    }
}

/// The time, in Unix milliseconds.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// When an entry with a time to live expires.
pub(super) fn expiry(ttl: Duration) -> u64 {
    now().saturating_add(u64::try_from(clamp_ttl(ttl).as_millis()).unwrap_or(u64::MAX)).max(1)
}

/// A write.
pub(super) enum Op {
    /// Writes an entry that expires at a time, if that is not 0.
    Set { key: String, value: Bytes, expires: u64, if_absent: bool },
    /// Writes entries.
    SetMany(Vec<(String, Bytes)>),
    /// Deletes entries.
    Delete(Vec<String>),
    /// Adds to a number.
    Increment { key: String, delta: i64 },
    /// Writes an entry under conditions.
    Swap { key: String, value: Bytes, condition: Condition },
}

/// The result of a write.
pub(super) enum Done {
    /// The entries are written or deleted.
    Written,
    /// The sum.
    Number(i64),
    /// The outcome of a swap.
    Swapped(Swapped),
}

impl Op {
    /// The size of its keys and values.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Set { key, value, .. } | Self::Swap { key, value, .. } => key.len() + value.len(),
            Self::SetMany(entries) => entries.iter().map(|(key, value)| key.len() + value.len()).sum(),
            Self::Delete(keys) => keys.iter().map(String::len).sum(),
            Self::Increment { key, .. } => key.len(),
        }
    }

    /// Whether the store may need more space for it.
    pub(super) fn grows(&self) -> bool {
        !matches!(self, Self::Delete(_))
    }
}

/// Entries in groups of which each fits into a transaction.
pub(super) fn split(entries: Vec<(String, Bytes)>) -> Vec<Op> {
    let (mut ops, mut group, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (key, value) in entries {
        let size = key.len() + value.len();
        if !group.is_empty() && (group.len() == MAX_OPS || bytes + size > MAX_OP_BYTES) {
            ops.push(Op::SetMany(std::mem::take(&mut group)));
            bytes = 0;
        }
        bytes += size;
        group.push((key, value));
    }
    if !group.is_empty() {
        ops.push(Op::SetMany(group));
    }
    ops
}

/// A failure within a transaction.
pub(super) enum Failure {
    /// The operation is rejected; the others of the transaction go on.
    Rejected(Error),
    /// The transaction is lost.
    Storage(StorageError),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Rejected(error)
    }
}

/// The tables, open for writing.
pub(super) struct Tables<'t> {
    entries: Table<'t, &'static str, &'static [u8]>,
    values: Table<'t, u64, &'static [u8]>,
    expiring: Table<'t, (u64, &'static str), ()>,
    meta: Table<'t, &'static str, u64>,
    version: u64,
    used: u64,
    max_bytes: u64,
    changes: Option<Vec<Change>>,
}

impl<'t> Tables<'t> {
    /// Opens the tables; creates those that are missing.
    pub(super) fn open(transaction: &'t WriteTransaction, max_bytes: u64, watched: bool) -> Result<Self, redb::Error> {
        let meta = transaction.open_table(META)?;
        let number = |key| Ok::<u64, StorageError>(meta.get(key)?.map_or(0, |guard| guard.value()));
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            values: transaction.open_table(VALUES)?,
            expiring: transaction.open_table(EXPIRING)?,
            version: number("version")?,
            used: number("used")?,
            max_bytes,
            changes: watched.then(Vec::new),
            meta,
        })
    }

    /// Skips the versions that writes before a crash may have had.
    pub(super) fn skip_versions(&mut self) {
        self.version = self.version.saturating_add(VERSION_GAP);
    }

    /// Records the counters. Returns the changes for watchers.
    pub(super) fn finish(mut self) -> Result<Vec<Change>, StorageError> {
        self.meta.insert("version", self.version)?;
        self.meta.insert("used", self.used)?;
        Ok(self.changes.unwrap_or_default())
    }

    /// Does a write.
    pub(super) fn apply(&mut self, op: &Op) -> Result<Done, Failure> {
        match op {
            Op::Set { key, value, expires, if_absent } => {
                if *if_absent && self.header(key)?.is_some_and(|(header, _)| header.live()) {
                    return Err(Error::PreconditionFailed.into());
                }
                self.set(key, value, *expires)?;
                Ok(Done::Written)
            }
            Op::SetMany(entries) => {
                entries.iter().try_for_each(|(key, value)| self.set(key, value, 0))?;
                Ok(Done::Written)
            }
            Op::Delete(keys) => {
                keys.iter().try_for_each(|key| self.remove(key))?;
                Ok(Done::Written)
            }
            Op::Increment { key, delta } => {
                let current = self.entry(key)?;
                let expires = current.as_ref().map_or(0, |(header, _)| header.expires);
                let sum = limits::add(current.as_ref().map(|(_, value)| &value[..]), *delta)?;
                self.set(key, &Bytes::from(sum.to_string()), expires)?;
                Ok(Done::Number(sum))
            }
            Op::Swap { key, value, condition } => {
                let entry = self.entry(key)?;
                let entry = entry.map(|(header, value)| Entry { value, version: header.version.to_string() });
                if !limits::holds(condition, entry.as_ref()) {
                    return Ok(Done::Swapped(Swapped::Stale(entry)));
                }
                self.set(key, value, 0)?;
                Ok(Done::Swapped(Swapped::Yes))
            }
        }
    }

    /// An entry's header and the size that it counts, also of one that has expired.
    fn header(&self, key: &str) -> Result<Option<(Header, u64)>, StorageError> {
        let guard = self.entries.get(key)?;
        let parsed = guard.as_ref().and_then(|guard| Header::parse(guard.value()));
        Ok(parsed.map(|(header, value)| (header, size(key, value.len()))))
    }

    fn entry(&self, key: &str) -> Result<Option<(Header, Bytes)>, StorageError> {
        let Some(guard) = self.entries.get(key)? else { return Ok(None) };
        let Some((header, value)) = Header::parse(guard.value()).filter(|(header, _)| header.live()) else {
            return Ok(None);
        };
        let value = match value {
            Value::Inline(value) => Bytes::copy_from_slice(value),
            Value::Apart(_) => {
                self.values.get(header.version)?.map_or_else(Bytes::new, |v| Bytes::copy_from_slice(v.value()))
            }
        };
        Ok(Some((header, value)))
    }

    fn set(&mut self, key: &str, value: &Bytes, expires: u64) -> Result<(), Failure> {
        let old = self.header(key)?;
        let (before, after) = (old.map_or(0, |(_, size)| size), size(key, value.len()));
        let used = self.used.saturating_sub(before).saturating_add(after);
        if after > before && used > self.max_bytes {
            return Err(
                Error::QuotaExceeded(format!("the store is full: its limit is {} bytes", self.max_bytes)).into()
            );
        }
        if let Some((old, _)) = old {
            self.forget(key, old)?;
        }
        self.version += 1;
        let (place, length) = if value.len() > INLINE { (APART, 8) } else { (BESIDE, value.len()) };
        let mut guard = self.entries.insert_reserve(key, HEADER + length)?;
        let (entry, body) = guard.as_mut().split_at_mut(HEADER);
        entry[..8].copy_from_slice(&self.version.to_le_bytes());
        entry[8..16].copy_from_slice(&expires.to_le_bytes());
        entry[16] = place;
        if place == APART {
            body.copy_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            body.copy_from_slice(value);
        }
        drop(guard);
        if place == APART {
            self.values.insert(self.version, &value[..])?;
        }
        if expires > 0 {
            self.expiring.insert((expires, key), ())?;
        }
        self.used = used;
        if let Some(changes) = &mut self.changes {
            changes.push(Change::Set { key: key.to_owned(), value: value.clone() });
        }
        Ok(())
    }

    /// Removes what belongs to an entry beside it.
    fn forget(&mut self, key: &str, header: Header) -> Result<(), StorageError> {
        if header.expires > 0 {
            self.expiring.remove((header.expires, key))?;
        }
        self.values.remove(header.version)?;
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<(), Failure> {
        let Some((header, size)) = self.header(key)? else { return Ok(()) };
        self.forget(key, header)?;
        self.entries.remove(key)?;
        self.used = self.used.saturating_sub(size);
        if let Some(changes) = &mut self.changes {
            changes.push(Change::Deleted { key: key.to_owned() });
        }
        Ok(())
    }

    /// Removes what has expired, up to a number of entries. Returns when the next entry expires.
    pub(super) fn sweep(&mut self) -> Result<Option<u64>, Failure> {
        let now = now();
        let mut due = Vec::new();
        for item in self.expiring.range(..=(now, ""))?.take(SWEEP_BATCH) {
            due.push(item?.0.value().1.to_owned());
        }
        for key in due {
            self.remove(&key)?;
        }
        Ok(self.next_expiry()?)
    }

    /// When the next entry expires.
    pub(super) fn next_expiry(&self) -> Result<Option<u64>, StorageError> {
        Ok(self.expiring.first()?.map(|(key, _)| key.value().0))
    }
}

fn size(key: &str, value: usize) -> u64 {
    OVERHEAD.saturating_add(key.len() as u64).saturating_add(value as u64)
}
