//! Runs the statements of one connection on a thread.
//!
//! Takes jobs one after the other; gives each a result by its deadline. The thread ends when its connection is dropped.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::ffi::ErrorCode;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, Statement};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::open::{self, Setup};
use super::sandbox;
use super::value::{Error, QueryResult, Result, Value};

/// How many steps of SQLite's virtual machine pass between two looks at the deadline.
const STEPS: i32 = 1000;
/// The longest time between two attempts to get a lock.
const RETRY: Duration = Duration::from_millis(10);
/// SQLite's code for a failure to extend the index of the write-ahead log, which a full disk causes.
const SHM_SIZE: i32 = 4874;

/// The right of a statement to run: until its deadline, and until its caller goes.
pub(super) struct Ticket {
    pub(super) deadline: Instant,
    cancelled: AtomicBool,
}

impl Ticket {
    pub(super) fn new(deadline: Instant) -> Arc<Self> {
        Arc::new(Self { deadline, cancelled: AtomicBool::new(false) })
    }

    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn has_expired(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

/// What a connection reports of its last statements.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) last_insert_rowid: i64,
    pub(super) changes: u64,
    /// How many rows the last statement changed; 0 if it only read.
    pub(super) changed: u64,
}

/// What a text is, and what becomes of a transaction that it leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// One statement of a connection that has a user: its transaction goes on.
    Kept,
    /// One statement of a connection that others use next: its transaction is rolled back.
    Pooled,
    /// Several statements, likewise.
    Batch,
}

/// A statement to run.
pub(super) struct Job {
    pub(super) sql: String,
    pub(super) parameters: Vec<Value>,
    pub(super) mode: Mode,
    pub(super) ticket: Arc<Ticket>,
    pub(super) state: Arc<Mutex<Outcome>>,
    pub(super) reply: oneshot::Sender<Result<QueryResult>>,
}

/// The ticket of the statement that runs now. SQLite's handlers look at it on the same thread.
type Current = Arc<Mutex<Arc<Ticket>>>;

fn has_expired(current: &Current) -> bool {
    current.lock().unwrap_or_else(PoisonError::into_inner).has_expired()
}

/// Starts the thread of a connection. It holds `slot` until the connection is closed.
pub(super) fn start(
    setup: Setup,
    ticket: Arc<Ticket>,
    mut jobs: mpsc::Receiver<Job>,
    ready: oneshot::Sender<Result<()>>,
    slot: OwnedSemaphorePermit,
) -> Result<()> {
    let run = move || {
        let worker = Worker::open(&setup, &ticket);
        match worker {
            Ok(worker) => {
                if ready.send(Ok(())).is_ok() {
                    while let Some(job) = jobs.blocking_recv() {
                        worker.run(job);
                    }
                }
                drop(worker);
            }
            Err(error) => drop(ready.send(Err(error))),
        }
        drop(slot);
    };
    let started = thread::Builder::new().name("wharf-sqlite".to_owned()).spawn(run);
    started.map(drop).map_err(|error| Error::Io(format!("cannot start a thread: {}", error.kind())))
}

struct Worker {
    connection: Connection,
    current: Current,
    vacuuming: Arc<AtomicBool>,
    log: Option<(PathBuf, u64)>,
    /// Whether frames of a log that is too long are still in use.
    log_is_stuck: Cell<bool>,
    timeout: Duration,
    max_rows_bytes: usize,
}

impl Worker {
    fn open(setup: &Setup, ticket: &Arc<Ticket>) -> Result<Self> {
        let current: Current = Arc::new(Mutex::new(ticket.clone()));
        let vacuuming = Arc::new(AtomicBool::new(false));
        let wait = {
            let current = current.clone();
            move |attempts: i32| {
                if has_expired(&current) {
                    return false;
                }
                thread::sleep(RETRY.min(Duration::from_millis(attempts.unsigned_abs().into())));
                true
            }
        };
        // Connections that open a new database at the same time get in each other's way without waiting.
        let mut connection = loop {
            match open::confined(setup, vacuuming.clone(), wait.clone()) {
                Err(Error::Busy) if !ticket.has_expired() => thread::sleep(RETRY),
                opened => break opened?,
            }
        };
        let watched = current.clone();
        connection.progress_handler(STEPS, Some(move || has_expired(&watched))).map_err(translate)?;
        let (timeout, max_rows_bytes, log) = (setup.timeout, setup.max_rows_bytes, setup.log());
        let log_is_stuck = Cell::new(false);
        Ok(Self { connection, current, vacuuming, log, log_is_stuck, timeout, max_rows_bytes })
    }

