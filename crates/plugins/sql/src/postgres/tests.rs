//! Tests with a real PostgreSQL server.

mod faults;
#[path = "../../../../cli/tests/support/postgres.rs"]
mod server;
mod sessions;
mod streams;
mod tls;
mod values;

use std::time::{Duration, Instant};

use self::server::Postgres as Server;
use super::value::PgValue;
use super::{Error, Postgres, PostgresConfig, RowSet, Session};

/// How long a test waits for something that comes soon.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(server: &Server) -> PostgresConfig {
    PostgresConfig::new(format!("{}?sslmode=disable", server.url()))
}

fn session(server: &Server) -> Session {
    Postgres::new(config(server)).unwrap().session()
}

async fn query(session: &Session, sql: &str) -> Result<RowSet<PgValue>, Error> {
    session.query(sql, Vec::new()).await
}

/// The only value of a result.
async fn value(session: &Session, sql: &str) -> PgValue {
    let mut result = query(session, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    result.rows.pop().unwrap().pop().unwrap()
}

fn text(value: &str) -> PgValue {
    PgValue::Text(value.to_owned())
}

/// Waits until the server says so.
async fn until(server: &Server, sql: &str, expected: &str) {
    let start = Instant::now();
    loop {
        let found = server.query(sql);
        if found == expected {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{sql}: {found}, expected {expected}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The SQLSTATE of an error.
fn code(error: &Error) -> &str {
    match error {
        Error::QueryFailed(error) => &error.code,
        other => panic!("{other:?}"),
    }
}
