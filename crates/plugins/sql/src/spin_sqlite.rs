//! `spin:sqlite@3`: connections to SQLite databases.

use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::sqlite::spin::sqlite::sqlite::{self, Error, QueryResult, RowResult, Value};
use crate::handle::Databases;
use crate::sqlite::{self as engine, Connection};
use crate::store::Engine;

/// A connection that a guest opened.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct OpenConnection(Connection);

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::DatabaseFull => Self::DatabaseFull,
            engine::Error::InvalidConnection => Self::InvalidConnection,
            other => Self::Io(other.to_string()),
        }
    }
}

impl sqlite::Host for Databases<'_> {}

impl sqlite::HostConnection for Databases<'_> {
    async fn open(&mut self, database: String) -> Result<std::result::Result<Resource<OpenConnection>, Error>> {
        let Some(access) = self.granted.by_name.get(&database) else { return Ok(Err(Error::NoSuchDatabase)) };
        let Engine::Sqlite(sqlite) = &*access.engine else {
            return Ok(Err(Error::Io("the database is not one of SQLite".to_owned())));
        };
        match sqlite.connect().await {
            Ok(connection) => Ok(Ok(self.table.push(OpenConnection(connection))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn execute(
        &mut self,
        connection: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<std::result::Result<QueryResult, Error>> {
        let OpenConnection(connection) = self.table.get(&connection)?;
        let parameters = parameters.into_iter().map(Into::into).collect();
        let result = connection.execute(&statement, parameters).await;
        Ok(result.map(Into::into).map_err(Into::into))
    }

    async fn last_insert_rowid(&mut self, connection: Resource<OpenConnection>) -> Result<i64> {
        Ok(self.table.get(&connection)?.0.last_insert_rowid())
    }

    async fn changes(&mut self, connection: Resource<OpenConnection>) -> Result<u64> {
        Ok(self.table.get(&connection)?.0.changes())
    }

    async fn drop(&mut self, connection: Resource<OpenConnection>) -> Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl From<Value> for engine::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Integer(value) => Self::Integer(value),
            Value::Real(value) => Self::Real(value),
            Value::Text(value) => Self::Text(value),
            Value::Blob(value) => Self::Blob(value),
            Value::Null => Self::Null,
        }
    }
}

impl From<engine::Value> for Value {
    fn from(value: engine::Value) -> Self {
        match value {
            engine::Value::Integer(value) => Self::Integer(value),
            engine::Value::Real(value) => Self::Real(value),
            engine::Value::Text(value) => Self::Text(value),
            engine::Value::Blob(value) => Self::Blob(value),
            engine::Value::Null => Self::Null,
        }
    }
}

impl From<engine::QueryResult> for QueryResult {
    fn from(result: engine::QueryResult) -> Self {
        let row = |values: Vec<engine::Value>| RowResult { values: values.into_iter().map(Into::into).collect() };
        Self { columns: result.columns, rows: result.rows.into_iter().map(row).collect() }
    }
}
