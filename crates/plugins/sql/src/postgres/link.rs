//! One connection to the server.
//!
//! Takes a target; gives a connection that can be cleaned and cancelled. Dropping it closes the socket at once.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::Type;
use tokio_postgres::{CancelToken, Client, Config, Statement};

use super::config::{self, Target, Tls};
use super::error::{Error, Result};
use super::tls::Handshake;
use super::wire::{Observed, Transport, Wire};

/// How many prepared statements a connection keeps.
const MAX_STATEMENTS: usize = 64;
/// The longest statement in bytes that a connection keeps.
const MAX_KEPT: usize = 16 * 1024;
/// The room, in bytes, that a message has besides the row in it.
const MESSAGE_ROOM: usize = 64 * 1024;
/// What `DISCARD ALL` does, which itself may not follow another statement, after the end of a transaction.
const CLEAN: &str = "ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DEALLOCATE ALL; UNLISTEN *; \
                     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES";

/// How connections are made.
pub(super) struct Dial {
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) timeout: Duration,
    pub(super) max_row: usize,
}

/// An open connection.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) observed: Arc<Observed>,
    /// The host and port as errors name them.
    pub(super) server: String,
    /// The session that used the connection last, or 0 if it is clean.
    pub(super) owner: u64,
    /// Whether a statement may have changed settings of the session, or left objects in it.
    pub(super) doubtful: bool,
    /// Whether the client has prepared its own statements, which ask for types. It would use them after they are gone.
    pub(super) asked_for_types: bool,
    /// Whether the server has said that it closes the connection.
    pub(super) broken: bool,
    pub(super) money_scale: Option<u32>,
    pub(super) idle_since: Instant,
    statements: Statements,
    peer: Peer,
    task: AbortHandle,
}

/// What is needed to reach the server once more.
#[derive(Clone)]
struct Peer {
    host: Host,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    cancel: CancelToken,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Connects to the first host that accepts.
    pub(super) async fn connect(target: &Target, dial: &Dial) -> Result<Self> {
        let deadline = Instant::now() + dial.timeout;
        let mut failure = Error::ConnectionFailed("there is no server".to_owned());
        for (index, (host, port)) in target.hosts.iter().enumerate() {
            let server = config::name(&(host.clone(), *port));
            // A host that does not answer leaves time for the others.
            let hosts_left = u32::try_from(target.hosts.len() - index).unwrap_or(1);
            let until = Instant::now() + deadline.saturating_duration_since(Instant::now()) / hosts_left;
            match timeout_at(until, Self::connect_to(host, *port, target, dial)).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = Error::connect_timeout(&server),
            }
        }
        Err(failure)
    }

    async fn connect_to(host: &Host, port: u16, target: &Target, dial: &Dial) -> Result<Self> {
        let server = config::name(&(host.clone(), port));
        let mut config = target.config.clone();
        let tls = if is_unix(host) { None } else { dial.tls.clone() };
        if tls.is_none() {
            config.ssl_mode(SslMode::Disable);
        }
        let broken =
            |error: &std::io::Error| Error::ConnectionFailed(format!("cannot connect to `{server}`: {}", error.kind()));
        let stream = dial_host(host, port).await.map_err(|error| broken(&error))?;
        let observed = Arc::new(Observed::default());
        let stream =
            Wire::new(stream, observed.clone(), dial.max_row.saturating_add(MESSAGE_ROOM), usize::from(tls.is_some()));
        let (client, task) =
            handshake(&config, stream, host, tls.clone()).await.map_err(|error| Error::of_connect(&error, &server))?;
        let cancel = client.cancel_token();
        let peer = Peer { host: host.clone(), port, tls, cancel };
        Ok(Self {
            client,
            observed,
            server,
            owner: 0,
            doubtful: false,
            broken: false,
            asked_for_types: false,
            money_scale: None,
            idle_since: Instant::now(),
            statements: Statements::default(),
            peer,
            task,
        })
    }

    /// Whether the connection could be used.
    pub(super) fn is_open(&self) -> bool {
        !self.broken && !self.client.is_closed() && !self.task.is_finished()
    }

    /// Whether the connection answers.
    pub(super) async fn answers(&self, limit: Duration) -> bool {
        self.is_open() && matches!(timeout(limit, self.client.batch_execute("")).await, Ok(Ok(())))
    }

    /// Makes the connection as it was when it was new. Returns whether that worked.
    pub(super) async fn clean(&mut self, limit: Duration) -> bool {
        // The statements of the client itself would be gone too, and it would not know.
        if !self.is_open() || self.asked_for_types {
            return false;
        }
        self.statements = Statements::default();
        self.money_scale = None;
        if !matches!(timeout(limit, self.client.batch_execute(CLEAN)).await, Ok(Ok(()))) {
            return false;
        }
        (self.owner, self.doubtful) = (0, false);
        true
    }

    /// Cancels the statement that runs, on the server, and closes the connection.
    pub(super) async fn cancel(self, limit: Duration) {
        let Peer { host, port, tls, cancel } = self.peer.clone();
        let request = async {
            let stream = dial_host(&host, port).await.ok()?;
            let stream = Wire::new(stream, Arc::default(), usize::MAX, usize::from(tls.is_some()));
            match tls {
                Some(client) => cancel.cancel_query_raw(stream, Handshake { client, host: name_of(&host) }).await.ok(),
                None => cancel.cancel_query_raw(stream, tokio_postgres::NoTls).await.ok(),
            }
        };
        if !matches!(timeout(limit, request).await, Ok(Some(()))) {
            tracing::warn!(server = self.server, "cannot cancel a statement on the server");
        }
    }

    /// A prepared statement that the connection has kept.
    pub(super) fn kept(&self, sql: &str) -> Option<Statement> {
        self.statements.map.get(sql).cloned()
    }

    /// Forgets a statement, which the server no longer accepts.
    pub(super) fn forget(&mut self, sql: &str) {
        self.statements.map.remove(sql);
        self.statements.order.retain(|kept| **kept != *sql);
    }

    /// Keeps a prepared statement, and notes what it tells of the connection.
    pub(super) fn keep(&mut self, sql: &str, statement: &Statement) {
        let columns = statement.columns().iter().map(tokio_postgres::Column::type_);
        if statement.params().iter().chain(columns).any(|ty| Type::from_oid(ty.oid()).is_none()) {
            self.asked_for_types = true;
        }
        if sql.len() > MAX_KEPT || self.statements.map.contains_key(sql) {
            return;
        }
        if self.statements.order.len() >= MAX_STATEMENTS
            && let Some(oldest) = self.statements.order.pop_front()
        {
            self.statements.map.remove(&oldest);
        }
        let sql: Arc<str> = sql.into();
        self.statements.order.push_back(sql.clone());
        self.statements.map.insert(sql, statement.clone());
    }
}

