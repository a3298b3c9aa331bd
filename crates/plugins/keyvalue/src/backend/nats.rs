//! A store in a key-value bucket of NATS `JetStream`.
//!
//! Takes a URL and a bucket's name; gives a [`Store`] whose keys are the bucket's, except for those that NATS does not
//! allow ([`escape`]). Connects when it is first used, and creates the bucket if there is none and it may. Versions are
//! the bucket's revisions, so that a write by any other client changes them too. Never waits longer than the time-out.
//!
//! What NATS limits more than this store's trait:
//!
//! - a key to about 3,000 bytes, escaped, and a value to the server's `max_payload`, which is 1 MiB unless set;
//! - entries that expire to servers from 2.11 on, to whole seconds, and to buckets that allow them and keep a history
//!   of 1, as those do that this backend creates there unless `history` is set;
//! - a deleted key leaves a marker in the bucket for good. The bucket counts it, and listing skips it.
//!
//! A key is listed twice if it is written during the listing, and keys that another client wrote and that no key of
//! this store is written as (`a=b`, say) are not listed. A write whose time-out passed may still happen.

mod bucket;
mod escape;
mod link;
mod list;
mod watch;

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use self::bucket::{Found, Publish};
use self::link::Link;
use super::limits::{self, check_entries, check_key, check_keys, check_value};
use super::{Change, Condition, Entry, Error, Page, SetOptions, Store, Swapped};

/// How long an operation may take when the configuration does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an operation reads and writes again when another writer comes between.
const MAX_ATTEMPTS: usize = 200;
/// How many operations on several keys are in progress at once.
const CONCURRENCY: usize = 32;
/// How many locks keep the increments of this process from disturbing each other.
const LOCKS: usize = 64;

/// The settings of a [`Nats`].
#[derive(Clone, PartialEq, Eq)]
pub struct NatsConfig {
    /// `nats://user:password@host:port`, `nats://token@host:port`, or `tls://` for TLS. A secret.
    pub url: Zeroizing<String>,
    /// The text of a credentials file, with a JWT and its key. A secret.
    pub credentials: Option<Zeroizing<String>>,
    /// The bucket: letters, digits, `-` and `_`.
    pub bucket: String,
    /// Whether to create the bucket if there is none. It is unless set.
    pub create: bool,
    /// How many revisions of a key a new bucket keeps. 1 unless set; this store reads the last one only.
    pub history: u8,
    /// How many servers of a cluster a new bucket is on. 1 unless set.
    pub replicas: u8,
    /// How long an operation may take. 5 seconds unless set.
    pub timeout: Duration,
}

