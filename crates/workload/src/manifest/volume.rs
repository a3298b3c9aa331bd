//! `[volumes.<name>]`, and the mounts of a component.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::decode::{Decode, Diagnostics, Table, one_of};
use super::tree::Node;
use crate::name::Name;

/// A folder that components can mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Volume {
    /// A folder of the host; a relative path starts at the manifest's folder.
    Host {
        /// The path.
        host: PathBuf,
    },
    /// An empty folder, created when the workload starts and deleted when it stops.
    Ephemeral {
        /// Always `true`.
        ephemeral: bool,
    },
}

/// A component's access to a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read only.
    #[default]
    Read,
    /// Read and write.
    ReadWrite,
}

/// A volume that a component mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Mount {
    /// The volume's name.
    pub volume: Name,
    /// The absolute path of the volume in the component.
    pub guest: String,
    /// The component's access.
    #[schemars(default)]
    pub access: Access,
}

impl Decode for Volume {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let mut table = Table::open(node, path, diagnostics)?;
        let host = table.get::<String>("host", diagnostics);
        let ephemeral = table.get::<bool>("ephemeral", diagnostics);
        table.finish(diagnostics);
        match (host, ephemeral) {
            (Some(host), None) => Some(Self::Host { host: host.into() }),
            (None, Some(true)) => Some(Self::Ephemeral { ephemeral: true }),
            _ => {
                diagnostics.bad(path, node.at, format!("expected either `host` or `ephemeral = true` in `{path}`"));
                None
            }
        }
    }
}

impl Decode for Access {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        one_of(&[("read", Self::Read), ("read-write", Self::ReadWrite)], node, path, diagnostics)
    }
}

impl Decode for Mount {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let mut table = Table::open(node, path, diagnostics)?;
        let volume = table.require("volume", diagnostics);
        let guest = table.require("guest", diagnostics);
        let access = table.get("access", diagnostics).unwrap_or_default();
        table.finish(diagnostics);
        Some(Self { volume: volume?, guest: guest?, access })
    }
}