/// Prepared statements, the oldest first.
#[derive(Default)]
struct Statements {
    map: HashMap<Arc<str>, Statement>,
    order: VecDeque<Arc<str>>,
}

async fn handshake(
    config: &Config,
    stream: Wire<Transport>,
    host: &Host,
    tls: Option<Arc<ClientConfig>>,
) -> std::result::Result<(Client, AbortHandle), tokio_postgres::Error> {
    if let Some(client) = tls {
        let (client, mut connection) = config.connect_raw(stream, Handshake { client, host: name_of(host) }).await?;
        // Notices and notifications are for no one: a component has no way to receive them.
        let drive = async move { while let Some(Ok(_)) = poll_fn(|cx| connection.poll_message(cx)).await {} };
        return Ok((client, tokio::spawn(drive).abort_handle()));
    }
    let (client, mut connection) = config.connect_raw(stream, tokio_postgres::NoTls).await?;
    let drive = async move { while let Some(Ok(_)) = poll_fn(|cx| connection.poll_message(cx)).await {} };
    Ok((client, tokio::spawn(drive).abort_handle()))
}

async fn dial_host(host: &Host, port: u16) -> std::io::Result<Transport> {
    match host {
        Host::Tcp(host) => {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            Ok(Transport::Tcp(stream))
        }
        #[cfg(unix)]
        Host::Unix(folder) => {
            let stream = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?;
            Ok(Transport::Unix(stream))
        }
    }
}

fn is_unix(host: &Host) -> bool {
    !matches!(host, Host::Tcp(_))
}

fn name_of(host: &Host) -> String {
    match host {
        Host::Tcp(host) => host.clone(),
        #[cfg(unix)]
        Host::Unix(_) => String::new(),
    }
}

/// The mode for which a dial needs TLS.
pub(super) fn needs_tls(tls: Tls) -> bool {
    tls != Tls::Disable
}
