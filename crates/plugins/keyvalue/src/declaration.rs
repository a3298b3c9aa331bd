//! `[keyvalue.<name>]` of a manifest: where a key-value store is, and how it keeps what it has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wharf::workload::manifest::{ByteSize, Millis, SettingsError};
use wharf_stores::{Backend, Declaration, Kind, Text};

/// A key-value store: `[keyvalue.<name>]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct KeyValueStore {
    /// `embedded` (the default), `memory`, `redis` or `nats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The server's address: `redis://…`, `rediss://…`, `nats://…` or `tls://…`, or a secret that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Text>,
    /// Embedded: when a write reaches the disk: `always` before it is acknowledged (the default), at an interval such as `100ms`, or
    /// `never`, which leaves it to the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<String>,
    /// Embedded, memory: the most that the store holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<ByteSize>,
    /// Redis: what every key begins with on the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// NATS: the key-value bucket; the store's own name by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// NATS: whether to create a bucket that does not exist; true by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<bool>,
    /// Redis, NATS: how long an operation may take; `5s` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
}

impl KeyValueStore {
    /// A store with this backend, and the defaults for the rest.
    pub fn new(backend: &str) -> Self {
        Self { backend: Some(backend.to_owned()), ..Self::default() }
    }

    /// Sets the server's address.
    #[must_use]
    pub fn with_url(self, url: impl Into<Text>) -> Self {
        Self { url: Some(url.into()), ..self }
    }
}

/// When a write to an embedded store reaches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncPolicy {
    Always,
    Every(Millis),
    Never,
}

impl KeyValueStore {
    /// The policy that `sync` names.
    pub(crate) fn sync_policy(&self) -> Result<SyncPolicy, SettingsError> {
        match self.sync.as_deref() {
            None | Some("always") => Ok(SyncPolicy::Always),
            Some("never") => Ok(SyncPolicy::Never),
            Some(text) => text.parse().map(SyncPolicy::Every).map_err(|_| {
                let message =
                    format!("expected `always`, `never` or an interval such as `100ms` for `sync`, found `{text}`");
                SettingsError::new("sync", message)
            }),
        }
    }
}

impl Declaration for KeyValueStore {
    const KIND: Kind = Kind::KeyValue;
    const BACKENDS: &'static [Backend] = &[
        Backend { name: "embedded", required: &[], optional: &["sync", "max-size"], available: true },
        Backend { name: "memory", required: &[], optional: &["max-size"], available: true },
        Backend {
            name: "redis",
            required: &["url"],
            optional: &["prefix", "timeout"],
            available: cfg!(feature = "redis"),
        },
        Backend {
            name: "nats",
            required: &["url"],
            optional: &["bucket", "create", "timeout"],
            available: cfg!(feature = "nats"),
        },
    ];

    fn backend(&self) -> Option<&str> {
        self.backend.as_deref()
    }

    fn url(&self) -> Option<&Text> {
        self.url.as_ref()
    }

    fn check(&self) -> Vec<SettingsError> {
        self.sync_policy().err().into_iter().collect()
    }
}
