//! `[components.<name>]`: a component's source and grants.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::decode::{Decode, Diagnostics, Table};
use super::extensions::Level;
use super::tree::Node;
use super::{Build, Digest, HostRule, Instances, Limits, Mount, Service, Settings, Source, TimeZone};

/// A component of a workload: its source, and its grants. A grant that is not declared here is denied.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Component {
    /// Where its bytes come from.
    pub source: Source,
    /// The required digest of its bytes; other bytes are rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// All of its environment variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub env: BTreeMap<String, String>,
    /// Its `argv[0]`; the component's name if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Its arguments after `argv[0]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub args: Vec<String>,
    /// Its configuration, which `wasi:config/store` returns.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub config: BTreeMap<String, String>,
    /// The volumes that it mounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub volumes: Vec<Mount>,
    /// The hosts that it may connect to; none unless listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub hosts: Vec<HostRule>,
    /// The time zone that it sees.
    #[serde(skip_serializing_if = "TimeZone::is_default")]
    #[schemars(default)]
    pub timezone: TimeZone,
    /// The limits of one instance.
    #[serde(skip_serializing_if = "Limits::is_default")]
    #[schemars(default)]
    pub limits: Limits,
    /// How instances are created and reused; `fresh` if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<Instances>,
    /// Makes it a service: a component with `wasi:cli/run` that starts with the workload and stops last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// How it is built from its sources, by the program `wharf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    /// The settings of keys that plugins own, by key.
    #[serde(flatten)]
    #[schemars(skip)]
    pub settings: BTreeMap<String, Settings>,
}

impl Component {
    /// A component from `source` without grants.
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
            instances: None,
            service: None,
            build: None,
            settings: BTreeMap::new(),
        }
    }

    /// A component from bytes in memory without grants.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::new(Source::Bytes(bytes.into()))
    }

    /// A component from a file without grants.
    pub fn from_path(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::Path(path.into()))
    }
}

impl Decode for Component {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let mut table = Table::open(node, path, diagnostics)?;
        let source = table.require("source", diagnostics);
        let mut component = Self {
            digest: table.get("digest", diagnostics),
            env: table.get("env", diagnostics).unwrap_or_default(),
            program: table.get("program", diagnostics),
            args: table.get("args", diagnostics).unwrap_or_default(),
            config: table.get("config", diagnostics).unwrap_or_default(),
            volumes: table.get("volumes", diagnostics).unwrap_or_default(),
            hosts: table.get("hosts", diagnostics).unwrap_or_default(),
            timezone: table.get("timezone", diagnostics).unwrap_or_default(),
            limits: table.get("limits", diagnostics).unwrap_or_default(),
            instances: table.get("instances", diagnostics),
            service: table.get("service", diagnostics).unwrap_or_default(),
            build: table.get("build", diagnostics).unwrap_or_default(),
            ..Self::from_path("")
        };
        // Without a source the rest is still validated: the manifest is rejected, but with all of its problems.
        component.source = source.unwrap_or_else(|| Source::Path(PathBuf::new()));
        component.settings = table.finish_with_settings(Level::Component, diagnostics);
        Some(component)
    }
}
