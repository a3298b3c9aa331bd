//! `instances`: how instances are created and reused.

use schemars::JsonSchema;
use serde::Serialize;

use super::decode::{Decode, Diagnostics, Table, one_of};
use super::limits::Millis;
use super::tree::Node;

/// How instances of a unit are created and reused: the mode and its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Instances {
    /// The mode.
    #[schemars(default)]
    pub mode: InstancesMode,
    /// `warm`: the number of instances that are kept ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// `reuse`: the number of calls that an instance serves before it is retired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u32>,
    /// `reuse`: the number of concurrent calls of an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// `reuse`: how long an idle instance is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Millis>,
    /// `reuse`: the maximum number of instances; further calls wait. They are kept for any number of calls and however long they
    /// are idle, unless `calls` or `idle` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
}

/// The modes of [`Instances`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstancesMode {
    /// A new instance for each call: no state survives a call.
    #[default]
    Fresh,
    /// A new instance for each call, created in advance.
    Warm,
    /// Instances that serve many calls.
    Reuse,
}

impl InstancesMode {
    const ALL: [(&'static str, Self); 3] = [("fresh", Self::Fresh), ("warm", Self::Warm), ("reuse", Self::Reuse)];
}

impl Decode for InstancesMode {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        one_of(&Self::ALL, node, path, diagnostics)
    }
}

impl Decode for Instances {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let mut table = Table::open(node, path, diagnostics)?;
        let mode = table.require("mode", diagnostics);
        let instances = Self {
            mode: mode.unwrap_or_default(),
            size: table.get("size", diagnostics),
            calls: table.get("calls", diagnostics),
            concurrent: table.get("concurrent", diagnostics),
            idle: table.get("idle", diagnostics),
            most: table.get("most", diagnostics),
        };
        table.finish(diagnostics);
        // Without a mode, whether the other keys match it cannot be validated.
        mode.map(|_| instances)
    }
}
