//! The notes in PostgreSQL: one connection for each request, closed when its client is dropped.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, NoTls, RowStream};
use wasip3::cli::environment::get_environment;
use wasip3::clocks::monotonic_clock::wait_for;

use crate::log;
use crate::tcp::TcpStream;

/// Each note as JSON, which PostgreSQL writes.
const NOTE: &str = "json_build_object('id', id, 'at', at, 'text', text)::text";

pub enum Failure {
    /// The database is not there, or has no room for one more connection.
    Away(String),
    /// The server rejected the query.
    Refused(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let away = [SqlState::TOO_MANY_CONNECTIONS, SqlState::CANNOT_CONNECT_NOW, SqlState::ADMIN_SHUTDOWN];
        let said = said(&error);
        match error.code() {
            Some(code) if !away.contains(code) => Self::Refused(said),
            None if !error.is_closed() && !is_io(&error) => Self::Refused(said),
            _ => Self::Away(said),
        }
    }
}

/// An error with its sources: its own text says only that it is one.
pub fn said(error: &Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(refusal), _) => format!("{}: {}", refusal.code().code(), refusal.message()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

fn is_io(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// How long connecting may take when `DATABASE_URL` has no `connect_timeout`.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects to the database of the variable `DATABASE_URL`, and creates the table if it is missing.
pub async fn open() -> Result<Client, Failure> {
    let url = get_environment().into_iter().find(|(name, _)| name == "DATABASE_URL");
    let (_, url) = url.ok_or_else(|| Failure::Refused("DATABASE_URL is not set".into()))?;
    let config: Config = url.parse()?;
    let patience = config.get_connect_timeout().copied().unwrap_or(PATIENCE);
    let late = wait_for(patience.as_nanos().try_into().unwrap_or(u64::MAX));
    match select(pin!(connect(&config)), pin!(late)).await {
        Either::Left((client, _)) => client,
        Either::Right(_) => Err(Failure::Away(format!("no connection within {patience:?}"))),
    }
}

async fn connect(config: &Config) -> Result<Client, Failure> {
    let (Some(Host::Tcp(host)), port) = (config.get_hosts().first(), config.get_ports().first()) else {
        return Err(Failure::Refused("DATABASE_URL names no host".into()));
    };
    let port = port.copied().unwrap_or(5432);
    let stream = TcpStream::connect(host, port).await;
    let stream = stream.map_err(|error| Failure::Away(format!("{host}:{port}: {error}")))?;
    let (mut client, connection) = config.connect_raw(stream, NoTls).await?;
    // What the client asks for goes through here; it ends when the client is dropped.
    wit_bindgen::spawn_local(async move {
        if let Err(error) = connection.await {
            log(&format!("the connection: {}", said(&error))).await;
        }
    });
    let table = client.query_typed_one("SELECT to_regclass('notes') IS NOT NULL", &[]).await?;
    if !table.get::<_, bool>(0) {
        create(&mut client).await?;
    }
    Ok(client)
}

/// Two requests that both found no table wait for each other here: CREATE TABLE IF NOT EXISTS alone can fail.
async fn create(client: &mut Client) -> Result<(), Failure> {
    let transaction = client.transaction().await?;
    transaction.query_typed("SELECT pg_advisory_xact_lock($1)", &[(&0x6e6f_7465_i64, Type::INT8)]).await?;
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS notes (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                at timestamptz NOT NULL DEFAULT now(),
                text text NOT NULL
            )",
        )
        .await?;
    Ok(transaction.commit().await?)
}

/// All notes, one JSON text in each row, as they come.
pub async fn all(client: &Client) -> Result<RowStream, Failure> {
    let nothing: [(&str, Type); 0] = [];
    Ok(client.query_typed_raw(&format!("SELECT {NOTE} FROM notes ORDER BY id"), nothing).await?)
}

/// Gives the new note.
pub async fn add(client: &Client, text: &str) -> Result<String, Failure> {
    let sql = format!("INSERT INTO notes (text) VALUES ($1) RETURNING {NOTE}");
    Ok(client.query_typed_one(&sql, &[(&text, Type::TEXT)]).await?.get(0))
}

/// Whether there was such a note.
pub async fn remove(client: &Client, id: i64) -> Result<bool, Failure> {
    Ok(client.execute_typed("DELETE FROM notes WHERE id = $1", &[(&id, Type::INT8)]).await? > 0)
}
