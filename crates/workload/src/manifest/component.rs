//! `[components.<name>]`: where a component comes from and what it is granted.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use sha2::Digest as _;

use super::decode::{Decode, Gathered, Table, parsed};
use super::tree::Node;
use super::{HostRule, Instances, Limits, Mount, TimeZone};

/// A component of a workload: its source, and its grants. What is not here it does not have.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Component {
    /// Where its bytes come from.
    pub source: Source,
    /// The digest that its bytes must have; other bytes are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Its environment variables, all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub env: BTreeMap<String, String>,
    /// What it is called before its arguments: the component's name unless this says otherwise. A manifest cannot.
    #[serde(skip)]
    #[schemars(skip)]
    pub program: Option<String>,
    /// Its arguments, after the program name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub args: Vec<String>,
    /// Its configuration, as `wasi:config/store` gives it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub config: BTreeMap<String, String>,
    /// The volumes it sees, and where.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub volumes: Vec<Mount>,
    /// Where it may connect to: nowhere, unless it is listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub hosts: Vec<HostRule>,
    /// The time zone that it is told of.
    #[serde(skip_serializing_if = "TimeZone::is_default")]
    #[schemars(default)]
    pub timezone: TimeZone,
    /// What one instance may use.
    #[serde(skip_serializing_if = "Limits::is_default")]
    #[schemars(default)]
    pub limits: Limits,
    /// How instances are made and kept.
    #[serde(skip_serializing_if = "Instances::is_default")]
    #[schemars(default)]
    pub instances: Instances,
    /// Whether it is a service: a component with `wasi:cli/run` that is started with the workload, started again when it
    /// ends, and stopped last.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub service: bool,
}

impl Component {
    /// A component from `source` with no grants at all.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            digest: None,
            env: BTreeMap::new(),
            program: None,
            args: Vec::new(),
            config: BTreeMap::new(),
            volumes: Vec::new(),
            hosts: Vec::new(),
            timezone: TimeZone::default(),
            limits: Limits::default(),
            instances: Instances::default(),
            service: false,
        }
    }

    /// A component from bytes in memory with no grants at all.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::new(Source::Bytes(bytes.into()))
    }

    /// A component from a file with no grants at all.
    pub fn from_path(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::Path(path.into()))
    }
}

/// Where a component's bytes come from.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// A file; a relative path starts at the manifest's folder.
    Path(PathBuf),
    /// Bytes that a program already has. A manifest cannot say this.
    Bytes(Arc<[u8]>),
}

impl Source {
    /// The same source with a relative path made to start at `folder`.
    #[must_use]
    pub fn under(self, folder: &Path) -> Self {
        match self {
            Self::Path(path) => Self::Path(folder.join(path)),
            bytes @ Self::Bytes(_) => bytes,
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
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Source {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Source".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "minLength": 1,
            "description": "A path to a component; a relative one starts at the manifest's folder."
        })
    }
}

impl Decode for Source {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        parsed(node, path, to, |text| {
            if text.is_empty() || text.contains('\0') {
                return Err("a source is a path to a component".to_owned());
            }
            match text.split_once("://") {
                Some((scheme, _)) => Err(format!("`{scheme}://` sources are not supported; give a path to a file")),
                None => Ok(Self::Path(text.into())),
            }
        })
    }
}

/// A SHA-256 digest, written `sha256:` and 64 hexadecimal digits, as OCI registries write it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// Why a text is not a [`Digest`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is `sha256:` and 64 hexadecimal digits")]
pub struct DigestError;

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let hex = text.strip_prefix("sha256:").ok_or(DigestError)?;
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(DigestError);
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).map_err(|_| DigestError)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^sha256:[0-9a-fA-F]{64}$" })
    }
}

impl Decode for Digest {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        parsed(node, path, to, str::parse)
    }
}

impl Decode for Component {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let mut table = Table::open(node, path, to)?;
        let source = table.require("source", to);
        let mut component = Self {
            digest: table.get("digest", to),
            env: table.get("env", to).unwrap_or_default(),
            args: table.get("args", to).unwrap_or_default(),
            config: table.get("config", to).unwrap_or_default(),
            volumes: table.get("volumes", to).unwrap_or_default(),
            hosts: table.get("hosts", to).unwrap_or_default(),
            timezone: table.get("timezone", to).unwrap_or_default(),
            limits: table.get("limits", to).unwrap_or_default(),
            instances: table.get("instances", to).unwrap_or_default(),
            service: table.get("service", to).unwrap_or_default(),
            ..Self::from_path("")
        };
        table.finish(to);
        component.source = source?;
        Some(component)
    }
}
