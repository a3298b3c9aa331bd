//! What one component does with a store.
//!
//! Takes statements and parameters; gives rows, counts and tokens. A session's settings, temporary tables and prepared
//! statements are its own: no other session sees them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::timeout;

use super::dialect::Value;
use super::error::{Error, Result};
use super::pool::{Lease, Pool};
use super::rows::{Completion, Rows};
use super::value::PgValue;

/// The longest statement in bytes.
const MAX_STATEMENT: usize = 4 * 1024 * 1024;
/// The most bytes of all prepared statements of a session.
const MAX_PREPARED_BYTES: usize = 16 * 1024 * 1024;

static NEXT_OWNER: AtomicU64 = AtomicU64::new(1);

/// The rows of a result that was collected.
#[derive(Clone, Debug, PartialEq)]
pub struct RowSet<V: Value> {
    /// The columns.
    pub columns: Vec<V::Column>,
    /// The rows, each with one value for each column.
    pub rows: Vec<Vec<V>>,
}

/// One component's use of a store. Keep one for each component; dropping it frees its prepared statements.
pub struct Session<V: Value = PgValue> {
    pool: Arc<Pool>,
    owner: u64,
    prepared: Mutex<Prepared>,
    values: std::marker::PhantomData<fn() -> V>,
}

/// Statements by their token.
#[derive(Default)]
struct Prepared {
    statements: HashMap<String, Arc<str>>,
    bytes: usize,
}

impl<V: Value> Session<V> {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        let owner = NEXT_OWNER.fetch_add(1, Ordering::Relaxed);
        Self { pool, owner, prepared: Mutex::default(), values: std::marker::PhantomData }
    }

    /// Runs a statement and returns its columns, its rows as they are asked for, and how it ends.
    ///
    /// The server waits while no row is asked for. Dropping the rows cancels the statement.
    pub async fn query_stream(
        &self,
        sql: &str,
        parameters: Vec<V::Parameter>,
    ) -> Result<(Vec<V::Column>, Rows<V>, Completion)> {
        check(sql)?;
        let mut lease = self.lend(sql).await?;
        let opened = lease.open::<V>(sql, &parameters).await?;
        Ok(Rows::new(lease, opened))
    }

    /// Runs a statement and returns all rows.
    pub async fn query(&self, sql: &str, parameters: Vec<V::Parameter>) -> Result<RowSet<V>> {
        let (columns, rows, completion) = self.query_stream(sql, parameters).await?;
        collect(&self.pool, columns, rows, completion).await
    }

    /// Runs a statement and returns how many rows it affected.
    pub async fn execute(&self, sql: &str, parameters: Vec<V::Parameter>) -> Result<u64> {
        check(sql)?;
        let mut lease = self.lend(sql).await?;
        lease.execute::<V>(sql, &parameters).await
    }

    /// Runs several statements without parameters. What they leave in the session is undone afterwards, such as an open
    /// transaction, a setting or a temporary table.
    pub async fn batch(&self, sql: &str) -> Result<()> {
        check(sql)?;
        self.pool.lend(self.owner).await?.batch(sql).await
    }

    /// Prepares a statement and returns a token for it. The token is good for this session only, on each connection.
    pub async fn prepare(&self, sql: &str) -> Result<String> {
        check(sql)?;
        self.check_room(sql)?;
        // The server checks the statement, and the connection keeps it.
        self.lend(sql).await?;
        let mut random = [0; 16];
        let filled = SystemRandom::new().fill(&mut random);
        filled.map_err(|_| Error::ConnectionFailed("the system has no random numbers".to_owned()))?;
        let token = format!("{:032x}", u128::from_be_bytes(random));
        // Other tasks may have taken the room in the meantime.
        self.check_room(sql)?;
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.bytes += sql.len();
        prepared.statements.insert(token.clone(), sql.into());
        Ok(token)
    }

    /// Runs a prepared statement and returns how many rows it affected.
    pub async fn exec(&self, token: &str, parameters: Vec<V::Parameter>) -> Result<u64> {
        let sql = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).statements.get(token).cloned();
        self.execute(&sql.ok_or(Error::UnknownPrepared)?, parameters).await
    }

    /// A connection for this session alone, whose transactions and settings last until it is dropped.
    pub fn dedicated(&self) -> Dedicated<V> {
        let owner = NEXT_OWNER.fetch_add(1, Ordering::Relaxed);
        let lease = tokio::sync::Mutex::new(None);
        Dedicated { pool: self.pool.clone(), owner, lease, values: std::marker::PhantomData }
    }

    fn check_room(&self, sql: &str) -> Result<()> {
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.pool.config.max_prepared;
        let is_full = prepared.statements.len() >= limit || prepared.bytes + sql.len() > MAX_PREPARED_BYTES;
        if is_full { Err(Error::TooManyPrepared { limit }) } else { Ok(()) }
    }

    /// Lends a connection that has prepared `sql`. One that broke while it was idle is replaced, which is safe because
    /// nothing has run.
    async fn lend(&self, sql: &str) -> Result<Lease> {
        loop {
            let mut lease = self.pool.lend(self.owner).await?;
            match lease.prepare(sql).await {
                Err(Error::ConnectionFailed(_)) if !lease.is_new => {}
                prepared => return prepared.map(|_| lease),
            }
        }
    }
}

