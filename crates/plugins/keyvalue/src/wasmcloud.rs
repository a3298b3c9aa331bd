//! `wasmcloud:keyvalue`: asynchronous functions, several of which may be in progress in one instance.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Result;
use wasmtime::component::{Accessor, Resource};
use wharf_stores::Held;

use crate::backend::{self, Condition, Entry, SetOptions, Store, Swapped};
use crate::bindings::wasmcloud::wasmcloud::keyvalue::{atomics, batch, cas, store, types};
use crate::bucket::{Bucket, Keyvalue, get_many, value_for_guest};
use types::Error;

type Outcome<T> = Result<std::result::Result<T, Error>>;

impl From<backend::Error> for Error {
    fn from(error: backend::Error) -> Self {
        match error {
            backend::Error::InvalidArgument(_) => Self::InvalidArgument,
            backend::Error::PreconditionFailed => Self::PreconditionFailed,
            backend::Error::Timeout => Self::Timeout,
            backend::Error::Unavailable(_) => Self::StoreUnavailable,
            backend::Error::QuotaExceeded(_) => Self::QuotaExceeded,
            backend::Error::Other(text) => Self::Other(text),
        }
    }
}

type View = Keyvalue<'static>;

/// The store behind a handle, and the largest value that the guest can take.
fn open<T>(accessor: &Accessor<T, View>, bucket: &Resource<Bucket>) -> Result<(Arc<dyn Store>, u64)> {
    accessor.with(|mut access| {
        let view = access.get();
        Ok((view.store(bucket)?, view.most()))
    })
}

/// The store behind a handle, and the right to hold `bytes` of arguments while an operation is in progress.
fn open_with<T>(
    accessor: &Accessor<T, View>,
    bucket: &Resource<Bucket>,
    bytes: usize,
) -> Result<std::result::Result<(Arc<dyn Store>, Held), Error>> {
    accessor.with(|mut access| {
        let view = access.get();
        let store = view.store(bucket)?;
        Ok(view.hold(bytes).map(|held| (store, held)).map_err(Into::into))
    })
}

impl types::Host for Keyvalue<'_> {}
impl store::Host for Keyvalue<'_> {}
impl atomics::Host for Keyvalue<'_> {}
impl cas::Host for Keyvalue<'_> {}
impl batch::Host for Keyvalue<'_> {}
impl types::HostBucket for Keyvalue<'_> {}

impl<T: Send> store::HostWithStore<T> for View {
    async fn open(accessor: &Accessor<T, Self>, identifier: String) -> Outcome<Resource<Bucket>> {
        let opened = accessor.with(|mut access| access.get().open(&identifier))?;
        Ok(opened.ok_or(Error::NoSuchStore))
    }
}

impl<T: Send> types::HostBucketWithStore<T> for View {
    async fn get(accessor: &Accessor<T, Self>, bucket: Resource<Bucket>, key: String) -> Outcome<Option<Vec<u8>>> {
        let (store, most) = open(accessor, &bucket)?;
        let value = store.get(&key).await;
        Ok(value.and_then(|value| value.map(|value| value_for_guest(&value, most)).transpose()).map_err(Into::into))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
        options: Option<types::SetOptions>,
    ) -> Outcome<()> {
        let (store, _held) = match open_with(accessor, &bucket, key.len() + value.len())? {
            Ok(open) => open,
            Err(error) => return Ok(Err(error)),
        };
        let options = options.map_or_else(SetOptions::default, |options| SetOptions {
            ttl: options.ttl_ms.map(Duration::from_millis),
            if_absent: options.if_not_exists,
        });
        Ok(store.set(&key, value.into(), options).await.map_err(Into::into))
    }

    async fn delete(accessor: &Accessor<T, Self>, bucket: Resource<Bucket>, key: String) -> Outcome<()> {
        let (store, _) = open(accessor, &bucket)?;
        Ok(store.delete(&key).await.map_err(Into::into))
    }

    async fn exists(accessor: &Accessor<T, Self>, bucket: Resource<Bucket>, key: String) -> Outcome<bool> {
        let (store, _) = open(accessor, &bucket)?;
        Ok(store.exists(&key).await.map_err(Into::into))
    }

