//! `wasi:keyvalue`: both drafts, whose functions differ in a few types.

use wasmtime::Result;
use wasmtime::component::Resource;

use crate::backend::{self, Condition, SetOptions, Swapped};
use crate::bindings::{draft, draft2};
use crate::bucket::{Bucket, Cas, Keyvalue, get_many, page_after, value_for_guest};

/// The parts of both drafts that are the same to the letter.
macro_rules! common {
    ($draft:ident, $cursor:ty, $list:ident, $found:ident, $found_ty:ty) => {
        impl From<backend::Error> for $draft::wasi::keyvalue::store::Error {
            fn from(error: backend::Error) -> Self {
                Self::Other(error.to_string())
            }
        }

        impl $draft::wasi::keyvalue::store::Host for Keyvalue<'_> {
            async fn open(
                &mut self,
                identifier: String,
            ) -> Result<std::result::Result<Resource<Bucket>, $draft::wasi::keyvalue::store::Error>> {
                let opened = Keyvalue::open(self, &identifier)?;
                Ok(opened.ok_or($draft::wasi::keyvalue::store::Error::NoSuchStore))
            }
        }

        impl $draft::wasi::keyvalue::store::HostBucket for Keyvalue<'_> {
            async fn get(
                &mut self,
                bucket: Resource<Bucket>,
                key: String,
            ) -> Result<std::result::Result<Option<Vec<u8>>, $draft::wasi::keyvalue::store::Error>> {
                let value = self.store(&bucket)?.get(&key).await;
                let most = self.most();
                Ok(value
                    .and_then(|value| value.map(|value| value_for_guest(&value, most)).transpose())
                    .map_err(Into::into))
            }

            async fn set(
                &mut self,
                bucket: Resource<Bucket>,
                key: String,
                value: Vec<u8>,
            ) -> Result<std::result::Result<(), $draft::wasi::keyvalue::store::Error>> {
                let store = self.store(&bucket)?;
                Ok(store.set(&key, value.into(), SetOptions::default()).await.map_err(Into::into))
            }

            async fn delete(
                &mut self,
                bucket: Resource<Bucket>,
                key: String,
            ) -> Result<std::result::Result<(), $draft::wasi::keyvalue::store::Error>> {
                Ok(self.store(&bucket)?.delete(&key).await.map_err(Into::into))
            }

            async fn exists(
                &mut self,
                bucket: Resource<Bucket>,
                key: String,
            ) -> Result<std::result::Result<bool, $draft::wasi::keyvalue::store::Error>> {
                Ok(self.store(&bucket)?.exists(&key).await.map_err(Into::into))
            }

            async fn list_keys(
                &mut self,
                bucket: Resource<Bucket>,
                cursor: Option<$cursor>,
            ) -> Result<
                std::result::Result<$draft::wasi::keyvalue::store::KeyResponse, $draft::wasi::keyvalue::store::Error>,
            > {
                $list(self, &bucket, cursor).await
            }

            async fn drop(&mut self, bucket: Resource<Bucket>) -> Result<()> {
                self.table.delete(bucket)?;
                Ok(())
            }
        }

        impl $draft::wasi::keyvalue::batch::Host for Keyvalue<'_> {
            async fn get_many(
                &mut self,
                bucket: Resource<Bucket>,
                keys: Vec<String>,
            ) -> Result<std::result::Result<Vec<$found_ty>, $draft::wasi::keyvalue::store::Error>> {
                let values = get_many(&*self.store(&bucket)?, &keys, self.most()).await;
                Ok(values
                    .map(|values| keys.into_iter().zip(values).map(|(key, value)| $found(key, value)).collect())
                    .map_err(Into::into))
            }

            async fn set_many(
                &mut self,
                bucket: Resource<Bucket>,
                entries: Vec<(String, Vec<u8>)>,
            ) -> Result<std::result::Result<(), $draft::wasi::keyvalue::store::Error>> {
                let entries = entries.into_iter().map(|(key, value)| (key, value.into())).collect();
                Ok(self.store(&bucket)?.set_many(entries).await.map_err(Into::into))
            }

            async fn delete_many(
                &mut self,
                bucket: Resource<Bucket>,
                keys: Vec<String>,
            ) -> Result<std::result::Result<(), $draft::wasi::keyvalue::store::Error>> {
                Ok(self.store(&bucket)?.delete_many(&keys).await.map_err(Into::into))
            }
        }
    };
}

