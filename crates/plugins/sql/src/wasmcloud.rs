//! `wasmcloud:postgres`: both versions, on PostgreSQL and, with its values, on SQLite.

use std::future::ready;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::Either;
use tokio::sync::oneshot;
use wasmtime::Result;
use wasmtime::component::{Accessor, FutureReader, StreamReader};
use wharf_stores::Held;
use wharf_stores::streams::Items;

use crate::bindings::types_v1::{
    PreparedStatementExecError, QueryError, ResultRow, ResultRowEntry, StatementPrepareError,
};
use crate::bindings::types_v2::{Error, Row};
use crate::bindings::v1::wasmcloud::postgres as v1;
use crate::bindings::v2::wasmcloud::postgres as v2;
use crate::embedded;
use crate::handle::{Databases, HasDatabases};
use crate::postgres::{self, PgValue};
use crate::store::{Access, Engine};

/// What a statement without a stream gives: names of columns, and rows.
type Table = (Vec<String>, Vec<Vec<PgValue>>);

fn none_granted() -> postgres::Error {
    postgres::Error::ConnectionFailed("access denied: the component was granted no database".to_owned())
}

async fn query(access: &Access, statement: &str, parameters: Vec<PgValue>) -> Result<Table, postgres::Error> {
    match (&*access.engine, &access.session) {
        (Engine::Sqlite(sqlite), _) => {
            let (result, _) = embedded::run(access, sqlite, statement, parameters).await?;
            let row = |row: Vec<_>| row.into_iter().map(embedded::from_sqlite).collect();
            Ok((result.columns, result.rows.into_iter().map(row).collect()))
        }
        (Engine::Postgres(_), Some(session)) => {
            let found = session.query(statement, parameters).await?;
            Ok((found.columns, found.rows))
        }
        (Engine::Postgres(_), None) => Err(none_granted()),
    }
}

async fn batch(access: &Access, statements: &str) -> Result<(), postgres::Error> {
    match (&*access.engine, &access.session) {
        (Engine::Sqlite(sqlite), _) => embedded::batch(access, sqlite, statements).await,
        (Engine::Postgres(_), Some(session)) => session.batch(statements).await,
        (Engine::Postgres(_), None) => Err(none_granted()),
    }
}

async fn exec(access: &Access, token: &str, parameters: Vec<PgValue>) -> Result<u64, postgres::Error> {
    match (&*access.engine, &access.session) {
        (Engine::Sqlite(sqlite), _) => {
            let statement = access.prepared(token).ok_or(postgres::Error::UnknownPrepared)?;
            Ok(embedded::run(access, sqlite, &statement, parameters).await?.1)
        }
        (Engine::Postgres(_), Some(session)) => session.exec(token, parameters).await,
        (Engine::Postgres(_), None) => Err(none_granted()),
    }
}

impl Databases<'_> {
    fn sole(&self) -> Result<Arc<Access>, postgres::Error> {
        self.granted.sole.clone().ok_or_else(none_granted)
    }
}

impl v1::query::Host for Databases<'_> {
    async fn query(
        &mut self,
        statement: String,
        parameters: Vec<PgValue>,
    ) -> Result<std::result::Result<Vec<ResultRow>, QueryError>> {
        let sole = self.sole();
        let found = async move { query(&*sole?, &statement, parameters).await };
        Ok(found.await.map(named).map_err(postgres::Error::into_draft))
    }

    async fn query_batch(&mut self, statements: String) -> Result<std::result::Result<(), QueryError>> {
        let sole = self.sole();
        let done = async move { batch(&*sole?, &statements).await };
        Ok(done.await.map_err(postgres::Error::into_draft))
    }
}

/// Rows with the names of their columns.
fn named((columns, rows): Table) -> Vec<ResultRow> {
    let row = |row: Vec<PgValue>| {
        let entries = columns.iter().cloned().zip(row);
        entries.map(|(column_name, value)| ResultRowEntry { column_name, value }).collect()
    };
    rows.into_iter().map(row).collect()
}

impl v1::prepared::Host for Databases<'_> {
    async fn prepare(&mut self, statement: String) -> Result<std::result::Result<String, StatementPrepareError>> {
        let sole = self.sole();
        let prepared = async move { sole?.prepare(&statement).await };
        Ok(prepared.await.map_err(|error: postgres::Error| StatementPrepareError::Unexpected(error.to_string())))
    }

    async fn exec(
        &mut self,
        token: String,
        parameters: Vec<PgValue>,
    ) -> Result<std::result::Result<u64, PreparedStatementExecError>> {
        let sole = self.sole();
        let changed = async move { exec(&*sole?, &token, parameters).await };
        Ok(changed.await.map_err(postgres::Error::into_draft_exec))
    }
}

