//! The connections of a store.
//!
//! Takes sessions that need a connection; lends one for a time. A session gets the connection that it had before if that
//! is free, and a connection of another session only after it was cleaned. A connection that comes back in a doubtful
//! state is cleaned, and one whose statement still runs is cancelled and closed. There are never more connections than
//! the limit, and waiting for one is bounded.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::config::{self, PostgresConfig};
use super::error::{Error, Result};
use super::link::{Dial, Link, needs_tls};
use super::tls;

/// How long an idle connection is trusted to work.
const TRUST: Duration = Duration::from_secs(1);
/// How long an idle connection stays open.
const MAX_IDLE: Duration = Duration::from_mins(10);

pub(super) struct Pool {
    pub(super) config: PostgresConfig,
    slots: Arc<Semaphore>,
    idle: Mutex<Vec<Link>>,
    tls: Option<Arc<ClientConfig>>,
    /// Why the last attempt to connect failed, if it did.
    failed: Mutex<Option<String>>,
}

impl Pool {
    /// A pool without connections. It checks the settings.
    pub(super) fn new(config: PostgresConfig) -> Result<Self> {
        let target = config::parse(&config.url)?;
        if config.max_connections == 0 || config.max_connections > Semaphore::MAX_PERMITS {
            return Err(Error::Config("expected at least one connection for `max_connections`".to_owned()));
        }
        let slots = Arc::new(Semaphore::new(config.max_connections));
        let tls = needs_tls(target.tls).then(|| tls::client(target.tls, config.roots.as_deref())).transpose()?;
        Ok(Self { config, slots, idle: Mutex::default(), tls, failed: Mutex::default() })
    }

    /// Lends a connection to a session.
    pub(super) async fn lend(self: &Arc<Self>, owner: u64) -> Result<Lease> {
        let limit = self.config.connect_timeout;
        let slot = timeout(limit, self.slots.clone().acquire_owned()).await;
        let Ok(Ok(slot)) = slot else {
            return Err(Error::PoolExhausted { limit: self.config.max_connections });
        };
        let deadline = Instant::now() + limit;
        let left = || deadline.saturating_duration_since(Instant::now());
        while let Some(mut link) = self.take(owner) {
            let trusted = link.idle_since.elapsed() < TRUST || link.answers(left()).await;
            if link.is_open() && trusted && (link.owner == owner || link.owner == 0 || link.clean(left()).await) {
                link.owner = owner;
                return Ok(Lease::new(self.clone(), link, slot, false));
            }
        }
        let target = config::parse(&self.config.url)?;
        let dial = Dial { tls: self.tls.clone(), timeout: left(), max_row: self.config.max_rows_bytes };
        let connected = Link::connect(&target, &dial).await;
        self.note(connected.as_ref().err());
        let mut link = connected?;
        link.owner = owner;
        Ok(Lease::new(self.clone(), link, slot, true))
    }

    /// Logs why a connection failed: the guest's own error may not say it. Once for each reason, until one has succeeded.
    fn note(&self, error: Option<&Error>) {
        let reason = error.map(ToString::to_string);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = reason.as_ref().filter(|reason| failed.as_ref() != Some(*reason)) {
            tracing::warn!(reason, "cannot connect to a database");
        }
        *failed = reason;
    }

    /// The idle connection that fits a session best, or none if it may open a new one.
    fn take(&self, owner: u64) -> Option<Link> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|link| link.is_open() && link.idle_since.elapsed() < MAX_IDLE);
        // The connection that was used last is the likeliest to work.
        let own = idle.iter().rposition(|link| link.owner == owner);
        if let Some(index) = own.or_else(|| idle.iter().rposition(|link| link.owner == 0)) {
            return Some(idle.remove(index));
        }
        let lent = self.config.max_connections - self.slots.available_permits().min(self.config.max_connections);
        if idle.len() + lent > self.config.max_connections { Some(idle.remove(0)) } else { None }
    }

    fn give_back(&self, mut link: Link) {
        link.idle_since = Instant::now();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
    }
}

/// A connection that a session uses.
pub(super) struct Lease {
    pub(super) pool: Arc<Pool>,
    link: Option<Link>,
    slot: Option<OwnedSemaphorePermit>,
    /// Whether a statement may still run. Such a connection is cancelled and closed.
    pub(super) busy: bool,
    /// Whether the connection is new, so that a failure is not one of a connection that broke while it was idle.
    pub(super) is_new: bool,
}

impl Lease {
    fn new(pool: Arc<Pool>, link: Link, slot: OwnedSemaphorePermit, is_new: bool) -> Self {
        Self { pool, link: Some(link), slot: Some(slot), busy: false, is_new }
    }

    /// The connection.
    pub(super) fn link(&mut self) -> Result<&mut Link> {
        let lost = || Error::ConnectionFailed("the connection is closed".to_owned());
        self.link.as_mut().filter(|link| link.is_open()).ok_or_else(lost)
    }

    /// Whether another statement can run.
    pub(super) fn is_usable(&self) -> bool {
        !self.busy && self.link.as_ref().is_some_and(Link::is_open)
    }

    /// The error of a statement on this connection.
    pub(super) fn error(&self, error: &tokio_postgres::Error) -> Error {
        let Some(link) = &self.link else { return Error::ConnectionFailed("the connection is closed".to_owned()) };
        if link.observed.was_too_large() {
            return Error::ResultTooLarge { limit: self.pool.config.max_rows_bytes };
        }
        Error::of_statement(error, &link.server)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some(mut link), Some(slot)) = (self.link.take(), self.slot.take()) else { return };
        // A slot is free when its connection is idle or closed, also while that takes some time.
        let (pool, limit) = (self.pool.clone(), self.pool.config.connect_timeout);
        let runtime = tokio::runtime::Handle::try_current();
        if !link.is_open() {
            return;
        }
        if self.busy {
            if let Ok(runtime) = runtime {
                runtime.spawn(async move {
                    link.cancel(limit).await;
                    drop(slot);
                });
            }
        } else if link.doubtful || !link.observed.is_idle() {
            if let Ok(runtime) = runtime {
                runtime.spawn(async move {
                    if link.clean(limit).await {
                        pool.give_back(link);
                    }
                    drop(slot);
                });
            }
        } else {
            pool.give_back(link);
        }
    }
}
