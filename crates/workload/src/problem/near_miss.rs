//! The candidate that almost satisfies an import, and why it does not.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// What comes nearest to satisfying an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "miss", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NearMiss {
    /// The same interface in an incompatible version.
    Version {
        /// The component, the plugin or WASI.
        provider: String,
        /// The interface that it has.
        interface: String,
    },
    /// The same interface with a different type.
    Type {
        /// The component that exports it.
        provider: String,
        /// The interface that it has.
        interface: String,
        /// Where the types differ.
        difference: String,
    },
    /// An interface with a similar name.
    Name {
        /// The component, the plugin or WASI.
        provider: String,
        /// The interface that it has.
        interface: String,
    },
    /// The importing component exports the interface itself, and a component is never linked to itself.
    Itself,
    /// The name has the form of another component's scoped import.
    Scoped {
        /// The component that the scoped import belongs to.
        owner: Name,
    },
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { provider, interface } => write!(f, "{provider} has `{interface}`, an incompatible version"),
            Self::Type { provider, interface, difference } => {
                write!(f, "{provider} has `{interface}`, but its type differs: {difference}")
            }
            Self::Name { provider, interface } => write!(f, "{provider} has `{interface}`, a similar name"),
            Self::Itself => f.write_str("the component exports it itself, but is never linked to itself"),
            Self::Scoped { owner } => write!(f, "the name has the form of a grant that is scoped to `{owner}`"),
        }
    }
}
