//! The connection to a Redis server, and the names that a store's keys have there.
//!
//! Takes commands; gives replies, or an [`Error`] within the time-out. Connects when there is no connection, one
//! attempt at a time, and replaces a connection that is broken or silent. Shows no URL and no password.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo as _, Pipeline,
    ProtocolVersion, PushInfo, PushKind, RedisError, ScriptInvocation,
};
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::super::Error;
use super::errors;

/// After a failed attempt to connect, how long others fail with it instead of trying again.
const RETRY_DELAY: Duration = Duration::from_millis(50);
/// How many commands wait for the connection before callers wait.
const QUEUE: usize = 256;
/// How many bytes of commands are written at once.
const WRITE_BUFFER: usize = 128 * 1024;

/// What the keys of a store are called on the server.
pub(super) struct Names {
    prefix: Vec<u8>,
    /// What no other process has; with a counter, it makes new versions.
    nonce: String,
    counter: AtomicU64,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        let random = || RandomState::new().hash_one(Instant::now());
        let nonce = format!("{:016x}{:016x}", random(), random());
        Self { prefix: prefix.as_bytes().to_vec(), nonce, counter: AtomicU64::new(0) }
    }

    /// The name of a key.
    pub(super) fn key(&self, key: &str) -> Vec<u8> {
        [&self.prefix[..], key.as_bytes()].concat()
    }

    /// The name of a key's companion. It is not UTF-8, as the names of all keys are.
    pub(super) fn companion(&self, key: &str) -> Vec<u8> {
        [&self.prefix[..], &[0xff], key.as_bytes()].concat()
    }

    /// The key with a name. `None` for a companion, or what another client wrote that is not text.
    pub(super) fn parse(&self, mut name: Vec<u8>) -> Option<String> {
        name.starts_with(&self.prefix).then(|| name.drain(..self.prefix.len()));
        String::from_utf8(name).ok()
    }

    /// The pattern of the names of keys with a prefix.
    pub(super) fn pattern(&self, prefix: &str) -> Vec<u8> {
        let mut pattern = Vec::new();
        for byte in self.prefix.iter().chain(prefix.as_bytes()) {
            if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
                pattern.push(b'\\');
            }
            pattern.push(*byte);
        }
        pattern.push(b'*');
        pattern
    }

    /// The store's own prefix.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// A version that no entry has had.
    pub(super) fn version(&self) -> String {
        format!("-{}-{:x}", self.nonce, self.counter.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Clone)]
struct Connection {
    connection: MultiplexedConnection,
    state: Arc<State>,
}

/// What is known of a connection.
struct State {
    dead: AtomicBool,
    opened: Instant,
    /// When the server last answered, in milliseconds after `opened`.
    answered: AtomicU64,
}