/// A connection that one user has for itself, as `spin:postgres` promises it. Statements run one after the other.
///
/// It takes one of the store's connections with its first statement. After a statement failed
/// because the connection broke, a later one has a new connection, without the settings and the transaction of the old one.
pub struct Dedicated<V: Value> {
    pool: Arc<Pool>,
    owner: u64,
    lease: tokio::sync::Mutex<Option<Lease>>,
    values: std::marker::PhantomData<fn() -> V>,
}

impl<V: Value> Dedicated<V> {
    /// Connects, so that an error shows before the first statement.
    pub async fn connect(&self) -> Result<()> {
        let mut lease = self.lease.lock().await;
        self.lease(&mut lease).await.map(|_| ())
    }

    /// Runs a statement and returns all rows.
    pub async fn query(&self, sql: &str, parameters: Vec<V::Parameter>) -> Result<RowSet<V>> {
        check(sql)?;
        let mut slot = self.lock().await?;
        let opened = self.lease(&mut slot).await?.open::<V>(sql, &parameters).await?;
        let Some(lease) = slot.take() else { return Err(Error::ConnectionFailed("it is in use".to_owned())) };
        let (columns, mut rows, completion) = Rows::<V>::new(lease, opened);
        let home = rows.keep_lease();
        let collected = collect(&self.pool, columns, rows, completion).await;
        *slot = home.lock().unwrap_or_else(PoisonError::into_inner).take();
        collected
    }

    /// Runs a statement and returns how many rows it affected.
    pub async fn execute(&self, sql: &str, parameters: Vec<V::Parameter>) -> Result<u64> {
        check(sql)?;
        let mut slot = self.lock().await?;
        self.lease(&mut slot).await?.execute::<V>(sql, &parameters).await
    }

    /// Runs several statements without parameters.
    pub async fn batch(&self, sql: &str) -> Result<()> {
        check(sql)?;
        let mut slot = self.lock().await?;
        self.lease(&mut slot).await?.batch(sql).await
    }

    async fn lock(&self) -> Result<tokio::sync::MutexGuard<'_, Option<Lease>>> {
        timeout(self.pool.config.statement_timeout, self.lease.lock()).await.map_err(|_| Error::Timeout)
    }

    async fn lease<'a>(&self, slot: &'a mut Option<Lease>) -> Result<&'a mut Lease> {
        // A connection whose statement was abandoned is cancelled when it is dropped.
        let lease = match slot.take() {
            Some(lease) if lease.is_usable() => lease,
            Some(lease) => {
                let abandoned = lease.busy;
                drop(lease);
                if !abandoned {
                    return Err(Error::ConnectionFailed("the connection is closed".to_owned()));
                }
                self.pool.lend(self.owner).await?
            }
            None => self.pool.lend(self.owner).await?,
        };
        let lease = slot.insert(lease);
        // Whatever the statements do, the connection is cleaned before another session has it.
        lease.link()?.doubtful = true;
        Ok(lease)
    }
}

fn check(sql: &str) -> Result<()> {
    if sql.len() > MAX_STATEMENT {
        return Err(Error::InvalidQuery(format!("limit reached: a statement of {MAX_STATEMENT} bytes")));
    }
    if sql.contains('\0') {
        return Err(Error::InvalidQuery("a statement has no zero byte".to_owned()));
    }
    Ok(())
}

async fn collect<V: Value>(
    pool: &Pool,
    columns: Vec<V::Column>,
    mut rows: Rows<V>,
    completion: Completion,
) -> Result<RowSet<V>> {
    let limit = pool.config.max_rows_bytes;
    let read = async {
        let mut collected = Vec::new();
        while let Some(row) = std::future::poll_fn(|cx| rows.poll_row(cx)).await {
            collected.push(row);
            if rows.bytes() > limit {
                return Err(Error::ResultTooLarge { limit });
            }
        }
        Ok(collected)
    };
    let rows = timeout(pool.config.statement_timeout, read).await.map_err(|_| Error::Timeout)??;
    completion.await?;
    Ok(RowSet { columns, rows })
}
