//! Why an operation of a PostgreSQL store failed, as each WIT package reports it.
//!
//! Takes errors of the client; gives typed errors. They never hold the URL, the user or the password.

use wasmtime::component::{ComponentType, Lift, Lower};

/// What the server reports of a failed statement. Mirrors `wasmcloud:postgres/types.db-error`, and `spin:postgres`'s.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct DbError {
    /// The SQLSTATE of five characters.
    pub code: String,
    /// `ERROR`, `FATAL` or `PANIC`.
    pub severity: String,
    /// The message.
    pub message: String,
    /// More about the problem.
    pub detail: Option<String>,
    /// The other fields, by name.
    pub extras: Vec<(String, String)>,
}

impl std::fmt::Display for DbError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.severity, self.message, self.code)
    }
}

/// Why an operation of a PostgreSQL store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A setting of the store is wrong.
    #[error("{0}")]
    Config(String),
    /// No connection could be made, or it broke.
    #[error("{0}")]
    ConnectionFailed(String),
    /// All connections of the store stayed in use for too long.
    #[error("limit reached: {limit} connections to the database are in use")]
    PoolExhausted {
        /// The store's limit.
        limit: usize,
    },
    /// A parameter does not fit the statement.
    #[error("{0}")]
    InvalidParams(String),
    /// The statement was rejected before it reached the server.
    #[error("{0}")]
    InvalidQuery(String),
    /// The server rejected the statement, or it failed.
    #[error("{0}")]
    QueryFailed(Box<DbError>),
    /// A value of the result has no form that a component could receive.
    #[error("{0}")]
    ValueConversion(String),
    /// No statement of the session has this token.
    #[error("no prepared statement has this token")]
    UnknownPrepared,
    /// The session has as many prepared statements as it may have.
    #[error("limit reached: {limit} prepared statements")]
    TooManyPrepared {
        /// The session's limit.
        limit: usize,
    },
    /// The statement did not end in time, or it was cancelled on the server.
    #[error("the statement did not end in time")]
    Timeout,
    /// The rows need more memory than a result, or one row, may use.
    #[error("limit reached: a result of {limit} bytes; use LIMIT, or select fewer columns")]
    ResultTooLarge {
        /// The store's limit in bytes.
        limit: usize,
    },
}

/// The result of an operation of a PostgreSQL store.
pub type Result<T> = std::result::Result<T, Error>;

/// Mirrors `wasmcloud:postgres/types.query-error` of version 0.1.1-draft.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub enum QueryError {
    /// `invalid-params`.
    #[component(name = "invalid-params")]
    InvalidParams(String),
    /// `invalid-query`.
    #[component(name = "invalid-query")]
    InvalidQuery(String),
    /// `unexpected`.
    #[component(name = "unexpected")]
    Unexpected(String),
}

/// Mirrors `wasmcloud:postgres/types.prepared-statement-exec-error` of version 0.1.1-draft.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub enum ExecError {
    /// `unknown-prepared-query`.
    #[component(name = "unknown-prepared-query")]
    UnknownPreparedQuery,
    /// `query-error`.
    #[component(name = "query-error")]
    QueryError(QueryError),
    /// `unexpected`.
    #[component(name = "unexpected")]
    Unexpected(String),
}

/// Mirrors `wasmcloud:postgres/types.error` of version 0.2.0.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub enum WasmcloudError {
    /// `connection-failed`.
    #[component(name = "connection-failed")]
    ConnectionFailed(String),
    /// `invalid-params`.
    #[component(name = "invalid-params")]
    InvalidParams(String),
    /// `invalid-query`.
    #[component(name = "invalid-query")]
    InvalidQuery(String),
    /// `query-failed`.
    #[component(name = "query-failed")]
    QueryFailed(DbError),
    /// `value-conversion-failed`.
    #[component(name = "value-conversion-failed")]
    ValueConversionFailed(String),
    /// `unknown-prepared-statement`.
    #[component(name = "unknown-prepared-statement")]
    UnknownPreparedStatement,
    /// `access-denied`.
    #[component(name = "access-denied")]
    AccessDenied,
    /// `timeout`.
    #[component(name = "timeout")]
    Timeout,
    /// `other`.
    #[component(name = "other")]
    Other(String),
}

/// Mirrors `spin:postgres/postgres.error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpinError {
    /// `connection-failed`.
    ConnectionFailed(String),
    /// `bad-parameter`.
    BadParameter(String),
    /// `query-failed` with text.
    QueryFailedText(String),
    /// `query-failed` with the server's fields. The text of the field `as-text` comes first.
    QueryFailed(String, DbError),
    /// `value-conversion-failed`.
    ValueConversionFailed(String),
    /// `other`.
    Other(String),
}

impl Error {
    /// The error as version 0.1.1-draft of `wasmcloud:postgres` reports it. By SQLSTATE, class 22 (data) is a fault of
    /// the parameters, and class 42 (syntax and names) and 0A (not supported) one of the statement.
    pub fn into_draft(self) -> QueryError {
        let text = self.to_string();
        match self {
            Self::InvalidParams(_) => QueryError::InvalidParams(text),
            Self::InvalidQuery(_) => QueryError::InvalidQuery(text),
            Self::QueryFailed(error) if error.code.starts_with("22") => QueryError::InvalidParams(text),
            Self::QueryFailed(error) if error.code.starts_with("42") || error.code.starts_with("0A") => {
                QueryError::InvalidQuery(text)
            }
            _ => QueryError::Unexpected(text),
        }
    }

