//! `[[links]]`: who satisfies an import, said by hand.

use schemars::JsonSchema;
use serde::Serialize;

use super::decode::{Decode, Gathered, Table};
use super::tree::Node;
use crate::name::Name;

/// An explicit link: it settles an ambiguity, builds a chain, or overrides what would have been chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Link {
    /// The component that imports.
    pub from: Name,
    /// The import's name; its version can be left out.
    pub import: String,
    /// The component that exports it.
    pub to: Name,
}

impl Decode for Link {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let mut table = Table::open(node, path, to)?;
        let (from, import, target) = (table.require("from", to), table.require("import", to), table.require("to", to));
        table.finish(to);
        Some(Self { from: from?, import: import?, to: target? })
    }
}