impl NatsConfig {
    /// The default settings for a bucket.
    pub fn new(url: impl Into<String>, bucket: impl Into<String>) -> Self {
        Self {
            url: Zeroizing::new(url.into()),
            credentials: None,
            bucket: bucket.into(),
            create: true,
            history: 1,
            replicas: 1,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsConfig")
            .field("bucket", &self.bucket)
            .field("create", &self.create)
            .field("history", &self.history)
            .field("replicas", &self.replicas)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A store in a bucket of NATS.
pub struct Nats {
    link: Arc<Link>,
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Nats {
    /// A store, not connected yet. [`Error::InvalidArgument`] if a setting makes no sense.
    pub fn new(config: NatsConfig) -> Result<Self, Error> {
        let link = Arc::new(Link::new(config)?);
        Ok(Self { link, locks: (0..LOCKS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() })
    }

    async fn read(&self, key: &str) -> Result<Found, Error> {
        let name = bucket::name(key)?;
        self.link.within(async |bucket| bucket.read(&name).await).await
    }

    /// Reads a key and writes what `decide` returns, until no other writer comes between.
    async fn update<T: Send>(
        &self,
        key: &str,
        decide: impl Fn(&Found) -> Result<(Option<Publish>, T), Error> + Send + Sync,
    ) -> Result<T, Error> {
        let name = bucket::name(key)?;
        self.link
            .within(async |bucket| {
                for _ in 0..MAX_ATTEMPTS {
                    let found = bucket.read(&name).await?;
                    let (publish, result) = decide(&found)?;
                    let Some(publish) = publish else { return Ok(result) };
                    if bucket.publish(&name, publish, Some(found.revision)).await? {
                        return Ok(result);
                    }
                }
                Err(Error::Unavailable(format!("other writers changed the key {MAX_ATTEMPTS} times meanwhile")))
            })
            .await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), Error> {
        let name = bucket::name(key)?;
        let publish = Publish { value: Some(value), ttl: None };
        self.link.within(async |bucket| bucket.publish(&name, publish.clone(), None).await.map(drop)).await
    }

    async fn remove(&self, key: &str) -> Result<(), Error> {
        let name = bucket::name(key)?;
        self.link
            .within(async |bucket| {
                // A key that does not exist gets no marker.
                if bucket.read(&name).await?.value.is_none() {
                    return Ok(());
                }
                bucket.publish(&name, Publish { value: None, ttl: None }, None).await.map(drop)
            })
            .await
    }
}

#[async_trait]
impl Store for Nats {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        check_key(key)?;
        Ok(self.read(key).await?.value)
    }

    async fn set(&self, key: &str, value: Bytes, options: SetOptions) -> Result<(), Error> {
        check_key(key)?;
        check_value(&value)?;
        if options.ttl.is_none() && !options.if_absent {
            return self.put(key, value).await;
        }
        let publish = Publish { value: Some(value), ttl: options.ttl.map(limits::clamp_ttl) };
        if options.if_absent {
            let decide = |found: &Found| match found.value {
                Some(_) => Err(Error::PreconditionFailed),
                None => Ok((Some(publish.clone()), ())),
            };
            return self.update(key, decide).await;
        }
        let name = bucket::name(key)?;
        self.link.within(async |bucket| bucket.publish(&name, publish.clone(), None).await.map(drop)).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        check_key(key)?;
        self.remove(key).await
    }

    async fn exists(&self, key: &str) -> Result<bool, Error> {
        check_key(key)?;
        Ok(self.read(key).await?.value.is_some())
    }

    async fn keys(&self, prefix: &str, cursor: Option<&str>) -> Result<Page, Error> {
        check_key(prefix)?;
        let after = cursor.map_or(Ok(0), |cursor| cursor.parse().map_err(|_| limits::invalid_cursor()))?;
        self.link.within(async |bucket| list::page(bucket, prefix, after).await).await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        check_key(key)?;
        let lock = usize::try_from(self.hasher.hash_one(key) % LOCKS as u64).unwrap_or(0);
        let decide = |found: &Found| {
            let sum = limits::add(found.value.as_deref(), delta)?;
            Ok((Some(Publish { value: Some(Bytes::from(sum.to_string())), ttl: found.ttl }), sum))
        };
        let increment = async {
            let _lock = self.locks[lock].lock().await;
            self.update(key, decide).await
        };
        tokio::time::timeout(self.link.timeout(), increment).await.unwrap_or(Err(Error::Timeout))
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, Error> {
        check_keys(keys)?;
        let reads: Vec<_> = keys.iter().map(|key| self.get(key)).collect();
        futures_util::stream::iter(reads).buffered(CONCURRENCY).try_collect().await
    }

    async fn set_many(&self, entries: Vec<(String, Bytes)>) -> Result<(), Error> {
        check_entries(&entries)?;
        // Of several entries of one key, only the last is written: the writes are concurrent.
        let last: std::collections::HashMap<String, Bytes> = entries.into_iter().collect();
        let writes: Vec<_> = last.iter().map(|(key, value)| self.put(key, value.clone())).collect();
        futures_util::stream::iter(writes).buffer_unordered(CONCURRENCY).try_collect().await
    }

    async fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        check_keys(keys)?;
        let deletes: Vec<_> = keys.iter().map(|key| self.remove(key)).collect();
        futures_util::stream::iter(deletes).buffer_unordered(CONCURRENCY).try_collect().await
    }

    async fn entry(&self, key: &str) -> Result<Option<Entry>, Error> {
        check_key(key)?;
        Ok(self.read(key).await?.entry())
    }

    async fn swap(&self, key: &str, value: Bytes, condition: Condition) -> Result<Swapped, Error> {
        check_key(key)?;
        check_value(&value)?;
        if condition == Condition::default() {
            return self.put(key, value).await.map(|()| Swapped::Yes);
        }
        let decide = |found: &Found| {
            let entry = found.entry();
            if limits::holds(&condition, entry.as_ref()) {
                Ok((Some(Publish { value: Some(value.clone()), ttl: None }), Swapped::Yes))
            } else {
                Ok((None, Swapped::Stale(entry)))
            }
        };
        self.update(key, decide).await
    }

    async fn watch(&self) -> Result<BoxStream<'static, Change>, Error> {
        watch::watch(&self.link).await
    }

    async fn health(&self) -> Result<(), String> {
        let ask = self.link.within(async |bucket| bucket.check().await);
        match tokio::time::timeout(super::HEALTH_TIMEOUT, ask).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(Error::Timeout.to_string()),
        }
    }

    async fn close(&self) {
        self.link.close().await;
    }
}

#[cfg(test)]
mod tests;