    fn run(&self, job: Job) {
        if job.ticket.has_expired() {
            return drop(job.reply.send(Err(Error::Timeout(self.timeout))));
        }
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = job.ticket.clone();
        let vacuum = sandbox::is_vacuum(&job.sql);
        if vacuum {
            self.permit_vacuum(true);
        }
        let before = self.connection.total_changes();
        let mut result = match job.mode {
            Mode::Batch => self.batch(&job.sql),
            Mode::Kept | Mode::Pooled => self.execute(&job.sql, job.parameters),
        };
        let changes = self.connection.changes();
        let changed = if self.connection.total_changes() == before { 0 } else { changes };
        if job.mode != Mode::Kept && !self.connection.is_autocommit() {
            self.roll_back();
        }
        if vacuum {
            self.permit_vacuum(false);
        }
        // SQLite gives up a lock or a statement because its time is over; the caller should learn the reason.
        if job.ticket.has_expired() && result.is_err() {
            result = Err(Error::Timeout(self.timeout));
        }
        *job.state.lock().unwrap_or_else(PoisonError::into_inner) =
            Outcome { last_insert_rowid: self.connection.last_insert_rowid(), changes, changed };
        drop(job.reply.send(result));
    }

    /// Ends the transaction that a statement left open. A statement that failed may have ended it already.
    fn roll_back(&self) {
        // The deadline may be over, which must not keep the transaction.
        let never = Ticket::new(Instant::now() + self.timeout);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = never;
        if let Err(error) = self.connection.execute_batch("ROLLBACK") {
            tracing::warn!(%error, "cannot roll a transaction back");
        }
    }

    /// Runs several statements without parameters.
    fn batch(&self, sql: &str) -> Result<QueryResult> {
        check_length(sql)?;
        let mut statements = Batch::new(&self.connection, sql);
        while let Some(mut statement) = statements.next().map_err(translate)? {
            self.check_log(&statement)?;
            self.rows(&mut statement)?;
        }
        Ok(QueryResult::default())
    }

