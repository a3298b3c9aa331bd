//! The layout of NATS' object store: the subjects of a bucket's stream and the records in it.
//!
//! An object is one record on a subject that ends with its name in base64, so that any name will do, and its chunks on
//! a subject that ends with the identity of this version. Other clients read what this writes, and the other way round.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The header of a chunk that has its place in the object, in bytes.
pub(super) const OFFSET: &str = "Wharf-Offset";
/// The metadata that has the sequence number of the first chunk.
const FIRST: &str = "wharf-first";
/// The server knows when it stored a record; clients leave the field empty.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// The names of a bucket.
#[derive(Clone, Debug)]
pub(super) struct Names {
    bucket: String,
}

impl Names {
    /// `None` if this cannot be the name of a bucket.
    pub(super) fn new(bucket: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let is_valid = (1..=200).contains(&bucket.len()) && bucket.bytes().all(is_plain);
        is_valid.then(|| Self { bucket: bucket.to_owned() })
    }

    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(super) fn stream(&self) -> String {
        format!("OBJ_{}", self.bucket)
    }

    pub(super) fn record(&self, name: &str) -> String {
        format!("$O.{}.M.{}", self.bucket, URL_SAFE.encode(name))
    }

    pub(super) fn records(&self) -> String {
        format!("$O.{}.M.>", self.bucket)
    }

    pub(super) fn chunks(&self, version: &str) -> String {
        format!("$O.{}.C.{version}", self.bucket)
    }
}

/// The record of an object.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) name: String,
    bucket: String,
    /// The identity of this version: the last part of its chunks' subject.
    #[serde(default, rename = "nuid")]
    pub(super) version: String,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    pub(super) chunks: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    #[serde(default)]
    mtime: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) deleted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    options: Option<Options>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Options {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_chunk_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<serde_json::Value>,
}

impl Record {
    /// The record of an object with chunks of one size.
    pub(super) fn new(names: &Names, name: &str, version: &str, written: &Written, chunk: u64) -> Self {
        let metadata = written.first.map(|first| BTreeMap::from([(FIRST.to_owned(), first.to_string())]));
        Self {
            name: name.to_owned(),
            bucket: names.bucket.clone(),
            version: version.to_owned(),
            size: written.size,
            chunks: written.chunks,
            digest: Some(digest(written.hash.clone())),
            mtime: NO_TIME.to_owned(),
            deleted: false,
            options: Some(Options { max_chunk_size: Some(chunk), link: None }),
            metadata,
        }
    }

    /// Whether the record is another client's link to an object or to a bucket.
    pub(super) fn is_link(&self) -> bool {
        self.options.as_ref().is_some_and(|options| options.link.is_some())
    }

    /// The size of all chunks but the last, and the sequence number of the first, if this backend wrote the object.
    pub(super) fn layout(&self) -> Option<(u64, u64)> {
        let chunk = self.options.as_ref()?.max_chunk_size.filter(|chunk| *chunk > 0)?;
        Some((chunk, self.metadata.as_ref()?.get(FIRST)?.parse().ok()?))
    }
}

/// What is known of the chunks that were written.
#[derive(Clone, Default)]
pub(super) struct Written {
    pub(super) size: u64,
    pub(super) chunks: u64,
    /// The sequence number of the first chunk.
    pub(super) first: Option<u64>,
    pub(super) hash: Sha256,
}

/// A digest as records hold it.
pub(super) fn digest(hash: Sha256) -> String {
    format!("SHA-256={}", URL_SAFE.encode(hash.finalize()))
}
