//! `[sql.<name>]` of a manifest: where a database is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wharf::workload::manifest::{ByteSize, Millis, SettingsError};
use wharf_stores::{Backend, Declaration, Kind, Text};

/// A database: `[sql.<name>]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Database {
    /// `embedded` (the default: SQLite in a file), `memory` (SQLite) or `postgres`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// PostgreSQL: `postgres://user:password@host/database`, or a secret that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Text>,
    /// PostgreSQL: a file of certificates in PEM that sign the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots: Option<std::path::PathBuf>,
    /// SQLite: the most that the database holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<ByteSize>,
    /// The most connections; 16 by default, 64 for SQLite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// How long a statement may take; `30s` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// The largest result that is collected; `16MiB` by default. `wasmcloud:postgres@0.2.0` streams rows without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_result: Option<ByteSize>,
}

impl Database {
    /// A database with this backend, and the defaults for the rest.
    pub fn new(backend: &str) -> Self {
        Self { backend: Some(backend.to_owned()), ..Self::default() }
    }
}

const COMMON: &[&str] = &["max-size", "connections", "timeout", "max-result"];

impl Declaration for Database {
    const KIND: Kind = Kind::Sql;
    const BACKENDS: &'static [Backend] = &[
        Backend { name: "embedded", required: &[], optional: COMMON, available: true },
        Backend { name: "memory", required: &[], optional: COMMON, available: true },
        Backend {
            name: "postgres",
            required: &["url"],
            optional: &["roots", "connections", "timeout", "max-result"],
            available: true,
        },
    ];

    fn backend(&self) -> Option<&str> {
        self.backend.as_deref()
    }

    fn url(&self) -> Option<&Text> {
        self.url.as_ref()
    }

    fn check(&self) -> Vec<SettingsError> {
        let none = self.connections == Some(0);
        let error = || SettingsError::new("connections", "expected a value above 0 for `connections`, found 0");
        none.then(error).into_iter().collect()
    }
}