    fn permit_vacuum(&self, permitted: bool) {
        self.vacuuming.store(permitted, Ordering::Relaxed);
        let set = self.connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, i32::from(permitted));
        if let Err(error) = set {
            tracing::warn!(%error, "cannot change a limit of SQLite");
        }
    }

    fn execute(&self, sql: &str, parameters: Vec<Value>) -> Result<QueryResult> {
        check_length(sql)?;
        let mut statement = self.prepare(sql)?;
        let expected = statement.parameter_count();
        if expected != parameters.len() {
            let found = parameters.len();
            return Err(Error::Sql(format!("expected {expected} parameters, found {found}")));
        }
        self.check_log(&statement)?;
        for (index, value) in parameters.into_iter().enumerate() {
            let bound = match value {
                Value::Integer(value) => statement.raw_bind_parameter(index + 1, value),
                Value::Real(value) => statement.raw_bind_parameter(index + 1, value),
                Value::Text(value) => statement.raw_bind_parameter(index + 1, value),
                Value::Blob(value) => statement.raw_bind_parameter(index + 1, value),
                Value::Null => statement.raw_bind_parameter(index + 1, rusqlite::types::Null),
            };
            bound.map_err(translate)?;
        }
        self.rows(&mut statement)
    }

    /// Prepares the only statement of a text. `Connection::prepare` would recurse for each further statement, so that
    /// a long text of short statements would overflow the stack.
    fn prepare(&self, sql: &str) -> Result<Statement<'_>> {
        let mut statements = Batch::new(&self.connection, sql);
        let first = statements.next().map_err(translate)?;
        let first = first.ok_or_else(|| Error::Sql("expected a statement, found none".to_owned()))?;
        match statements.next() {
            Ok(None) => Ok(first),
            Ok(Some(_)) | Err(_) => Err(Error::Sql("expected one statement, found more".to_owned())),
        }
    }

    /// Rejects a write while the log is too long and cannot be used anew, which a transaction that reads for ever can
    /// cause. Within a transaction the answer from before it holds: one transaction writes no page to the log twice.
    fn check_log(&self, statement: &Statement<'_>) -> Result<()> {
        let Some((path, max)) = &self.log else { return Ok(()) };
        if std::fs::metadata(path).map_or(true, |file| file.len() <= *max) {
            self.log_is_stuck.set(false);
            return Ok(());
        }
        if self.connection.is_autocommit() {
            let frames = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |row| {
                Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            });
            let (written, copied) = frames.map_err(translate)?;
            self.log_is_stuck.set(copied < written);
        }
        if self.log_is_stuck.get() && !statement.readonly() { Err(Error::DatabaseFull) } else { Ok(()) }
    }

    fn rows(&self, statement: &mut Statement<'_>) -> Result<QueryResult> {
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let width = columns.len();
        let mut size = columns.iter().map(|name| size_of::<String>() + name.len()).sum::<usize>();
        let mut result = QueryResult { columns, rows: Vec::new() };
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(translate)? {
            let mut values = Vec::with_capacity(width);
            size += size_of::<Vec<Value>>();
            for column in 0..width {
                let value = row.get_ref(column).map_err(translate)?;
                // The size is checked before a value is copied.
                size += size_of::<Value>() + value.as_bytes_or_null().map_or(0, |bytes| bytes.map_or(0, <[u8]>::len));
                if size > self.max_rows_bytes {
                    return Err(Error::ResultTooLarge { limit: self.max_rows_bytes });
                }
                values.push(owned(value)?);
            }
            if width > 0 {
                result.rows.push(values);
            }
        }
        Ok(result)
    }
}

fn check_length(sql: &str) -> Result<()> {
    if sql.len() > usize::try_from(sandbox::MAX_SQL).unwrap_or(usize::MAX) {
        return Err(Error::Sql(format!("limit reached: a statement of {} bytes", sandbox::MAX_SQL)));
    }
    Ok(())
}

fn owned(value: ValueRef<'_>) -> Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Integer(value),
        ValueRef::Real(value) => Value::Real(value),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_owned()),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => {
                return Err(Error::Sql("a text is not UTF-8; read it with `CAST(… AS BLOB)`".to_owned()));
            }
        },
    })
}

/// SQLite's errors as this store reports them. The messages of errors that concern files are the store's own, because
/// SQLite's name the file.
pub(super) fn translate(error: rusqlite::Error) -> Error {
    let (code, message) = match error {
        rusqlite::Error::SqliteFailure(code, message) => (code, message),
        rusqlite::Error::SqlInputError { error, msg, .. } => (error, Some(msg)),
        other => return Error::Sql(other.to_string()),
    };
    let io = |message: &str| Error::Io(message.to_owned());
    match code.code {
        ErrorCode::DiskFull => Error::DatabaseFull,
        ErrorCode::SystemIoFailure if code.extended_code == SHM_SIZE => Error::DatabaseFull,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Error::Busy,
        ErrorCode::DatabaseCorrupt => io("the database is corrupt"),
        ErrorCode::NotADatabase => io("the file is not a database"),
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => io("cannot open the database file"),
        ErrorCode::SystemIoFailure => io(&format!("cannot read or write the database file ({})", code.extended_code)),
        ErrorCode::OutOfMemory => io("out of memory"),
        ErrorCode::AuthorizationForStatementDenied => {
            Error::Denied(message.unwrap_or_else(|| "this statement".to_owned()))
        }
        _ => Error::Sql(message.unwrap_or_else(|| code.to_string())),
    }
}
