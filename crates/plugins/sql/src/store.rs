//! Open databases, and what a component has of each.
//!
//! Takes a declared database; gives one value for it, whichever engine it has. A component's [`Access`] keeps its sessions and prepared
//! statements apart from those of others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use wharf::PluginError;
use wharf::workload::manifest::{ByteSize, Millis};
use wharf_stores::Source;

use crate::declaration::Database;
use crate::postgres::{Error, PgValue, Postgres, PostgresConfig, Session};
use crate::sqlite::{Connection, Sqlite, SqliteConfig};

/// The most statements that a component prepares for a SQLite database, and their most bytes.
const MAX_PREPARED: (usize, usize) = (1000, 4 * 1024 * 1024);

/// The largest file of roots, in bytes.
const MAX_ROOTS: u64 = 1024 * 1024;

static NEXT_OWNER: AtomicU64 = AtomicU64::new(1);

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
        if let Some(roots) = &declared.roots {
            let read = source.file(roots, MAX_ROOTS).await.map_err(|error| error.at("roots"))?;
            config.roots = Some(read.to_vec());
        }
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
    /// The owner of its connections to a file.
    owner: u64,
    /// The tokens of the statements that it prepared, and the other way around for those of a file.
    prepared: Mutex<Prepared>,
}

#[derive(Default)]
struct Prepared {
    tokens: HashMap<Arc<str>, String>,
    statements: HashMap<String, Arc<str>>,
    bytes: usize,
}

impl Drop for Access {
    fn drop(&mut self) {
        if let Engine::Sqlite(sqlite) = &*self.engine {
            sqlite.forget(self.owner);
        }
    }
}

impl Access {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let session = match &*engine {
            Engine::Postgres(postgres) => Some(postgres.session()),
            Engine::Sqlite(_) => None,
        };
        let owner = NEXT_OWNER.fetch_add(1, Ordering::Relaxed);
        Self { engine, session, owner, prepared: Mutex::default() }
    }

    /// A connection to a SQLite database: an idle one, or a new one.
    pub(crate) async fn connection(&self, sqlite: &Sqlite) -> Result<Connection, crate::sqlite::Error> {
        sqlite.lend(self.owner).await
    }

    /// Keeps a connection for the next statement.
    pub(crate) fn give_back(&self, sqlite: &Sqlite, connection: Connection) {
        sqlite.give_back(self.owner, connection);
    }

    /// A token for a statement. One that was prepared before keeps its token: a component that prepares it in each of its instances
    /// does not use its statements up.
    pub(crate) async fn prepare(&self, statement: &str) -> Result<String, Error> {
        if let Some(token) = self.lock().tokens.get(statement) {
            return Ok(token.clone());
        }
        let statement: Arc<str> = statement.into();
        let token = if let Some(session) = &self.session {
            session.prepare(&statement).await?
        } else {
            let mut prepared = self.lock();
            let (most, most_bytes) = MAX_PREPARED;
            if prepared.statements.len() >= most || prepared.bytes + statement.len() > most_bytes {
                return Err(Error::TooManyPrepared { limit: most });
            }
            prepared.bytes += statement.len();
            // It is good for this component alone, so that it need not be a secret.
            let token = format!("statement-{}", prepared.statements.len());
            prepared.statements.insert(token.clone(), statement.clone());
            token
        };
        self.lock().tokens.insert(statement, token.clone());
        Ok(token)
    }

    /// The statement that a token stands for, on a SQLite database.
    pub(crate) fn prepared(&self, token: &str) -> Option<Arc<str>> {
        self.lock().statements.get(token).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Prepared> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
