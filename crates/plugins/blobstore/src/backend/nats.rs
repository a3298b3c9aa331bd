//! A blob store in a bucket of NATS' object store.
//!
//! Takes a server with `JetStream` and a bucket, which it creates if it may; keeps objects in the layout that other
//! clients of NATS read. Connects in the background, and again by itself; every step of an operation ends in bounded
//! time. A write is as durable as the server's acknowledgement: the server syncs its files at intervals of its own.

mod api;
mod list;
mod meta;
mod read;
mod write;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::{ConnectOptions, Event};
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, watch};
use url::Url;
use zeroize::Zeroizing;

use self::api::{Api, Done, Last};
use self::meta::Names;
use self::write::Leftovers;
use super::{Body, Container, Error, HEALTH_TIMEOUT, ObjectInfo, check_name, check_range, clamp};

/// The default timeout of a request.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the client checks that an idle connection lives.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// The longest pause between two attempts to connect.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How often a deletion is tried because a writer was faster.
const ATTEMPTS: usize = 32;
/// How many objects are deleted at a time.
const DELETIONS: usize = 8;

/// The settings of a store in NATS.
#[derive(Clone)]
pub struct NatsConfig {
    /// The server, such as `nats://127.0.0.1:4222`. It may have a user and a password, or a token.
    pub url: Zeroizing<String>,
    /// The bucket: letters, digits, `_` and `-`.
    pub bucket: String,
    /// The text of a credentials file.
    pub credentials: Option<Zeroizing<String>>,
    /// Whether to create the bucket if it does not exist when the store is first used.
    pub create: bool,
    /// The timeout of a request.
    pub timeout: Duration,
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NatsConfig").field(&(&self.bucket, self.create, self.timeout)).finish_non_exhaustive()
    }
}

/// A container in NATS.
pub struct Nats {
    api: Arc<Api>,
    leftovers: Arc<Leftovers>,
    create: bool,
    /// Set once the bucket was there.
    opened: OnceCell<()>,
}

/// The address and the options that a URL asks for. The secrets move to the options: the client may log the address.
fn options(config: &NatsConfig) -> Result<(String, ConnectOptions), Error> {
    let invalid = |problem: &str| Error::InvalidArgument(format!("the URL of the NATS server {problem}"));
    let mut url = Url::parse(&config.url).map_err(|_| invalid("is not a URL"))?;
    if !matches!(url.scheme(), "nats" | "tls") || !url.has_host() {
        return Err(invalid("is neither `nats://…` nor `tls://…`"));
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = (decoded(url.username()), url.password().map(decoded));
    let mut options = ConnectOptions::new();
    if let Some(password) = password {
        options = options.user_and_password(user, password);
    } else if !user.is_empty() {
        options = options.token(user);
    }
    if let Some(credentials) = &config.credentials {
        let problem = |_| Error::InvalidArgument("the credentials of the NATS server make no sense".to_owned());
        options = options.credentials(credentials).map_err(problem)?;
    }
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    cleared.map_err(|()| invalid("has no host"))?;
    Ok((url.into(), options))
}

impl Nats {
    /// A store in a bucket. It connects in the background.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the URL, the credentials or the bucket's name make no sense.
    pub async fn open(config: NatsConfig) -> Result<Self, Error> {
        let invalid = "the name of a bucket has letters, digits, `_` and `-` only";
        let names = Names::new(&config.bucket).ok_or_else(|| Error::InvalidArgument(invalid.to_owned()))?;
        let (url, options) = options(&config)?;
        let (is_connected, connected) = watch::channel(false);
        let options = options
            .connection_timeout(config.timeout)
            .request_timeout(Some(config.timeout * 2))
            .ping_interval(PING_INTERVAL)
            .reconnect_delay_callback(|attempt| {
                MAX_PAUSE.min(Duration::from_millis(50) * u32::try_from(attempt).unwrap_or(u32::MAX).min(20))
            })
            .retry_on_initial_connect()
            .event_callback(move |event| {
                match event {
                    Event::Connected => drop(is_connected.send(true)),
                    Event::Disconnected | Event::Closed => drop(is_connected.send(false)),
                    _ => (),
                }
                std::future::ready(())
            });
        let client = options.connect(url).await.map_err(|_| api::lost())?;
        // The timeouts of this backend are shorter, and tell a slow server from an absent one.
        let context = ContextBuilder::new().timeout(config.timeout * 2).build(client.clone());
        let api = Api { client, context, names, timeout: config.timeout, connected };
        Ok(Self { api: Arc::new(api), leftovers: Arc::default(), create: config.create, opened: OnceCell::new() })
    }

    /// Creates the bucket at the first use. After that, its absence means that it was removed.
    async fn ready(&self) -> Result<&Arc<Api>, Error> {
        let open = async || match self.api.info().await {
            Err(Error::NoSuchContainer) if self.create => self.create_bucket().await,
            Err(Error::NoSuchContainer) => {
                let hint = "create it, or set `create`";
                Err(Error::Unavailable(format!("the bucket `{}` does not exist: {hint}", self.api.names.bucket())))
            }
            info => info.map(drop),
        };
        self.opened.get_or_try_init(open).await?;
        Ok(&self.api)
    }

    async fn create_bucket(&self) -> Result<(), Error> {
        let bucket = self.api.names.bucket();
        let config = json!({
            "name": self.api.names.stream(),
            "subjects": [format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_consumers": -1,
            "num_replicas": 1,
            "allow_rollup_hdrs": true,
            "allow_direct": true,
        });
        self.api.request::<Value>("STREAM.CREATE", &config).await.map(drop)
    }

    async fn find(&self, name: &str) -> Result<Last, Error> {
        check_name(name)?;
        let last = self.ready().await?.last(name).await?;
        let last = last.filter(|last| !last.record.deleted).ok_or(Error::NoSuchObject)?;
        if last.record.is_link() {
            return Err(Error::Other("the object is a link, which another client made".to_owned()));
        }
        Ok(last)
    }

    async fn delete_one(&self, name: &str) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let Some(last) = self.api.last(name).await? else { return Ok(()) };
            if !self.api.delete(last.sequence).await? {
                // A writer replaced the record meanwhile.
                continue;
            }
            if !last.record.version.is_empty() && last.record.chunks > 0 {
                self.leftovers.delete(&self.api, last.record.version).await;
            }
            return Ok(());
        }
        Err(Error::Unavailable("too many writers replace the object at once".to_owned()))
    }
}

