//! A blob store in a bucket of S3, or of a service that speaks its protocol.
//!
//! Takes a bucket that exists and a prefix; keeps each object under a key of its own. Never creates or deletes a
//! bucket: whether the container exists is known for the lifetime of the store only. Connects when it is used, and
//! again by itself; every step of an operation ends in bounded time.

mod http;
mod keys;
mod upload;

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};
use object_store::path::Path;
use object_store::{
    BackoffConfig, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore as _, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, PutPayload, Result as StoreResult, RetryConfig,
};
use tokio::sync::{Mutex, RwLock};
use url::Url;
use zeroize::Zeroizing;

use self::http::Connector;
use self::keys::{Key, Keys, Listed};
use self::upload::{PART, Upload};
use super::parts::Parts;
use super::{Body, Container, Error, HEALTH_TIMEOUT, ObjectInfo, check_name, check_range, clamp, cut, now_ns};

/// The default timeout of a request.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The slowest network that a transfer is given time for, in bytes per second.
const SLOWEST: u64 = 1024 * 1024;
/// How many timeouts the server has to put the parts of an object together.
const COMPLETION: u32 = 6;
/// The largest object that the server copies. It copies a larger one too slowly for a request's timeout.
const MAX_COPY: u64 = 64 * 1024 * 1024;
/// How many names a listing looks up at a time.
const LOOKUPS: usize = 8;

/// The settings of a store in S3.
#[derive(Clone)]
pub struct S3Config {
    /// The endpoint, such as `https://s3.eu-central-1.amazonaws.com`.
    pub url: String,
    /// The bucket. It must exist.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The access key's identity.
    pub access_key: String,
    /// The access key's secret.
    pub secret_key: Zeroizing<String>,
    /// What the keys of all objects begin with. Empty: the whole bucket is the store's.
    pub prefix: String,
    /// Whether the endpoint may be plain HTTP.
    pub allow_http: bool,
    /// The timeout of a request. A transfer has a second more for each mebibyte.
    pub timeout: Duration,
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let public = (&self.bucket, &self.region, &self.prefix, self.allow_http, self.timeout);
        f.debug_tuple("S3Config").field(&public).finish_non_exhaustive()
    }
}

/// A container in S3.
pub struct S3 {
    store: Arc<AmazonS3>,
    keys: Keys,
    timeout: Duration,
    /// Held for reading while a write completes, so that a removal finds its object.
    state: RwLock<State>,
    /// Held while the objects of a removed container are deleted.
    deletion: Mutex<()>,
}

struct State {
    created_ns: u64,
    /// Counts the containers so far, so that a writer notices that its container was replaced.
    generation: u64,
    exists: bool,
    /// Whether objects of a removed container may be left.
    is_dirty: bool,
}

/// The time that a transfer of this many bytes may take.
fn allowance(timeout: Duration, bytes: u64) -> Duration {
    timeout + Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST)
}

async fn bounded<T>(timeout: Duration, work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(timeout, work).await.map_err(|_| Error::Timeout)
}

/// The text between the tags of an element of an error's document.
fn code(text: &str) -> Option<&str> {
    let (code, _) = text.split_once("<Code>")?.1.split_once("</Code>")?;
    (code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(code)
}

/// The failure as the caller sees it. The library's text has the URL in it, so none of it is passed on.
fn failed(error: &object_store::Error) -> Error {
    let text = error.to_string();
    match (error, code(&text)) {
        (_, Some("NoSuchBucket")) => Error::Unavailable("the bucket does not exist".to_owned()),
        (_, Some(code @ ("QuotaExceeded" | "XMinioStorageFull" | "EntityTooLarge" | "InsufficientStorage"))) => {
            Error::QuotaExceeded(format!("the server answered `{code}`"))
        }
        (_, Some(code @ ("SlowDown" | "InternalError" | "ServiceUnavailable" | "RequestTimeout"))) => {
            Error::Unavailable(format!("the server answered `{code}`"))
        }
        (object_store::Error::NotFound { .. }, _) => Error::NoSuchObject,
        (object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }, code) => {
            Error::Unavailable(format!("the server rejects the access key (`{}`)", code.unwrap_or("Forbidden")))
        }
        (_, Some(code)) => Error::Other(format!("the server answered `{code}`")),
        (_, None) => transport(error),
    }
}

