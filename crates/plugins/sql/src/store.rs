//! Open databases, and what a component has of each.
//!
//! Takes a declared database; gives one value for it, whichever engine it has. A component's [`Access`] keeps its sessions and prepared
//! statements apart from those of others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use wharf::PluginError;
use wharf::workload::manifest::{ByteSize, Millis};
use wharf_stores::Source;

use crate::declaration::Database;
use crate::postgres::{Error, PgValue, Postgres, PostgresConfig, Session};
use crate::sqlite::{Connection, Sqlite, SqliteConfig};

/// The most idle connections that a component keeps to a SQLite database.
const IDLE: usize = 4;
/// The most statements that a component prepares for a SQLite database.
const MAX_PREPARED: usize = 1000;

/// An open database.
pub(crate) enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// Opens a database. A server is connected to when it is first used.
pub(crate) async fn open(source: &Source<'_, Database>) -> Result<Arc<Engine>, PluginError> {
    let declared = &source.declared;
    let size = |size: ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
    if source.backend.name == "postgres" {
        let mut config = PostgresConfig::new("");
        config.url = source.url().await?;
        config.roots = declared.roots.clone();
        config.max_connections = declared.connections.map_or(config.max_connections, |count| count as usize);
        config.statement_timeout = declared.timeout.map_or(config.statement_timeout, Millis::duration);
        config.max_rows_bytes = declared.max_result.map_or(config.max_rows_bytes, size);
        let opened = Postgres::new(config).map_err(|error| PluginError::new(error.to_string()).at("url"))?;
        return Ok(Arc::new(Engine::Postgres(opened)));
    }
    let mut config = SqliteConfig::default();
    if source.backend.name == "embedded" {
        let folder = source.folder()?;
        let made = tokio::fs::create_dir_all(&folder).await;
        made.map_err(|error| PluginError::new(format!("cannot create `{}`: {error}", folder.display())))?;
        config.path = Some(folder.join("store.sqlite"));
    }
    config.max_bytes = declared.max_size.map(|size| size.0);
    config.max_connections = declared.connections.map_or(config.max_connections, |count| count as usize);
    config.timeout = declared.timeout.map_or(config.timeout, Millis::duration);
    config.max_rows_bytes = declared.max_result.map_or(config.max_rows_bytes, size);
    let opened = Sqlite::open(config).map_err(|error| PluginError::new(error.to_string()))?;
    Ok(Arc::new(Engine::Sqlite(opened)))
}

/// A component's access to one database.
pub(crate) struct Access {
    pub(crate) engine: Arc<Engine>,
    /// Its session on a server.
    pub(crate) session: Option<Session<PgValue>>,
    /// Its idle connections to a file.
    idle: Mutex<Vec<Connection>>,
    /// The tokens of the statements that it prepared, and the other way around for those of a file.
    prepared: Mutex<Prepared>,
}

#[derive(Default)]
struct Prepared {
    tokens: HashMap<String, String>,
    statements: HashMap<String, String>,
}

impl Access {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let session = match &*engine {
            Engine::Postgres(postgres) => Some(postgres.session()),
            Engine::Sqlite(_) => None,
        };
        Self { engine, session, idle: Mutex::default(), prepared: Mutex::default() }
    }

    /// A connection to a SQLite database: an idle one, or a new one.
    pub(crate) async fn connection(&self, sqlite: &Sqlite) -> Result<Connection, crate::sqlite::Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(connection) => Ok(connection),
            None => sqlite.connect().await,
        }
    }

    /// Keeps a connection for the next statement.
    pub(crate) fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(connection);
        }
    }

    /// A token for a statement. One that was prepared before keeps its token: a component that prepares it in each of its instances
    /// does not use its statements up.
    pub(crate) async fn prepare(&self, statement: &str) -> Result<String, Error> {
        if let Some(token) = self.lock().tokens.get(statement) {
            return Ok(token.clone());
        }
        let token = if let Some(session) = &self.session {
            session.prepare(statement).await?
        } else {
            let mut prepared = self.lock();
            if prepared.statements.len() >= MAX_PREPARED {
                return Err(Error::TooManyPrepared { limit: MAX_PREPARED });
            }
            // It is good for this component alone, so that it need not be a secret.
            let token = format!("statement-{}", prepared.statements.len());
            prepared.statements.insert(token.clone(), statement.to_owned());
            token
        };
        self.lock().tokens.insert(statement.to_owned(), token.clone());
        Ok(token)
    }

    /// The statement that a token stands for, on a SQLite database.
    pub(crate) fn prepared(&self, token: &str) -> Option<String> {
        self.lock().statements.get(token).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Prepared> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
