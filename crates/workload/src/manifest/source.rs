//! `source`: where a component's bytes come from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::Digest;
use super::decode::{Decode, Diagnostics, parsed};
use super::digest::DigestError;
use super::tree::Node;

/// Where a component's bytes come from.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// A file. A relative path starts at the manifest's folder.
    Path(PathBuf),
    /// Bytes in memory. They serialise as their digest, which the receiver reads as [`Source::Digest`].
    Bytes(Arc<[u8]>),
    /// Bytes that the receiver of the workload already has, by their digest: `sha256:…`.
    Digest(Digest),
}

/// The prefix of a source that is a digest.
pub(crate) const DIGEST_PREFIX: &str = "sha256:";

impl Source {
    /// Resolves a relative path against `folder`.
    #[must_use]
    pub fn under(self, folder: &Path) -> Self {
        match self {
            Self::Path(path) => Self::Path(folder.join(path)),
            other => other,
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Bytes(bytes) => write!(f, "({} bytes in memory)", bytes.len()),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(bytes) => Digest::of(bytes).serialize(serializer),
            other => serializer.collect_str(other),
        }
    }
}

impl JsonSchema for Source {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Source".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "minLength": 1,
            "description": "A path to a component, relative to the manifest's folder; or sha256: and 64 hexadecimal digits, \
                            the digest of a component that the host already has."
        })
    }
}

impl Decode for Source {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        parsed(node, path, diagnostics, |text| {
            if text.starts_with(DIGEST_PREFIX) {
                return text.parse().map(Self::Digest);
            }
            Ok::<_, DigestError>(Self::Path(text.into()))
        })
    }
}
