//! A PostgreSQL server as a store.
//!
//! Takes the operator's URL, and statements of components; gives rows and typed errors. It connects when it is first
//! used, over TLS if the URL says so. Each component has a [`Session`] of its own: no setting, transaction, temporary table
//! or prepared statement of one reaches another. A statement that takes too long, or whose caller has gone, is cancelled
//! on the server. The store never shows its URL.

mod codec;
mod config;
mod dialect;
mod error;
pub mod float;
mod link;
mod pool;
mod rows;
mod run;
mod session;
pub mod spin;
mod tls;
pub mod value;
mod wire;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::config::PostgresConfig;
pub use self::dialect::Value;
pub use self::error::{DbError, Error, ExecError, QueryError, Result, SpinError, WasmcloudError};
pub use self::rows::{Completion, Rows};
pub use self::session::{Dedicated, RowSet, Session};
pub use self::value::PgValue;

/// A PostgreSQL database that components may use. Cloning it is cheap, and clones share the connections.
#[derive(Clone)]
pub struct Postgres {
    pool: Arc<pool::Pool>,
}

impl Postgres {
    /// A store for a database. It checks the settings and connects later.
    pub fn new(config: PostgresConfig) -> Result<Self> {
        Ok(Self { pool: Arc::new(pool::Pool::new(config)?) })
    }

    /// A session for one component, in the values of a WIT package: `session::<PgValue>()` for `wasmcloud:postgres`,
    /// `session::<DbValue>()` for `spin:postgres`.
    pub fn session<V: Value>(&self) -> Session<V> {
        Session::new(self.pool.clone())
    }
}
