//! The values, results and errors of SQLite stores.
//!
//! Takes nothing; gives the types that mirror `spin:sqlite`. They never hold a path of the host.

use std::time::Duration;

/// A value that a statement takes or returns. Mirrors `spin:sqlite/sqlite.value`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A signed integer of 64 bits.
    Integer(i64),
    /// A floating-point number. SQLite stores NaN as NULL.
    Real(f64),
    /// A text in UTF-8.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// NULL.
    Null,
}

/// The rows that a statement returned. Mirrors `spin:sqlite/sqlite.query-result`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryResult {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, each with one value for each column.
    pub rows: Vec<Vec<Value>>,
}

/// Why an operation of a SQLite store failed.
///
/// `spin:sqlite` has fewer cases: a host maps [`Error::DatabaseFull`] to `database-full`,
/// [`Error::InvalidConnection`] to `invalid-connection` and the others to `io` with their message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The database has reached its limit, or the disk is full.
    #[error("the database is full")]
    DatabaseFull,
    /// The connection's thread has ended.
    #[error("the connection is closed")]
    InvalidConnection,
    /// The store has as many open connections as it may have.
    #[error("limit reached: {limit} open connections; close one first")]
    TooManyConnections {
        /// The store's limit.
        limit: usize,
    },
    /// The statement did not end in time.
    #[error("the statement did not end within {0:?}")]
    Timeout(Duration),
    /// Another connection held a lock for too long, or the statement would have waited for itself.
    #[error("the database is locked by another connection")]
    Busy,
    /// The rows need more memory than a result may use.
    #[error("limit reached: a result of {limit} bytes; use LIMIT or select fewer columns")]
    ResultTooLarge {
        /// The store's limit in bytes.
        limit: usize,
    },
    /// The statement does something that components may not do.
    #[error("not permitted: {0}")]
    Denied(String),
    /// SQLite rejected the statement.
    #[error("{0}")]
    Sql(String),
    /// The file cannot be read or written.
    #[error("{0}")]
    Io(String),
}

/// The result of an operation of a SQLite store.
pub type Result<T> = std::result::Result<T, Error>;