impl v2::query::Host for Databases<'_> {}
impl v2::prepared::Host for Databases<'_> {}

/// The database of a component.
fn sole<T>(accessor: &Accessor<T, HasDatabases>) -> std::result::Result<Arc<Access>, Error> {
    accessor.with(|mut access| access.get().granted.sole.clone()).ok_or(Error::AccessDenied)
}

/// The database of a component, and the right to hold a statement while it is in progress.
fn sole_with<T>(
    accessor: &Accessor<T, HasDatabases>,
    statement: &str,
    parameters: &[PgValue],
) -> std::result::Result<(Arc<Access>, Held), Error> {
    let access = sole(accessor)?;
    let held = accessor.with(|mut store| store.get().hold(statement, parameters));
    Ok((access, held.map_err(postgres::Error::into_wasmcloud)?))
}

type Streamed = (Vec<String>, StreamReader<Row>, FutureReader<std::result::Result<(), Error>>);

impl<T: Send> v2::query::HostWithStore<T> for HasDatabases {
    async fn query(
        accessor: &Accessor<T, Self>,
        statement: String,
        parameters: Vec<PgValue>,
    ) -> Result<std::result::Result<Streamed, Error>> {
        let (access, _held) = match sole_with(accessor, &statement, &parameters) {
            Ok(access) => access,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(session) = &access.session {
            return match session.query_stream(&statement, parameters).await {
                Ok((columns, mut rows, completion)) => {
                    let mut completion = Either::Left(completion);
                    if columns.is_empty() {
                        // It has no rows, which a guest need not read: it is done when this returns.
                        while rows.next().await.is_some() {}
                        if let Err(error) = completion.await {
                            return Ok(Err(error.into_wasmcloud()));
                        }
                        completion = Either::Right(ready(Ok(())));
                    }
                    let (stream, completed) = accessor.with(|mut access| {
                        let rows = Items::new(rows.map(Ok::<_, postgres::Error>), drop);
                        let completed = async move {
                            Ok::<_, wasmtime::Error>(completion.await.map_err(postgres::Error::into_wasmcloud))
                        };
                        let stream = StreamReader::new(&mut access, rows)?;
                        Ok::<_, wasmtime::Error>((stream, FutureReader::new(&mut access, completed)?))
                    })?;
                    Ok(Ok((columns, stream, completed)))
                }
                Err(error) => Ok(Err(error.into_wasmcloud())),
            };
        }
        match query(&access, &statement, parameters).await {
            Ok((columns, rows)) => {
                let (ended_tx, ended_rx) = oneshot::channel();
                let (stream, completed) = accessor.with(|mut access| {
                    let rows = futures_util::stream::iter(rows.into_iter().map(Ok::<_, postgres::Error>));
                    let rows = Items::new(rows, move |_| {
                        ended_tx.send(()).ok();
                    });
                    let completed = async move {
                        // A guest that drops the rows has had enough of them.
                        ended_rx.await.ok();
                        Ok::<_, wasmtime::Error>(Ok(()))
                    };
                    let stream = StreamReader::new(&mut access, rows)?;
                    Ok::<_, wasmtime::Error>((stream, FutureReader::new(&mut access, completed)?))
                })?;
                Ok(Ok((columns, stream, completed)))
            }
            Err(error) => Ok(Err(error.into_wasmcloud())),
        }
    }

    async fn query_batch(accessor: &Accessor<T, Self>, statements: String) -> Result<std::result::Result<(), Error>> {
        match sole_with(accessor, &statements, &[]) {
            Ok((access, _held)) => Ok(batch(&access, &statements).await.map_err(postgres::Error::into_wasmcloud)),
            Err(error) => Ok(Err(error)),
        }
    }
}

impl<T: Send> v2::prepared::HostWithStore<T> for HasDatabases {
    async fn prepare(accessor: &Accessor<T, Self>, statement: String) -> Result<std::result::Result<String, Error>> {
        match sole_with(accessor, &statement, &[]) {
            Ok((access, _held)) => Ok(access.prepare(&statement).await.map_err(postgres::Error::into_wasmcloud)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn exec(
        accessor: &Accessor<T, Self>,
        token: String,
        parameters: Vec<PgValue>,
    ) -> Result<std::result::Result<u64, Error>> {
        match sole_with(accessor, &token, &parameters) {
            Ok((access, _held)) => Ok(exec(&access, &token, parameters).await.map_err(postgres::Error::into_wasmcloud)),
            Err(error) => Ok(Err(error)),
        }
    }
}
