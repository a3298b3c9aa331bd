//! SQLite stores inside the process.
//!
//! Takes a file or none, and limits; gives connections that run the statements of components. Each connection is a
//! SQLite connection of its own on a thread of its own, so a transaction of one component is not seen by another before
//! it commits. A component reaches no file but its database, loads no code, and keeps to the store's limits. A statement
//! that takes too long, or whose caller has gone, is interrupted, and its connection works on.

mod open;
mod sandbox;
mod value;
mod worker;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

pub use self::value::{Error, QueryResult, Result, Value};
use self::worker::{Job, Mode, Outcome, Ticket};

/// How much later than its deadline a statement may return. Only a statement that SQLite cannot interrupt needs it.
const GRACE: Duration = Duration::from_millis(500);
/// The most idle connections of one owner.
const MAX_IDLE: usize = 4;

/// The settings of a store.
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    /// The database file, or none for a database in memory that all connections of the store share.
    pub path: Option<PathBuf>,
    /// The most bytes that the database may have. A database in memory has 64 MiB unless this says otherwise.
    pub max_bytes: Option<u64>,
    /// The most time that one statement may take, including the time that it waits for other connections.
    pub timeout: Duration,
    /// The most bytes of a result. A single value is never longer either.
    pub max_rows_bytes: usize,
    /// The most connections that may be open at a time.
    pub max_connections: usize,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            path: None,
            max_bytes: None,
            timeout: Duration::from_secs(30),
            max_rows_bytes: 16 * 1024 * 1024,
            max_connections: 64,
        }
    }
}

/// A SQLite database that components may open. Cloning it is cheap, and clones share the database.
#[derive(Clone)]
pub struct Sqlite {
    store: Arc<Store>,
}

struct Store {
    config: SqliteConfig,
    location: open::Location,
    slots: Arc<Semaphore>,
    /// How many wait for a slot.
    waiting: AtomicUsize,
    /// Connections that no statement uses, each with its owner.
    idle: Mutex<Vec<Idle>>,
    /// A database in memory lives as long as it has a connection, so the store keeps one.
    _anchor: Option<Mutex<rusqlite::Connection>>,
}

/// A connection without a user. It does not keep its store alive.
struct Idle {
    owner: u64,
    jobs: mpsc::Sender<Job>,
    state: Arc<Mutex<Outcome>>,
}

impl Store {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to one more connection: at once, or when one that is idle or in use is closed.
    async fn slot(&self, deadline: Instant) -> Result<OwnedSemaphorePermit> {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            return Ok(slot);
        }
        let _waiting = Waiting::new(&self.waiting);
        // The oldest one; its thread ends, and with it its slot.
        let oldest = Some(self.idle()).filter(|idle| !idle.is_empty()).map(|mut idle| idle.remove(0));
        drop(oldest);
        let slot = timeout_at(deadline, self.slots.clone().acquire_owned()).await;
        slot.ok()
            .and_then(std::result::Result::ok)
            .ok_or(Error::TooManyConnections { limit: self.config.max_connections })
    }
}

