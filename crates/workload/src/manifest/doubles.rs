//! `[test]`: what takes the place of a workload's components in its tests. A host ignores it; `wharf test` runs with it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::component::Component;
use super::decode::{Decode, Diagnostics, Table};
use super::link::Link;
use super::tree::Node;
use crate::name::Name;

/// Test doubles: the components and links of a workload's tests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Doubles {
    /// Components by name. One with the name of a component of the workload takes its place, with grants of its own; others are added.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub components: BTreeMap<Name, Component>,
    /// Links that are added to those of the workload.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub links: Vec<Link>,
}

impl Doubles {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.components.is_empty() && self.links.is_empty()
    }
}

impl Decode for Doubles {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let mut table = Table::open(node, path, diagnostics)?;
        let doubles = Self {
            components: table.get("components", diagnostics).unwrap_or_default(),
            links: table.get("links", diagnostics).unwrap_or_default(),
        };
        table.finish(diagnostics);
        Some(doubles)
    }
}