fn transport(error: &object_store::Error) -> Error {
    let mut source: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(inner) = source {
        match inner.downcast_ref::<HttpError>().map(HttpError::kind) {
            Some(HttpErrorKind::Timeout) => return Error::Timeout,
            Some(HttpErrorKind::Connect) => return Error::Unavailable("the server cannot be reached".to_owned()),
            Some(_) => return Error::Unavailable("the connection to the server broke".to_owned()),
            None => source = inner.source(),
        }
    }
    Error::Other("the server's answer makes no sense".to_owned())
}

fn info(meta: &ObjectMeta) -> ObjectInfo {
    let written = meta.last_modified.timestamp_nanos_opt().and_then(|ns| u64::try_from(ns).ok());
    ObjectInfo { created_ns: written.unwrap_or(0), size: meta.size }
}

impl S3 {
    /// A store in a bucket. It connects when it is first used.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the URL or the prefix makes no sense.
    pub fn open(config: S3Config) -> Result<Self, Error> {
        let invalid = |problem: &str| Error::InvalidArgument(format!("the URL of the S3 server {problem}"));
        let url = Url::parse(&config.url).map_err(|_| invalid("is not a URL"))?;
        match url.scheme() {
            "https" => (),
            "http" if config.allow_http => (),
            "http" => return Err(invalid("is plain HTTP, which `allow_http` does not allow")),
            _ => return Err(invalid("is neither `https` nor `http`")),
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(invalid("has more than a host, a port and a path"));
        }
        let keys = Keys::new(&config.prefix)?;
        let S3Config { bucket, region, access_key, secret_key, allow_http, timeout, .. } = config;
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_millis(500),
            ..BackoffConfig::default()
        };
        let store = AmazonS3Builder::new()
            .with_endpoint(config.url.trim_end_matches('/'))
            .with_bucket_name(bucket)
            .with_region(region)
            .with_access_key_id(access_key)
            .with_secret_access_key(secret_key.as_str())
            .with_allow_http(allow_http)
            // TLS protects the body already; over plain HTTP, the signature does.
            .with_unsigned_payload(url.scheme() == "https")
            .with_retry(RetryConfig { backoff, max_retries: 3, retry_timeout: timeout })
            .with_http_connector(Connector { timeout, allow_http });
        let store = store.build().map_err(|_| Error::InvalidArgument("the settings of S3 make no sense".to_owned()))?;
        let state = State { created_ns: now_ns(), generation: 0, exists: true, is_dirty: false };
        let (state, deletion) = (RwLock::new(state), Mutex::new(()));
        Ok(Self { store: Arc::new(store), keys, timeout, state, deletion })
    }

    /// The generation of the container, if it exists.
    async fn generation(&self) -> Result<u64, Error> {
        let state = self.state.read().await;
        state.exists.then_some(state.generation).ok_or(Error::NoSuchContainer)
    }

    async fn run<T>(&self, work: impl Future<Output = StoreResult<T>>) -> Result<T, Error> {
        bounded(self.timeout, work).await?.map_err(|error| failed(&error))
    }

    /// Completes a write into the container in which it began.
    async fn complete(&self, generation: u64, work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        let state = self.state.read().await;
        if !state.exists || state.generation != generation {
            return Err(Error::NoSuchContainer);
        }
        work.await
    }

    async fn put_small(&self, generation: u64, key: Key, bytes: bytes::Bytes) -> Result<(), Error> {
        let limit = allowance(self.timeout, bytes.len() as u64);
        let options = PutOptions::from(key.attributes);
        let put = self.store.put_opts(&key.path, PutPayload::from(bytes), options);
        let put = async { bounded(limit, put).await?.map(drop).map_err(|error| failed(&error)) };
        self.complete(generation, put).await
    }

    async fn put_large(&self, generation: u64, key: Key, first: bytes::Bytes, mut parts: Parts) -> Result<(), Error> {
        let options = PutMultipartOptions::from(key.attributes);
        let upload = self.run(self.store.put_multipart_opts(&key.path, options)).await?;
        let mut upload = Upload::new(upload, self.timeout);
        let mut part = first;
        let sent = async {
            loop {
                let is_last = part.len() < PART;
                if !part.is_empty() {
                    upload.send(part).await?;
                }
                if is_last {
                    return self.complete(generation, upload.complete()).await;
                }
                part = parts.next().await?;
            }
        };
        let result = sent.await;
        if result.is_err() {
            upload.abort().await;
        }
        result
    }

    /// Reads an object, or a range that begins within it; `None` for a range that does not.
    async fn read(&self, key: &Path, range: Option<Range<u64>>) -> Result<Option<GetResult>, Error> {
        let range = range.map(|range| match range.end {
            u64::MAX => GetRange::Offset(range.start),
            end => GetRange::Bounded(range.start..end),
        });
        let has_range = range.is_some();
        match self.run(self.store.get_opts(key, GetOptions { range, ..GetOptions::default() })).await {
            Ok(result) => Ok(Some(result)),
            // The server rejects a range that begins beyond the object; other rejections fail at the next request too.
            Err(Error::Other(_)) if has_range => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The keys of all objects, as they are needed.
    fn list_keys(&self) -> BoxStream<'static, Result<Path, Error>> {
        let (keys, timeout) = (self.store.list(self.keys.prefix()), self.timeout);
        let next = move |mut keys: BoxStream<'static, StoreResult<ObjectMeta>>| async move {
            let key = bounded(timeout, keys.try_next()).await?.map_err(|error| failed(&error))?;
            Ok(key.map(|meta| (meta.location, keys)))
        };
        stream::try_unfold(keys, next).boxed()
    }

    async fn delete_keys(&self, keys: BoxStream<'static, Result<Path, Error>>) -> Result<(), Error> {
        // An error of the listing ends the deletion, and is reported from here instead of through the library.
        let (problem, reported) = tokio::sync::oneshot::channel();
        let mut problem = Some(problem);
        let keys = keys.map(move |key| {
            key.map_err(|error| {
                problem.take().map(|problem| problem.send(error));
                object_store::Error::NotImplemented { operation: String::new(), implementer: String::new() }
            })
        });
        let mut deleted = self.store.delete_stream(keys.boxed());
        loop {
            // Up to a thousand names come with one request, and each page of the listing has a timeout of its own.
            match bounded(self.timeout * 3, deleted.next()).await? {
                None => return Ok(()),
                Some(Ok(_) | Err(object_store::Error::NotFound { .. })) => (),
                Some(Err(error)) => {
                    drop(deleted);
                    return Err(reported.await.unwrap_or_else(|_| failed(&error)));
                }
            }
        }
    }
}