/// Counts as one that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sqlite {
    /// Opens a store. The database file is made by the first connection, and the folders above it too.
    pub fn open(config: SqliteConfig) -> Result<Self> {
        let location = open::Location::new(config.path.as_deref())?;
        let anchor = match location {
            open::Location::Memory(_) => Some(Mutex::new(open::raw(&location)?)),
            open::Location::File(_) => None,
        };
        let slots = Arc::new(Semaphore::new(config.max_connections));
        let (waiting, idle) = (AtomicUsize::new(0), Mutex::default());
        Ok(Self { store: Arc::new(Store { config, location, slots, waiting, idle, _anchor: anchor }) })
    }

    /// A connection that its owner gave back, or a new one.
    pub async fn lend(&self, owner: u64) -> Result<Connection> {
        let kept = {
            let mut idle = self.store.idle();
            idle.iter().rposition(|idle| idle.owner == owner).map(|index| idle.remove(index))
        };
        match kept {
            Some(Idle { jobs, state, .. }) => {
                Ok(Connection { jobs, state, timeout: self.store.config.timeout, _store: self.store.clone() })
            }
            None => self.connect().await,
        }
    }

    /// Keeps a connection for its owner's next statement, unless another waits for one. What it has in its session is for
    /// the owner alone.
    pub fn give_back(&self, owner: u64, connection: Connection) {
        let Connection { jobs, state, .. } = connection;
        let mut idle = self.store.idle();
        let own = idle.iter().filter(|idle| idle.owner == owner).count();
        if own < MAX_IDLE && self.store.waiting.load(Ordering::Relaxed) == 0 {
            idle.push(Idle { owner, jobs, state });
        }
    }

    /// Closes the connections that an owner gave back.
    pub fn forget(&self, owner: u64) {
        self.store.idle().retain(|idle| idle.owner != owner);
    }

    /// Opens a connection. If the store has as many as it may have, waits for one to be closed, as long as a statement may take.
    pub async fn connect(&self) -> Result<Connection> {
        let config = &self.store.config;
        let ticket = Ticket::new(Instant::now() + config.timeout);
        let slot = self.store.slot(ticket.deadline).await?;
        let (jobs, receiver) = mpsc::channel(1);
        let (ready, opened) = oneshot::channel();
        let _cancel = CancelOnDrop(ticket.clone());
        let state = Arc::default();
        let setup = open::Setup {
            location: self.store.location.clone(),
            max_bytes: config.max_bytes,
            max_rows_bytes: config.max_rows_bytes,
            timeout: config.timeout,
        };
        worker::start(setup, ticket.clone(), receiver, ready, slot)?;
        let opened = timeout_at(ticket.deadline + GRACE, opened).await;
        opened.map_err(|_| Error::Timeout(config.timeout))?.map_err(|_| Error::InvalidConnection)??;
        Ok(Connection { jobs, state, timeout: config.timeout, _store: self.store.clone() })
    }
}

/// A connection to a SQLite database. Dropping it rolls back its transaction and closes it.
pub struct Connection {
    jobs: mpsc::Sender<Job>,
    state: Arc<Mutex<Outcome>>,
    timeout: Duration,
    _store: Arc<Store>,
}

impl Connection {
    /// Runs one statement and returns its rows. Statements of one connection run one after the other.
    ///
    /// Dropping the future interrupts the statement. SQLite then rolls back the transaction that the statement was
    /// part of if it was writing.
    pub async fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<QueryResult> {
        self.run(statement, parameters, Mode::Kept).await
    }

    /// Runs one statement on a connection that others use next: a transaction that it leaves open is rolled back. Gives its rows,
    /// and how many rows it changed.
    pub async fn execute_pooled(&self, statement: &str, parameters: Vec<Value>) -> Result<(QueryResult, u64)> {
        let result = self.run(statement, parameters, Mode::Pooled).await?;
        Ok((result, self.state.lock().unwrap_or_else(PoisonError::into_inner).changed))
    }

    /// Runs several statements without parameters. A transaction that they leave open is rolled back.
    pub async fn batch(&self, statements: &str) -> Result<()> {
        self.run(statements, Vec::new(), Mode::Batch).await.map(drop)
    }

    async fn run(&self, statement: &str, parameters: Vec<Value>, mode: Mode) -> Result<QueryResult> {
        let ticket = Ticket::new(Instant::now() + self.timeout);
        let _cancel = CancelOnDrop(ticket.clone());
        let (reply, result) = oneshot::channel();
        let job = Job {
            sql: statement.to_owned(),
            parameters,
            mode,
            ticket: ticket.clone(),
            state: self.state.clone(),
            reply,
        };
        let late = |_| Error::Timeout(self.timeout);
        let sent = timeout_at(ticket.deadline, self.jobs.send(job)).await.map_err(late)?;
        sent.map_err(|_| Error::InvalidConnection)?;
        timeout_at(ticket.deadline + GRACE, result).await.map_err(late)?.map_err(|_| Error::InvalidConnection)?
    }

    /// The row id of the last row that this connection inserted, or 0 if it has inserted none.
    pub fn last_insert_rowid(&self) -> i64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).last_insert_rowid
    }

    /// How many rows the last INSERT, UPDATE or DELETE of this connection changed.
    pub fn changes(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).changes
    }
}

/// Interrupts the statement of a ticket, unless it has ended.
struct CancelOnDrop(Arc<Ticket>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
