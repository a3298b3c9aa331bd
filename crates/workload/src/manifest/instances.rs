//! `instances`: how instances are made and kept.

use schemars::JsonSchema;
use serde::Serialize;

use super::decode::{Decode, Gathered, Table, choice, nearest};
use super::limits::Millis;
use super::tree::Node;

/// How instances of a unit are made and kept: the mode, and what goes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Instances {
    /// The mode.
    #[schemars(default)]
    pub mode: InstancesMode,
    /// `warm`: how many instances are kept ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// `reuse`: how many calls an instance serves before it is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u32>,
    /// `reuse`: how many calls at once an instance serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// `reuse`: how long an instance is kept with nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Millis>,
}

/// The modes of [`Instances`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstancesMode {
    /// A new instance for each call: nothing survives, nothing leaks.
    #[default]
    Fresh,
    /// A new instance for each call, made ahead of need.
    Warm,
    /// Instances that serve many calls.
    Reuse,
}

impl InstancesMode {
    const ALL: [(&'static str, Self); 3] = [("fresh", Self::Fresh), ("warm", Self::Warm), ("reuse", Self::Reuse)];
}

impl Instances {
    /// Whether this is the default, `fresh`.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Decode for InstancesMode {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let text = String::decode(node, path, to)?;
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names = Self::ALL.map(|(name, _)| name);
            let did = nearest(&text, names).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            to.bad(node.at, format!("`{path}` can be {}, not `{text}`{did}", choice(&names)));
        }
        found.map(|(_, mode)| *mode)
    }
}

impl Decode for Instances {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let mut table = Table::open(node, path, to)?;
        let instances = Self {
            mode: table.require("mode", to).unwrap_or_default(),
            size: table.get("size", to),
            calls: table.get("calls", to),
            concurrent: table.get("concurrent", to),
            idle: table.get("idle", to),
        };
        table.finish(to);
        let reuse = instances.calls.is_some() || instances.concurrent.is_some() || instances.idle.is_some();
        if reuse && instances.mode != InstancesMode::Reuse {
            to.bad(node.at, format!("`{path}`: `calls`, `concurrent` and `idle` go with mode `reuse`"));
        }
        if instances.size.is_some() != (instances.mode == InstancesMode::Warm) {
            to.bad(node.at, format!("`{path}`: mode `warm` needs `size`, and no other mode has it"));
        }
        Some(instances)
    }
}