#[async_trait]
impl Container for S3 {
    async fn info(&self) -> Result<u64, Error> {
        let state = self.state.read().await;
        state.exists.then_some(state.created_ns).ok_or(Error::NoSuchContainer)
    }

    async fn create(&self) -> Result<(), Error> {
        let _deletion = bounded(self.timeout, self.deletion.lock()).await?;
        let mut state = self.state.write().await;
        if state.exists {
            return Err(Error::ContainerExists);
        }
        if state.is_dirty {
            self.delete_keys(self.list_keys()).await?;
        }
        let generation = state.generation + 1;
        *state = State { created_ns: now_ns(), generation, exists: true, is_dirty: false };
        Ok(())
    }

    /// When the server fails meanwhile, the container is removed; [`create`](Container::create) deletes what is left.
    async fn remove(&self) -> Result<(), Error> {
        let _deletion = bounded(self.timeout, self.deletion.lock()).await?;
        {
            let mut state = self.state.write().await;
            if !state.exists {
                return Err(Error::NoSuchContainer);
            }
            (state.exists, state.is_dirty) = (false, true);
        }
        self.delete_keys(self.list_keys()).await?;
        self.state.write().await.is_dirty = false;
        Ok(())
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<(ObjectInfo, Body), Error> {
        check_name(name)?;
        check_range(range.as_ref())?;
        self.generation().await?;
        let key = self.keys.of(name)?.path;
        let is_empty = range.as_ref().is_some_and(Range::is_empty);
        let result = if is_empty { None } else { self.read(&key, range.clone()).await? };
        let Some(result) = result else {
            let info = self.object_info(name).await?;
            if !is_empty && !clamp(range, info.size).is_empty() {
                return Err(Error::Other("the server does not read ranges".to_owned()));
            }
            return Ok((info, stream::empty().boxed()));
        };
        let (info, timeout) = (info(&result.meta), self.timeout);
        let next = move |mut body: BoxStream<'static, StoreResult<bytes::Bytes>>| async move {
            let bytes = bounded(timeout, body.try_next()).await?.map_err(|error| match failed(&error) {
                // The object was replaced or deleted, and the connection broke as well.
                Error::NoSuchObject => Error::Unavailable("the object was replaced while it was read".to_owned()),
                error => error,
            })?;
            Ok(bytes.map(|bytes| (bytes, body)))
        };
        Ok((info, cut(stream::try_unfold(result.into_stream(), next))))
    }

