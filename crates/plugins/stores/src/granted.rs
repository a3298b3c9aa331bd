//! What a component may open: names that the guest asks for, and the store behind each.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wharf::workload::Name;

/// The stores that a component is granted: `keyvalue = ["sessions"]`, or `keyvalue = { default = "sessions" }` with the name that the
/// guest opens first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected names, or a table of the guest's names and names: both have letters, digits and `-`"
)]
pub enum Granted {
    /// Stores that the guest opens by their own names.
    Names(Vec<Name>),
    /// Stores by the name that the guest opens.
    Renamed(BTreeMap<String, Name>),
}

impl Default for Granted {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

impl Granted {
    /// Each name that the guest opens, the store behind it, and the place of the grant below its key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Name, String)> {
        let (names, renamed) = match self {
            Self::Names(names) => (names.as_slice(), None),
            Self::Renamed(renamed) => (&[][..], Some(renamed)),
        };
        let names = names.iter().enumerate().map(|(i, name)| (name.as_str(), name, i.to_string()));
        names.chain(renamed.into_iter().flatten().map(|(guest, name)| (guest.as_str(), name, guest.clone())))
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}