/// What is sent.
#[derive(Clone, Copy)]
enum Request<'a> {
    Command(&'a Cmd),
    Script(&'a ScriptInvocation<'a>),
    Pipeline(&'a Pipeline),
}

/// The connection to a server.
pub(super) struct Link {
    client: Client,
    timeout: Duration,
    address: String,
    current: RwLock<Option<Connection>>,
    /// The last failure; held by the task that connects.
    connecting: Mutex<Option<(Instant, Error)>>,
    closed: watch::Sender<bool>,
}

impl Link {
    pub(super) fn new(url: &str, timeout: Duration) -> Result<Self, Error> {
        // The library's own message may have the URL in it.
        let invalid = || {
            let tls = if cfg!(feature = "redis-tls") { "" } else { "; this program is built without TLS to Redis" };
            Error::InvalidArgument(format!("the URL of the Redis server is not like `redis://host:port/database`{tls}"))
        };
        let info = url.into_connection_info().map_err(|_| invalid())?;
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
            ConnectionAddr::Unix(path) => path.display().to_string(),
            _ => return Err(invalid()),
        };
        #[cfg(feature = "redis-tls")]
        // Fails if the program has chosen a provider, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        // RESP3 reports a connection that breaks while it is idle, and the changes that watchers see.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let tcp = TcpSettings::default().set_nodelay(true);
        let client = Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp)).map_err(|_| invalid())?;
        let closed = watch::Sender::new(false);
        Ok(Self { client, timeout, address, current: RwLock::default(), connecting: Mutex::default(), closed })
    }

    /// Sends a command that changes nothing. If the connection breaks, sends it once more on another.
    pub(super) async fn read<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let request = Request::Command(command);
        self.within(async {
            match self.send(request).await {
                Err(Error::Unavailable(_)) => self.send(request).await,
                result => result,
            }
        })
        .await
    }

    /// Sends a command.
    pub(super) async fn write<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.within(self.send(Request::Command(command))).await
    }

    /// Runs a script.
    pub(super) async fn call<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Error> {
        self.within(self.send(Request::Script(script))).await
    }

    /// Sends commands that the server runs one after the other, with those of others in between.
    pub(super) async fn pipeline<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Error> {
        self.within(self.send(Request::Pipeline(commands))).await
    }

    async fn within<T>(&self, operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let start = Instant::now();
        let result = tokio::time::timeout(self.timeout, operation).await;
        result.unwrap_or_else(|_| {
            // A server that answers others is merely slow with this one. Silence may also be a connection that the
            // network has forgotten.
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(Connection { state, .. }) = &*current {
                let answered = state.opened + Duration::from_millis(state.answered.load(Ordering::Relaxed));
                if answered <= start {
                    state.dead.store(true, Ordering::Release);
                }
            }
            Err(Error::Timeout)
        })
    }

    async fn send<T: FromRedisValue>(&self, request: Request<'_>) -> Result<T, Error> {
        let Connection { mut connection, state } = self.connection().await?;
        let result = match request {
            Request::Command(command) => command.query_async(&mut connection).await,
            Request::Script(script) => script.invoke_async(&mut connection).await,
            Request::Pipeline(commands) => commands.query_async(&mut connection).await,
        };
        let answered = u64::try_from(state.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        result.inspect(|_| state.answered.store(answered, Ordering::Relaxed)).map_err(|error| {
            // A server that has become a replica may have a successor at the same name.
            if error.is_io_error() || error.is_unrecoverable_error() || error.code() == Some("READONLY") {
                state.dead.store(true, Ordering::Release);
            } else {
                state.answered.store(answered, Ordering::Relaxed);
            }
            self.error(&error)
        })
    }

    fn live(&self) -> Option<Connection> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|connection| !connection.state.dead.load(Ordering::Acquire)).cloned()
    }

    async fn connection(&self) -> Result<Connection, Error> {
        if let Some(connection) = self.live() {
            return Ok(connection);
        }
        let mut failed = self.connecting.lock().await;
        if let Some(connection) = self.live() {
            return Ok(connection);
        }
        if *self.closed.borrow() {
            return Err(Error::Unavailable("the store is closed".to_owned()));
        }
        if let Some((when, error)) = &*failed
            && when.elapsed() < RETRY_DELAY
        {
            return Err(error.clone());
        }
        let state =
            Arc::new(State { dead: AtomicBool::new(false), opened: Instant::now(), answered: AtomicU64::new(0) });
        let watched = state.clone();
        let connected = self.connect(move |push| {
            if push.kind == PushKind::Disconnection {
                watched.dead.store(true, Ordering::Release);
            }
        });
        match connected.await {
            Ok(connection) => {
                let connection = Connection { connection, state };
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
                *failed = None;
                Ok(connection)
            }
            Err(error) => {
                // The guest's own error may not say why. Once for each reason, until it has worked again.
                if failed.as_ref().is_none_or(|(_, last)| *last != error) {
                    tracing::warn!(%error, "cannot connect to a key-value store");
                }
                *failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// A connection of its own.
    pub(super) fn connect(
        &self,
        pushed: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> BoxFuture<'_, Result<MultiplexedConnection, Error>> {
        let pushed = move |push| {
            pushed(push);
            Ok::<(), ::redis::aio::SendError>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            // Operations have a time-out of their own.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE)
            .set_write_backpressure_boundary(WRITE_BUFFER)
            .set_push_sender(pushed);
        Box::pin(async move {
            let connect = self.client.get_multiplexed_async_connection_with_config(&config);
            connect.await.map_err(|error| self.error(&error))
        })
    }

    /// Ends the connection, and the streams of watchers.
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Becomes true when the store closes; its sender goes with the store.
    pub(super) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// How long an operation may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// An error of the library as the store reports it.
    pub(super) fn error(&self, error: &RedisError) -> Error {
        errors::error(&self.address, error)
    }
}