    async fn list_keys(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        prefix: Option<String>,
        cursor: Option<String>,
    ) -> Outcome<types::KeyResponse> {
        let (store, _) = open(accessor, &bucket)?;
        let page = store.keys(prefix.as_deref().unwrap_or_default(), cursor.as_deref()).await;
        Ok(page.map(|page| types::KeyResponse { keys: page.keys, cursor: page.cursor }).map_err(Into::into))
    }

    async fn drop(accessor: &Accessor<T, Self>, bucket: Resource<Bucket>) -> Result<()> {
        accessor.with(|mut access| access.get().table.delete(bucket))?;
        Ok(())
    }
}

impl<T: Send> atomics::HostWithStore<T> for View {
    async fn increment(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Outcome<i64> {
        let (store, _) = open(accessor, &bucket)?;
        Ok(store.increment(&key, delta).await.map_err(Into::into))
    }
}

/// An entry that a guest takes into its memory.
fn entry_for_guest(entry: &Entry, most: u64) -> std::result::Result<cas::Entry, backend::Error> {
    Ok(cas::Entry { value: value_for_guest(&entry.value, most)?, version: entry.version.clone() })
}

impl<T: Send> cas::HostWithStore<T> for View {
    async fn current(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Outcome<Option<cas::Entry>> {
        let (store, most) = open(accessor, &bucket)?;
        let entry = store.entry(&key).await;
        Ok(entry.and_then(|entry| entry.map(|entry| entry_for_guest(&entry, most)).transpose()).map_err(Into::into))
    }

    async fn swap(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
        options: cas::CasOptions,
    ) -> Outcome<cas::CasResult> {
        let (_, most) = open(accessor, &bucket)?;
        let cas::CasOptions { require_version, require_value } = options;
        let bytes = value.len() + require_value.as_ref().map_or(0, Vec::len);
        let (store, _held) = match open_with(accessor, &bucket, bytes)? {
            Ok(open) => open,
            Err(error) => return Ok(Err(error)),
        };
        if require_version.is_none() && require_value.is_none() {
            return Ok(Err(Error::InvalidArgument));
        }
        let condition = Condition { absent: false, version: require_version, value: require_value.map(Into::into) };
        Ok(match store.swap(&key, value.into(), condition).await {
            Ok(Swapped::Yes) => Ok(cas::CasResult::Swapped),
            Ok(Swapped::Stale(entry)) => entry
                .map(|entry| entry_for_guest(&entry, most))
                .transpose()
                .map(cas::CasResult::Stale)
                .map_err(Into::into),
            Err(error) => Err(error.into()),
        })
    }
}

impl<T: Send> batch::HostWithStore<T> for View {
    async fn get_many(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Outcome<Vec<Option<(String, Vec<u8>)>>> {
        let (_, most) = open(accessor, &bucket)?;
        let (store, _held) = match open_with(accessor, &bucket, keys.iter().map(String::len).sum())? {
            Ok(open) => open,
            Err(error) => return Ok(Err(error)),
        };
        let values = get_many(&*store, &keys, most).await;
        let pairs = |values: Vec<Option<Vec<u8>>>| {
            keys.into_iter().zip(values).map(|(key, value)| value.map(|value| (key, value))).collect()
        };
        Ok(values.map(pairs).map_err(Into::into))
    }

    async fn set_many(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Outcome<()> {
        let bytes = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        let (store, _held) = match open_with(accessor, &bucket, bytes)? {
            Ok(open) => open,
            Err(error) => return Ok(Err(error)),
        };
        let entries = entries.into_iter().map(|(key, value)| (key, value.into())).collect();
        Ok(store.set_many(entries).await.map_err(Into::into))
    }

    async fn delete_many(accessor: &Accessor<T, Self>, bucket: Resource<Bucket>, keys: Vec<String>) -> Outcome<()> {
        let (store, _held) = match open_with(accessor, &bucket, keys.iter().map(String::len).sum())? {
            Ok(open) => open,
            Err(error) => return Ok(Err(error)),
        };
        Ok(store.delete_many(&keys).await.map_err(Into::into))
    }
}
