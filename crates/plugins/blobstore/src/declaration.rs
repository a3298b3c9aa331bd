//! `[blobstore.<name>]` of a manifest: where a container of objects is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wharf::workload::manifest::{ByteSize, Millis};
use wharf_stores::{Backend, Declaration, Kind, Text};

/// A blob store: `[blobstore.<name>]`. It is one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct BlobStore {
    /// `embedded` (the default: a folder), `memory`, `s3` or `nats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The server's address: `https://…` for S3, `nats://…` or `tls://…` for NATS, or a secret that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Text>,
    /// Embedded: whether a write is on the disk before it is acknowledged; true by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<bool>,
    /// Embedded, memory: the most that the store holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<ByteSize>,
    /// S3, NATS: the bucket; for NATS, the store's own name by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// S3: what every object's key begins with in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// S3: the region; `us-east-1` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// S3: the access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key: Option<Text>,
    /// S3: the secret key, best as `{ secret = "<name>" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<Text>,
    /// NATS: whether to create a bucket that does not exist; true by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<bool>,
    /// S3, NATS: how long an operation may take; `5s` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
}

impl BlobStore {
    /// A store with this backend, and the defaults for the rest.
    pub fn new(backend: &str) -> Self {
        Self { backend: Some(backend.to_owned()), ..Self::default() }
    }
}

impl Declaration for BlobStore {
    const KIND: Kind = Kind::BlobStore;
    const BACKENDS: &'static [Backend] = &[
        Backend { name: "embedded", required: &[], optional: &["sync", "max-size"], available: true },
        Backend { name: "memory", required: &[], optional: &["max-size"], available: true },
        Backend {
            name: "s3",
            required: &["url", "bucket", "access-key", "secret-key"],
            optional: &["prefix", "region", "timeout"],
            available: cfg!(feature = "s3"),
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

    fn texts(&self) -> Vec<(&'static str, &Text)> {
        let texts = [("url", &self.url), ("access-key", &self.access_key), ("secret-key", &self.secret_key)];
        texts.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?))).collect()
    }
}