fn info(last: &Last) -> ObjectInfo {
    ObjectInfo { created_ns: last.created_ns, size: last.record.size }
}

#[async_trait]
impl Container for Nats {
    async fn info(&self) -> Result<u64, Error> {
        let info = self.ready().await?.info().await?;
        Ok(u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(0))
    }

    async fn create(&self) -> Result<(), Error> {
        match self.ready().await?.info().await {
            Ok(_) => Err(Error::ContainerExists),
            Err(Error::NoSuchContainer) => self.create_bucket().await,
            Err(error) => Err(error),
        }
    }

    async fn remove(&self) -> Result<(), Error> {
        self.ready().await?.request::<Done>("STREAM.DELETE", &json!({})).await.map(drop)
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<(ObjectInfo, Body), Error> {
        check_range(range.as_ref())?;
        let last = self.find(name).await?;
        let range = clamp(range, last.record.size);
        Ok((info(&last), read::read(self.api.clone(), &last.record, range)))
    }

    async fn put(&self, name: &str, body: Body) -> Result<(), Error> {
        check_name(name)?;
        write::put(self.ready().await?, &self.leftovers, name, body).await
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<String, Error>>, Error> {
        list::list(self.ready().await?.clone()).await
    }

    async fn delete(&self, names: &[String]) -> Result<(), Error> {
        names.iter().try_for_each(|name| check_name(name))?;
        self.ready().await?.info().await?;
        let deletions = stream::iter(names.to_vec()).map(async |name| self.delete_one(&name).await);
        deletions.buffer_unordered(DELETIONS).try_collect().await
    }

    async fn object_info(&self, name: &str) -> Result<ObjectInfo, Error> {
        self.find(name).await.map(|last| info(&last))
    }

    async fn clear(&self) -> Result<(), Error> {
        let names = self.list().await?;
        let deletions = names.map(async |name| self.delete_one(&name?).await);
        deletions.buffer_unordered(DELETIONS).try_collect().await
    }

    async fn health(&self) -> Result<(), String> {
        let info = async {
            self.ready().await?;
            self.api.info().await
        };
        match tokio::time::timeout(HEALTH_TIMEOUT, info).await {
            // Without a container, the server answers all the same.
            Ok(Ok(_) | Err(Error::NoSuchContainer)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) if *self.api.connected.borrow() => Err(Error::Timeout.to_string()),
            Err(_) => Err(api::lost().to_string()),
        }
    }

    async fn close(&self) {
        let _ = tokio::time::timeout(self.api.timeout, self.api.client.drain()).await;
    }
}

#[cfg(test)]
mod tests;
