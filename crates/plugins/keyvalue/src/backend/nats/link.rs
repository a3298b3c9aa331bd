//! The connection to a NATS server, and the bucket there.
//!
//! Takes operations on a bucket; runs each with the time-out, connected. The client connects again by itself; an
//! operation that was in progress when the connection broke fails, since its answer is lost. Shows no URL, password or
//! token.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_nats::connection::State;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::super::Error;
use super::NatsConfig;
use super::bucket::Bucket;

/// After a failed attempt to connect, how long others fail with it instead of trying again.
const RETRY_DELAY: Duration = Duration::from_millis(50);
/// The longest delay between the client's attempts to connect again.
const MAX_DELAY: Duration = Duration::from_millis(500);
/// How long an operation waits for the client to connect again.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// How often an operation looks whether its connection still exists.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// A connection whose server answers no ping for about twice as long is broken.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How many messages wait for a watcher, or for a page of keys. The server sends lost ones again.
const SUBSCRIPTION: usize = 4096;
/// The longest name of a bucket.
const MAX_BUCKET: usize = 128;

/// The connection and the bucket.
pub(super) struct Link {
    config: NatsConfig,
    address: ServerAddr,
    /// User and password, or a token alone.
    login: Option<(Zeroizing<String>, Option<Zeroizing<String>>)>,
    bucket: ArcSwapOption<Bucket>,
    /// Held by the task that connects.
    connecting: Mutex<Connecting>,
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct Connecting {
    client: Option<Client>,
    failed: Option<(Instant, Error)>,
}

impl Link {
    pub(super) fn new(config: NatsConfig) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let name = &config.bucket;
        if name.is_empty() || name.len() > MAX_BUCKET || !name.bytes().all(plain) {
            let name = name.escape_debug();
            return Err(Error::InvalidArgument(format!(
                "`{name}` cannot name a bucket: use letters, digits, `-` and `_`"
            )));
        }
        if !(1..=64).contains(&config.history) || !(1..=5).contains(&config.replicas) {
            return Err(Error::InvalidArgument("a bucket keeps 1 to 64 revisions, on 1 to 5 servers".to_owned()));
        }
        // The library's own message may have the URL in it.
        let invalid = || Error::InvalidArgument("the URL of the NATS server is not like `nats://host:port`".to_owned());
        let address: ServerAddr = config.url.parse().map_err(|_| invalid())?;
        let (user, password) = (address.username(), address.password());
        let login =
            user.map(|user| (Zeroizing::new(user.to_owned()), password.map(|text| Zeroizing::new(text.to_owned()))));
        // The library logs the address, which therefore must not have the password in it.
        let mut url = address.into_inner();
        url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| invalid())?;
        let address = ServerAddr::from_url(url).map_err(|_| invalid())?;
        if address.host().is_empty() || address.is_websocket() {
            return Err(invalid());
        }
        let (bucket, connecting, closed) = (ArcSwapOption::empty(), Mutex::default(), watch::Sender::new(false));
        Ok(Self { config, address, login, bucket, connecting, closed })
    }

    /// Runs an operation on the bucket within the time-out.
    pub(super) async fn within<T>(&self, operation: impl AsyncFnOnce(&Bucket) -> Result<T, Error>) -> Result<T, Error> {
        let run = async {
            let bucket = self.bucket().await?;
            let result = {
                let operation = operation(&bucket);
                let lost = async {
                    while bucket.client().connection_state() == State::Connected {
                        tokio::time::sleep(CHECK_INTERVAL).await;
                    }
                };
                tokio::select! {
                    biased;
                    result = operation => result,
                    () = lost => Err(self.unavailable("the connection broke")),
                }
            };
            if matches!(&result, Err(Error::Unavailable(_))) {
                // The bucket may have gone with the server's data.
                self.bucket.store(None);
            }
            result
        };
        tokio::time::timeout(self.config.timeout, run).await.unwrap_or(Err(Error::Timeout))
    }

    /// The bucket, connected.
    pub(super) async fn bucket(&self) -> Result<Arc<Bucket>, Error> {
        if let Some(bucket) = self.bucket.load_full()
            && bucket.client().connection_state() == State::Connected
        {
            return Ok(bucket);
        }
        let mut connecting = self.connecting.lock().await;
        if *self.closed.borrow() {
            return Err(self.unavailable("the store is closed"));
        }
        let client = self.client(&mut connecting).await?;
        if let Some(bucket) = self.bucket.load_full() {
            return Ok(bucket);
        }
        let context =
            ContextBuilder::new().timeout(self.config.timeout).backpressure_on_inflight(true).build(client.clone());
        let opened = Bucket::open(client, context, &self.config, &self.host()).await;
        match opened {
            Ok(bucket) => {
                let bucket = Arc::new(bucket);
                self.bucket.store(Some(bucket.clone()));
                Ok(bucket)
            }
            Err(error) => Err(error),
        }
    }

    /// The client, connected.
    async fn client(&self, connecting: &mut Connecting) -> Result<Client, Error> {
        if let Some(client) = connecting.client.clone() {
            let deadline = Instant::now() + RECONNECT_PATIENCE.min(self.config.timeout / 2);
            while client.connection_state() != State::Connected {
                if Instant::now() >= deadline {
                    return Err(self.unavailable("the connection broke, and the server does not accept another yet"));
                }
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
            return Ok(client);
        }
        if let Some((when, error)) = &connecting.failed
            && when.elapsed() < RETRY_DELAY
        {
            return Err(error.clone());
        }
        match self.options()?.connect(self.address.clone()).await {
            Ok(client) => {
                *connecting = Connecting { client: Some(client.clone()), failed: None };
                self.bucket.store(None);
                Ok(client)
            }
            Err(error) => {
                let error = match error.kind() {
                    ConnectErrorKind::TimedOut => Error::Timeout,
                    ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                        self.unavailable("it rejects the user, the password or the credentials")
                    }
                    _ => self.unavailable(&error.to_string()),
                };
                connecting.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn options(&self) -> Result<ConnectOptions, Error> {
        let delay = |attempts: usize| match attempts {
            0 | 1 => Duration::ZERO,
            _ => Duration::from_millis(10).saturating_mul(1 << attempts.min(10)).min(MAX_DELAY),
        };
        let mut options = ConnectOptions::new()
            .name("wharf")
            .connection_timeout(self.config.timeout)
            .request_timeout(Some(self.config.timeout))
            .ping_interval(PING_INTERVAL)
            .subscription_capacity(SUBSCRIPTION)
            .reconnect_delay_callback(delay);
        options = match &self.login {
            Some((user, Some(password))) => options.user_and_password(user.to_string(), password.to_string()),
            Some((token, None)) => options.token(token.to_string()),
            None => options,
        };
        if let Some(credentials) = &self.config.credentials {
            // The library's own message may have a part of them in it.
            let invalid =
                |_| Error::InvalidArgument("the NATS credentials are not those of a credentials file".to_owned());
            options = options.credentials(credentials).map_err(invalid)?;
        }
        Ok(options)
    }

    fn host(&self) -> String {
        format!("{}:{}", self.address.host(), self.address.port())
    }

    fn unavailable(&self, reason: &str) -> Error {
        Error::Unavailable(format!("NATS at `{}`: {reason}", self.host()))
    }

    /// How long an operation may take.
    pub(super) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    /// Becomes true when the store closes; its sender goes with the store.
    pub(super) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Ends the connection, and the streams of watchers.
    pub(super) async fn close(&self) {
        self.closed.send_replace(true);
        self.bucket.store(None);
        let client = self.connecting.lock().await.client.take();
        if let Some(client) = client {
            drop(tokio::time::timeout(RECONNECT_PATIENCE, client.drain()).await);
        }
    }
}
