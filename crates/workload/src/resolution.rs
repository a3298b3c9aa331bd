//! Who gets what from whom.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::name::Name;

/// What resolving a workload gives: for each component who satisfies each import, and the units that run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resolution {
    /// Each component's imports, in the component's own order.
    pub components: BTreeMap<Name, Vec<ResolvedImport>>,
    /// One unit for each entry component.
    pub units: Vec<Unit>,
}

/// An import and who satisfies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResolvedImport {
    /// The import's name, as it stands in the component.
    pub import: String,
    /// Who satisfies it.
    #[serde(flatten)]
    pub provider: Provider,
}

/// Who satisfies an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Provider {
    /// Another component of the workload.
    Sibling {
        /// The component.
        component: Name,
        /// The name of its export.
        export: String,
        /// Whether a `[[links]]` entry said so.
        explicit: bool,
        /// The interface of the host in whose place it stands, if that grants something: what the host would hold the
        /// importing component to, the sibling need not.
        #[serde(skip_serializing_if = "Option::is_none")]
        instead_of: Option<String>,
    },
    /// A plugin of the host.
    Plugin {
        /// The plugin's name.
        plugin: String,
        /// The interface as the plugin provides it, with its version.
        interface: String,
        /// Whether it grants something, and so is the component's own.
        grant: bool,
    },
    /// The host's WASI.
    Wasi {
        /// The interface as the host provides it, with its version.
        interface: String,
        /// Whether it grants something, and so is the component's own.
        grant: bool,
    },
    /// Nobody: the import names types alone.
    TypesOnly,
}

impl Provider {
    /// Whether the import grants something, and so must be told apart from its siblings' imports of the same name.
    pub fn is_grant(&self) -> bool {
        matches!(self, Self::Plugin { grant: true, .. } | Self::Wasi { grant: true, .. })
    }
}

/// An entry component with all that it reaches: what is fused into one component and run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// The component that triggers and callers call.
    pub entry: Name,
    /// The unit's components: each after those it imports from, the entry last. A shared one is there once.
    pub components: Vec<Name>,
}
