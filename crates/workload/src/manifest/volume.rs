//! `[volumes.<name>]`, and `volumes` of a component: what is shared and who sees it where.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::decode::{Decode, Gathered, Table, choice};
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
    /// An empty folder, made when the workload starts and deleted when it stops.
    Ephemeral {
        /// Always `true`.
        ephemeral: bool,
    },
}

/// What a component may do with a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Look, and change nothing.
    #[default]
    Read,
    /// Look and change.
    ReadWrite,
}

/// A volume as a component sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Mount {
    /// The volume's name.
    pub volume: Name,
    /// The absolute path that the component sees it at.
    pub guest: String,
    /// What the component may do with it.
    #[schemars(default)]
    pub access: Access,
}

impl Decode for Volume {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let mut table = Table::open(node, path, to)?;
        let host = table.get::<String>("host", to);
        let ephemeral = table.get::<bool>("ephemeral", to);
        table.finish(to);
        match (host, ephemeral) {
            (Some(host), None) if !host.is_empty() && !host.contains('\0') => Some(Self::Host { host: host.into() }),
            (None, Some(true)) => Some(Self::Ephemeral { ephemeral: true }),
            _ => {
                to.bad(node.at, format!("`{path}` needs either `host`, a path, or `ephemeral = true`"));
                None
            }
        }
    }
}

impl Decode for Access {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        match String::decode(node, path, to)?.as_str() {
            "read" => Some(Self::Read),
            "read-write" => Some(Self::ReadWrite),
            other => {
                to.bad(node.at, format!("`{path}` can be {}, not `{other}`", choice(&["read", "read-write"])));
                None
            }
        }
    }
}

impl Decode for Mount {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let mut table = Table::open(node, path, to)?;
        let volume = table.require("volume", to);
        let guest = table.require::<String>("guest", to);
        let access = table.get("access", to).unwrap_or_default();
        table.finish(to);
        let guest = guest?;
        if !guest.starts_with('/') || guest.contains('\0') || guest.split('/').any(|part| part == "..") {
            to.bad(node.at, format!("`{path}.guest` is an absolute path without `..`, such as \"/data\""));
            return None;
        }
        Some(Self { volume: volume?, guest, access })
    }
}