    /// The error of a prepared statement as version 0.1.1-draft of `wasmcloud:postgres` reports it.
    pub fn into_draft_exec(self) -> ExecError {
        match self {
            Self::UnknownPrepared => ExecError::UnknownPreparedQuery,
            Self::InvalidParams(_) | Self::InvalidQuery(_) | Self::QueryFailed(_) => {
                ExecError::QueryError(self.into_draft())
            }
            other => ExecError::Unexpected(other.to_string()),
        }
    }

    /// The error as version 0.2.0 of `wasmcloud:postgres` reports it.
    pub fn into_wasmcloud(self) -> WasmcloudError {
        let text = self.to_string();
        match self {
            Self::ConnectionFailed(_) | Self::PoolExhausted { .. } => WasmcloudError::ConnectionFailed(text),
            Self::InvalidParams(_) => WasmcloudError::InvalidParams(text),
            Self::InvalidQuery(_) => WasmcloudError::InvalidQuery(text),
            Self::QueryFailed(error) => WasmcloudError::QueryFailed(*error),
            Self::ValueConversion(_) => WasmcloudError::ValueConversionFailed(text),
            Self::UnknownPrepared => WasmcloudError::UnknownPreparedStatement,
            Self::Timeout => WasmcloudError::Timeout,
            Self::Config(_) | Self::TooManyPrepared { .. } | Self::ResultTooLarge { .. } => WasmcloudError::Other(text),
        }
    }

    /// The error as `spin:postgres` reports it.
    pub fn into_spin(self) -> SpinError {
        let text = self.to_string();
        match self {
            Self::ConnectionFailed(_) | Self::PoolExhausted { .. } => SpinError::ConnectionFailed(text),
            Self::InvalidParams(_) => SpinError::BadParameter(text),
            Self::QueryFailed(error) => SpinError::QueryFailed(text, *error),
            Self::ValueConversion(_) => SpinError::ValueConversionFailed(text),
            Self::InvalidQuery(_) | Self::Timeout | Self::ResultTooLarge { .. } => SpinError::QueryFailedText(text),
            Self::Config(_) | Self::UnknownPrepared | Self::TooManyPrepared { .. } => SpinError::Other(text),
        }
    }

    /// An error of a statement. `server` is the host and the port.
    pub(super) fn of_statement(error: &tokio_postgres::Error, server: &str) -> Self {
        use std::error::Error as _;
        let Some(db) = error.as_db_error() else {
            // Only an answer that the client did not expect has neither fields nor a cause.
            if !error.is_closed() && error.source().is_none() {
                return Self::InvalidQuery("the statement needs another protocol, as COPY does".to_owned());
            }
            return Self::ConnectionFailed(format!("the connection to `{server}` broke"));
        };
        match db.code().code() {
            "57014" => Self::Timeout,
            // The server shuts down, or it lost the connection.
            "57P01" | "57P02" | "57P03" | "57P05" => {
                Self::ConnectionFailed(format!("`{server}` closed the connection: {}", db.message()))
            }
            code if code.starts_with("08") => Self::ConnectionFailed(format!("the connection to `{server}` broke")),
            _ => Self::QueryFailed(Box::new(db.into())),
        }
    }

    /// An error of an attempt to connect. `server` is the host and the port.
    pub(super) fn of_connect(error: &tokio_postgres::Error, server: &str) -> Self {
        use std::error::Error as _;
        let why = match error.as_db_error() {
            // The server's messages name the user, which is the operator's.
            Some(db) if db.code().code().starts_with("28") => "the server rejected the login".to_owned(),
            Some(db) if db.code().code() == "3D000" => "the database does not exist".to_owned(),
            Some(db) => db.message().to_owned(),
            None => match error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) {
                Some(source) if source.get_ref().is_none() => source.kind().to_string(),
                // The TLS library's reasons, such as an unknown issuer, name nothing secret.
                _ => error.source().map_or_else(|| "the handshake failed".to_owned(), ToString::to_string),
            },
        };
        Self::ConnectionFailed(format!("cannot connect to `{server}`: {why}"))
    }

    /// An attempt to connect that took too long.
    pub(super) fn connect_timeout(server: &str) -> Self {
        Self::ConnectionFailed(format!("cannot connect to `{server}`: it does not answer in time"))
    }
}

/// The error with which the wire rejects a message of the server that is too long.
#[derive(Debug, thiserror::Error)]
#[error("the server sent a message that is too long")]
pub(super) struct TooLarge;

impl From<&tokio_postgres::error::DbError> for DbError {
    fn from(error: &tokio_postgres::error::DbError) -> Self {
        let mut extras = Vec::new();
        let mut add = |name: &str, value: Option<String>| extras.extend(value.map(|value| (name.to_owned(), value)));
        add("hint", error.hint().map(str::to_owned));
        add("schema", error.schema().map(str::to_owned));
        add("table", error.table().map(str::to_owned));
        add("column", error.column().map(str::to_owned));
        add("datatype", error.datatype().map(str::to_owned));
        add("constraint", error.constraint().map(str::to_owned));
        add("where", error.where_().map(str::to_owned));
        if let Some(tokio_postgres::error::ErrorPosition::Original(position)) = error.position() {
            add("position", Some(position.to_string()));
        }
        Self {
            code: error.code().code().to_owned(),
            severity: error.severity().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            extras,
        }
    }
}
