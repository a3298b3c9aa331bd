//! The result of resolution: the provider of each import, and the units to run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::interface::InterfaceName;
use crate::name::Name;

/// The provider of each component's imports, and the units to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// Each component's imports, in the component's own order; also those of the host's components that are used.
    pub components: BTreeMap<Name, Vec<ResolvedImport>>,
    /// The host's components that are used, by their names in this workload.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub provided: BTreeMap<Name, ProvidedComponent>,
    /// One unit for each entry component.
    pub units: Vec<Unit>,
}

/// A component that the host provides, as one workload uses it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProvidedComponent {
    /// Its name on the host.
    pub component: Name,
    /// The component of the workload that it serves alone, if it asks who calls it. Otherwise the components of a unit share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Name>,
}

/// An import and its provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WireImport", into = "WireImport")]
pub struct ResolvedImport {
    /// The import's name as the component spells it.
    pub import: String,
    /// The name again, if it is a label.
    pub label: Option<String>,
    /// The interface that is imported: the one that the label implements, or the one that the name itself is.
    pub interface: Option<InterfaceName>,
    /// The provider.
    pub provider: Provider,
}

/// The serialised form of a [`ResolvedImport`]: the interface is present only if the name is a label.
#[derive(Serialize, Deserialize)]
struct WireImport {
    import: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    implements: Option<InterfaceName>,
    #[serde(flatten)]
    provider: Provider,
}

impl From<ResolvedImport> for WireImport {
    fn from(resolved: ResolvedImport) -> Self {
        let implements = resolved.interface.filter(|_| resolved.label.is_some());
        Self { import: resolved.import, implements, provider: resolved.provider }
    }
}

impl From<WireImport> for ResolvedImport {
    fn from(wire: WireImport) -> Self {
        let label = wire.implements.as_ref().map(|_| wire.import.clone());
        let interface = wire.implements.or_else(|| InterfaceName::parse(&wire.import));
        Self { import: wire.import, label, interface, provider: wire.provider }
    }
}

/// The provider of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Provider {
    /// Another component of the workload.
    Sibling {
        /// The component.
        component: Name,
        /// The name of its export.
        export: String,
        /// Whether a `[[links]]` entry selects it.
        explicit: bool,
        /// The granting interface of the host that it replaces, if any: the host's policy for the importing component does not
        /// apply to what the sibling does on its behalf.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead_of: Option<String>,
    },
    /// A component that the host provides to every workload, with grants of its own.
    Provided {
        /// Its name in this workload's resolution.
        component: Name,
        /// The name of its export.
        export: String,
        /// The granting interface of the host that it replaces, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead_of: Option<String>,
    },
    /// A plugin of the host.
    Plugin {
        /// The plugin's name.
        plugin: String,
        /// The interface as the plugin provides it, with its version.
        interface: String,
        /// Whether it grants a capability, and is therefore scoped to the component.
        grant: bool,
        /// The plugin's store that a link selects, in the plugin's own terms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<String>,
    },
    /// The host's WASI.
    Wasi {
        /// The interface as the host provides it, with its version.
        interface: String,
        /// Whether it grants a capability, and is therefore scoped to the component.
        grant: bool,
    },
    /// No provider is needed: the import contains only types.
    TypesOnly,
}

impl Provider {
    /// The component of the unit that satisfies the import, and its export.
    pub fn component(&self) -> Option<(&Name, &str)> {
        match self {
            Self::Sibling { component, export, .. } | Self::Provided { component, export, .. } => {
                Some((component, export))
            }
            _ => None,
        }
    }

    /// Whether the import grants a capability, and must be scoped apart from the siblings' imports of the same name.
    pub fn is_grant(&self) -> bool {
        matches!(self, Self::Plugin { grant: true, .. } | Self::Wasi { grant: true, .. })
    }
}

/// An entry component and everything that it reaches: fused into one component and run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// The component that triggers and callers call.
    pub entry: Name,
    /// The unit's components in instantiation order: each after those it imports from, the entry last, without duplicates.
    pub components: Vec<Name>,
}