common!(draft, u64, list_by_number, found, Option<(String, Vec<u8>)>);
common!(draft2, String, list_by_cursor, found_or_not, (String, Option<Vec<u8>>));

fn found(key: String, value: Option<Vec<u8>>) -> Option<(String, Vec<u8>)> {
    value.map(|value| (key, value))
}

fn found_or_not(key: String, value: Option<Vec<u8>>) -> (String, Option<Vec<u8>>) {
    (key, value)
}

/// A page by the number of keys before it, which is all that a cursor of the first draft can carry.
async fn list_by_number(
    view: &mut Keyvalue<'_>,
    bucket: &Resource<Bucket>,
    cursor: Option<u64>,
) -> Result<std::result::Result<draft::wasi::keyvalue::store::KeyResponse, draft::wasi::keyvalue::store::Error>> {
    let skip = cursor.unwrap_or_default();
    let open = view.table.get(bucket)?;
    let (store, from) = (open.store.clone(), open.position(skip));
    let (page, next) = match page_after(&*store, skip, from).await {
        Ok(found) => found,
        Err(error) => return Ok(Err(error.into())),
    };
    let cursor = page.cursor.is_some().then_some(next);
    if let Some(position) = page.cursor {
        view.table.get_mut(bucket)?.remember(next, position);
    }
    Ok(Ok(draft::wasi::keyvalue::store::KeyResponse { keys: page.keys, cursor }))
}

async fn list_by_cursor(
    view: &mut Keyvalue<'_>,
    bucket: &Resource<Bucket>,
    cursor: Option<String>,
) -> Result<std::result::Result<draft2::wasi::keyvalue::store::KeyResponse, draft2::wasi::keyvalue::store::Error>> {
    let page = view.store(bucket)?.keys("", cursor.as_deref()).await;
    Ok(page
        .map(|page| draft2::wasi::keyvalue::store::KeyResponse { keys: page.keys, cursor: page.cursor })
        .map_err(Into::into))
}

impl draft::wasi::keyvalue::atomics::Host for Keyvalue<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: u64,
    ) -> Result<std::result::Result<u64, draft::wasi::keyvalue::store::Error>> {
        let too_large = || draft::wasi::keyvalue::store::Error::Other("the number exceeds 64 bits".to_owned());
        let Ok(delta) = i64::try_from(delta) else { return Ok(Err(too_large())) };
        let sum = self.store(&bucket)?.increment(&key, delta).await;
        // Another generation of the interface, or another client, can make a number negative.
        Ok(sum.map_err(Into::into).and_then(|sum| u64::try_from(sum).map_err(|_| too_large())))
    }
}

impl draft2::wasi::keyvalue::atomics::Host for Keyvalue<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Result<std::result::Result<i64, draft2::wasi::keyvalue::store::Error>> {
        Ok(self.store(&bucket)?.increment(&key, delta).await.map_err(Into::into))
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> Result<std::result::Result<(), draft2::wasi::keyvalue::atomics::CasError>> {
        use draft2::wasi::keyvalue::atomics::CasError;
        let Cas { store, key, seen } = self.table.delete(cas)?;
        let condition = Condition { absent: seen.is_none(), version: seen.map(|entry| entry.version), value: None };
        match store.swap(&key, value.into(), condition).await {
            Ok(Swapped::Yes) => Ok(Ok(())),
            Ok(Swapped::Stale(seen)) => {
                let retry = self.table.push(Cas { store, key, seen })?;
                Ok(Err(CasError::CasFailed(retry)))
            }
            Err(error) => Ok(Err(CasError::StoreError(error.into()))),
        }
    }
}

impl draft2::wasi::keyvalue::atomics::HostCas for Keyvalue<'_> {
    async fn new(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Result<std::result::Result<Resource<Cas>, draft2::wasi::keyvalue::store::Error>> {
        let store = self.store(&bucket)?;
        match store.entry(&key).await {
            Ok(seen) => Ok(Ok(self.table.push(Cas { store, key, seen })?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn current(
        &mut self,
        cas: Resource<Cas>,
    ) -> Result<std::result::Result<Option<Vec<u8>>, draft2::wasi::keyvalue::store::Error>> {
        let most = self.most();
        let seen = &self.table.get(&cas)?.seen;
        let value = seen.as_ref().map(|entry| value_for_guest(&entry.value, most)).transpose();
        Ok(value.map_err(Into::into))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}
