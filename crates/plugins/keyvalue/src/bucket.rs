//! What guests hold: buckets, whose handle carries the store, and compare-and-swap operations.
//!
//! Takes the stores that a component was granted; gives handles to those and to no other. A handle that a sibling passes goes on to
//! work, because the store is in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::{HasData, Resource, ResourceTable};
use wharf::limits::LimitTracker;
use wharf::{Scope, View};
use wharf_stores::{Held, InFlight};

use crate::backend::{self, Entry, Page, Store};

/// The most positions of a listing that a bucket remembers.
const MAX_POSITIONS: usize = 64;

/// The stores of one component, by the name that the guest opens.
pub(crate) struct Granted(pub(crate) BTreeMap<String, Arc<dyn Store>>);

/// An open bucket.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Bucket {
    pub(crate) store: Arc<dyn Store>,
    /// Where pages of a listing start, by the number of keys before them, for `wasi:keyvalue@0.2.0-draft`, whose cursors are numbers.
    positions: Vec<(u64, String)>,
}

/// A compare-and-swap operation of `wasi:keyvalue@0.2.0-draft2`.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Cas {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) key: String,
    /// The entry that the key had, if there was one.
    pub(crate) seen: Option<Entry>,
}

/// The data of the bindings: the calling component's stores and handles.
pub(crate) struct Keyvalue<'a> {
    pub(crate) granted: &'a Granted,
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) tracker: &'a LimitTracker,
    pub(crate) in_flight: &'a InFlight,
}

impl HasData for Keyvalue<'static> {
    type Data<'a> = Keyvalue<'a>;
}

impl View for Keyvalue<'static> {
    type Of = Self;
    fn view(scope: Scope<'_>) -> Keyvalue<'_> {
        Keyvalue {
            granted: scope.binding(),
            table: scope.table,
            tracker: scope.tracker,
            in_flight: InFlight::of(scope.state),
        }
    }
}

impl Keyvalue<'_> {
    /// Opens a bucket; `None` unless the component was granted a store of this name.
    pub(crate) fn open(&mut self, name: &str) -> wasmtime::Result<Option<Resource<Bucket>>> {
        let Some(store) = self.granted.0.get(name) else { return Ok(None) };
        Ok(Some(self.table.push(Bucket::new(store.clone()))?))
    }

    /// The store behind a handle.
    pub(crate) fn store(&self, bucket: &Resource<Bucket>) -> wasmtime::Result<Arc<dyn Store>> {
        Ok(self.table.get(bucket)?.store.clone())
    }

    /// The largest value that a guest can take, in bytes: its memory has to hold it.
    pub(crate) fn most(&self) -> u64 {
        self.tracker.limits().memory
    }
}

impl Keyvalue<'_> {
    /// Holds the bytes of a write while it is in progress.
    ///
    /// # Errors
    /// [`backend::Error::QuotaExceeded`] if all writes in progress exceed the guest's memory limit.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Held, backend::Error> {
        let most = self.most();
        self.in_flight.hold(bytes as u64, most).ok_or_else(|| {
            backend::Error::QuotaExceeded(format!("the writes in progress exceed the memory limit of {most} bytes"))
        })
    }
}

/// A value that a guest takes into its memory.
///
/// # Errors
/// [`backend::Error::QuotaExceeded`] if it cannot fit.
pub(crate) fn value_for_guest(value: &[u8], most: u64) -> Result<Vec<u8>, backend::Error> {
    if value.len() as u64 > most {
        let message = format!("the value has {} bytes, more than the memory limit of {most}", value.len());
        return Err(backend::Error::QuotaExceeded(message));
    }
    Ok(value.to_vec())
}

/// The keys whose values are read at once.
const BATCH: usize = 16;

/// The values of several keys, for a guest that takes them into its memory at once.
///
/// # Errors
/// [`backend::Error::QuotaExceeded`] if they cannot fit.
pub(crate) async fn get_many(
    store: &dyn Store,
    keys: &[String],
    most: u64,
) -> Result<Vec<Option<Vec<u8>>>, backend::Error> {
    let (mut values, mut bytes) = (Vec::with_capacity(keys.len()), 0);
    for keys in keys.chunks(BATCH) {
        for value in store.get_many(keys).await? {
            bytes += value.as_ref().map_or(0, |value| value.len() as u64);
            if bytes > most {
                let message = format!("the values have more than the memory limit of {most} bytes");
                return Err(backend::Error::QuotaExceeded(message));
            }
            values.push(value.map(|value| value.to_vec()));
        }
    }
    Ok(values)
}

impl Bucket {
    /// A bucket of a store.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, positions: Vec::new() }
    }

    /// The memory behind the handle, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.positions.iter().map(|(_, cursor)| cursor.len() + size_of::<(u64, String)>()).sum()
    }

    /// Where the page after `skip` keys starts, as far as the bucket remembers it: a position at or before it.
    pub(crate) fn position(&self, skip: u64) -> (u64, Option<String>) {
        let before = self.positions.iter().filter(|(at, _)| *at <= skip).max_by_key(|(at, _)| *at);
        before.map_or((0, None), |(at, cursor)| (*at, Some(cursor.clone())))
    }

    /// Remembers where a page starts.
    pub(crate) fn remember(&mut self, at: u64, cursor: String) {
        if self.positions.len() == MAX_POSITIONS {
            self.positions.remove(0);
        }
        self.positions.push((at, cursor));
    }
}

impl Cas {
    /// The memory behind the handle, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.key.len() + self.seen.as_ref().map_or(0, |entry| entry.value.len() + entry.version.len())
    }
}

/// The page after `skip` keys, with the number of keys before the next one and where that starts; walks from a known position.
pub(crate) async fn page_after(
    store: &dyn Store,
    skip: u64,
    from: (u64, Option<String>),
) -> Result<(Page, u64), backend::Error> {
    let (mut at, mut cursor) = from;
    loop {
        let mut page = store.keys("", cursor.as_deref()).await?;
        let count = page.keys.len() as u64;
        if at + count > skip || page.cursor.is_none() {
            // A number that no page ended at is within one.
            let within = usize::try_from(skip.saturating_sub(at)).unwrap_or(usize::MAX).min(page.keys.len());
            page.keys.drain(..within);
            return Ok((page, at + count));
        }
        (at, cursor) = (at + count, page.cursor);
    }
}
