//! Runs statements on a connection that a session has.
//!
//! Takes statements; gives their results within the time that they have. While a statement may run, the lease is marked
//! as busy, so that dropping it, for whatever reason, cancels the statement on the server.

use tokio::time::timeout;
use tokio_postgres::{RowStream, Statement};

use super::codec::{Context, Encoded};
use super::dialect::{self, Value};
use super::error::{Error, Result};
use super::pool::Lease;

/// The decimal places of `money` if the server has no such type.
const DEFAULT_MONEY_SCALE: u32 = 2;

/// A statement that runs and returns rows.
pub(super) struct Opened {
    pub(super) stream: RowStream,
    pub(super) statement: Statement,
    pub(super) context: Context,
}

impl Lease {
    /// Prepares a statement, unless the connection has done so before.
    pub(super) async fn prepare(&mut self, sql: &str) -> Result<Statement> {
        let link = self.link()?;
        if !is_plain(sql) {
            link.doubtful = true;
        }
        if let Some(statement) = link.kept(sql) {
            return Ok(statement);
        }
        self.busy = true;
        let limit = self.pool.config.statement_timeout;
        let prepared = timeout(limit, self.link()?.client.prepare(sql)).await.map_err(|_| Error::Timeout)?;
        match prepared {
            Ok(statement) => {
                self.busy = false;
                self.link()?.keep(sql, &statement);
                Ok(statement)
            }
            Err(error) => {
                // The failure may have come after the client prepared statements of its own.
                let code = error.code().map_or("", |code| code.code());
                if let Ok(link) = self.link() {
                    link.asked_for_types |= !code.starts_with("42");
                }
                Err(self.fail(&error))
            }
        }
    }

    /// Prepares a statement and encodes its parameters.
    async fn bind<V: Value>(
        &mut self,
        sql: &str,
        parameters: &[V::Parameter],
    ) -> Result<(Statement, Vec<Encoded>, Context)> {
        let statement = self.prepare(sql).await?;
        let context = self.context(&statement).await?;
        let encoded = dialect::encode::<V>(parameters, statement.params(), context)?;
        Ok((statement, encoded, context))
    }

    /// What the form of a statement's values depends on. The server is asked only if there is an amount of money.
    async fn context(&mut self, statement: &Statement) -> Result<Context> {
        use tokio_postgres::types::Type;
        let columns = statement.columns().iter().map(tokio_postgres::Column::type_);
        let has_money =
            statement.params().iter().chain(columns).any(|ty| matches!(*ty, Type::MONEY | Type::MONEY_ARRAY));
        let link = self.link()?;
        if let Some(money_scale) = link.money_scale {
            return Ok(Context { money_scale });
        }
        let mut money_scale = DEFAULT_MONEY_SCALE;
        if has_money {
            self.busy = true;
            let limit = self.pool.config.statement_timeout;
            let question = "SELECT pg_catalog.scale(CAST(CAST(0 AS pg_catalog.money) AS pg_catalog.numeric))";
            let rows = timeout(limit, self.link()?.client.simple_query(question)).await.map_err(|_| Error::Timeout)?;
            let rows = rows.map_err(|error| self.error(&error))?;
            self.busy = false;
            let scale = rows.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
                _ => None,
            });
            money_scale = scale.unwrap_or(DEFAULT_MONEY_SCALE);
            self.link()?.money_scale = Some(money_scale);
        }
        Ok(Context { money_scale })
    }

    /// Starts a statement that returns rows.
    pub(super) async fn open<V: Value>(&mut self, sql: &str, parameters: &[V::Parameter]) -> Result<Opened> {
        let (statement, encoded, context) = self.bind::<V>(sql, parameters).await?;
        match self.start(&statement, encoded).await {
            Err(error) if self.is_stale(&error) => {
                self.link()?.forget(sql);
                let (statement, encoded, context) = self.bind::<V>(sql, parameters).await?;
                let stream = self.start(&statement, encoded).await?;
                Ok(Opened { stream, statement, context })
            }
            stream => Ok(Opened { stream: stream?, statement, context }),
        }
    }

    async fn start(&mut self, statement: &Statement, encoded: Vec<Encoded>) -> Result<RowStream> {
        self.busy = true;
        let limit = self.pool.config.statement_timeout;
        let started = timeout(limit, self.link()?.client.query_raw(statement, encoded)).await;
        let started = started.map_err(|_| Error::Timeout)?;
        started.map_err(|error| self.fail(&error))
    }

    /// Runs a statement and returns how many rows it affected.
    pub(super) async fn execute<V: Value>(&mut self, sql: &str, parameters: &[V::Parameter]) -> Result<u64> {
        let (statement, encoded, _) = self.bind::<V>(sql, parameters).await?;
        match self.count(&statement, encoded).await {
            Err(error) if self.is_stale(&error) => {
                self.link()?.forget(sql);
                let (statement, encoded, _) = self.bind::<V>(sql, parameters).await?;
                self.count(&statement, encoded).await
            }
            count => count,
        }
    }

    async fn count(&mut self, statement: &Statement, encoded: Vec<Encoded>) -> Result<u64> {
        self.busy = true;
        let limit = self.pool.config.statement_timeout;
        let ended = timeout(limit, self.link()?.client.execute_raw(statement, encoded)).await;
        let count = ended.map_err(|_| Error::Timeout)?.map_err(|error| self.fail(&error))?;
        self.busy = false;
        Ok(count)
    }

    /// Runs several statements without parameters.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<()> {
        self.link()?.doubtful = true;
        self.busy = true;
        let limit = self.pool.config.statement_timeout;
        let ended = timeout(limit, self.link()?.client.batch_execute(sql)).await;
        ended.map_err(|_| Error::Timeout)?.map_err(|error| self.fail(&error))?;
        self.busy = false;
        Ok(())
    }

    /// Notes that a statement failed. One that the server has not ended may still run.
    pub(super) fn fail(&mut self, error: &tokio_postgres::Error) -> Error {
        self.busy = error.as_db_error().is_none();
        let error = self.error(error);
        if let (Error::ConnectionFailed(_), Ok(link)) = (&error, self.link()) {
            link.broken = true;
        }
        error
    }

    /// Whether a kept statement failed before it ran because a table has changed, or because it is gone.
    fn is_stale(&mut self, error: &Error) -> bool {
        let Error::QueryFailed(error) = error else { return false };
        let is_idle = self.link().is_ok_and(|link| link.observed.is_idle());
        is_idle && (error.code == "26000" || (error.code == "0A000" && error.message.contains("cached plan")))
    }
}

/// Whether a statement leaves nothing behind in the session, as far as its text tells. A connection is cleaned between
/// sessions in any case; this one is for a session's own next statement.
fn is_plain(sql: &str) -> bool {
    const WORDS: [&str; 7] = ["select", "insert", "update", "delete", "merge", "values", "with"];
    const MARKS: [&str; 3] = ["set_config", "advisory_lock", "temp"];
    let lower = sql.to_ascii_lowercase();
    WORDS.iter().any(|word| lower.trim_start().starts_with(word)) && !MARKS.iter().any(|mark| lower.contains(mark))
}