    fn write_size(&self) -> u64 {
        // The part that is on its way, the next one, and the piece that completes it.
        3 * PART as u64
    }

    async fn put(&self, name: &str, body: Body) -> Result<(), Error> {
        check_name(name)?;
        let (generation, key, mut parts) = (self.generation().await?, self.keys.of(name)?, Parts::new(body, PART));
        let first = parts.next().await?;
        if first.len() < PART {
            self.put_small(generation, key, first).await
        } else {
            self.put_large(generation, key, first, parts).await
        }
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<String, Error>>, Error> {
        self.generation().await?;
        let (store, keys, timeout) = (self.store.clone(), self.keys.clone(), self.timeout);
        let name = move |path: Result<Path, Error>| {
            let (store, keys) = (store.clone(), keys.clone());
            async move {
                match keys.listed(path?) {
                    Listed::Name(name) => Ok(Some(name)),
                    Listed::Foreign => Ok(None),
                    Listed::InMetadata(path) => {
                        let options = GetOptions { head: true, ..GetOptions::default() };
                        match bounded(timeout, store.get_opts(&path, options)).await? {
                            Ok(found) => Ok(keys.in_metadata(&path, &found.attributes)),
                            // It was deleted meanwhile.
                            Err(object_store::Error::NotFound { .. }) => Ok(None),
                            Err(error) => Err(failed(&error)),
                        }
                    }
                }
            }
        };
        let names = self.list_keys().map(name).buffered(LOOKUPS);
        Ok(names.try_filter_map(|name| std::future::ready(Ok(name))).boxed())
    }

    async fn delete(&self, names: &[String]) -> Result<(), Error> {
        names.iter().try_for_each(|name| check_name(name))?;
        self.generation().await?;
        let keys: Result<Vec<_>, _> = names.iter().map(|name| self.keys.of(name).map(|key| Ok(key.path))).collect();
        self.delete_keys(stream::iter(keys?).boxed()).await
    }

    async fn object_info(&self, name: &str) -> Result<ObjectInfo, Error> {
        check_name(name)?;
        self.generation().await?;
        let key = self.keys.of(name)?.path;
        self.run(self.store.head(&key)).await.map(|meta| info(&meta))
    }

    async fn clear(&self) -> Result<(), Error> {
        self.generation().await?;
        self.delete_keys(self.list_keys()).await
    }

    async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        check_name(to)?;
        let (generation, info) = (self.generation().await?, self.object_info(from).await?);
        if from == to {
            // S3 rejects it, and it would change nothing.
            return Ok(());
        }
        let (source, target) = (self.keys.of(from)?, self.keys.of(to)?);
        // The server copies the metadata too, so it cannot copy to or from a key that is a hash.
        let has_names = source.attributes.is_empty() && target.attributes.is_empty();
        if has_names && info.size <= MAX_COPY {
            let copy = self.run(self.store.copy(&source.path, &target.path));
            return self.complete(generation, copy).await;
        }
        let (_, body) = self.get(from, None).await?;
        self.put(to, body).await
    }

    async fn health(&self) -> Result<(), String> {
        let options = PaginatedListOptions { max_keys: Some(1), ..PaginatedListOptions::default() };
        let start = self.keys.start();
        let list = self.store.list_paginated(Some(&start), options);
        match bounded(HEALTH_TIMEOUT, list).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(&error).to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
