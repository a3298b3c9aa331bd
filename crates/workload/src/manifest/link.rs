//! `[[links]]`: an explicit provider of an import.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::decode::{Decode, Diagnostics, Table, parsed};
use super::tree::Node;
use crate::name::Name;

/// An explicit link: it resolves an ambiguity, builds a chain, or overrides the inferred provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Link {
    /// The component that imports.
    pub from: Name,
    /// The import: its label, or its interface with or without the version, which selects all of its labels.
    pub import: String,
    /// The provider.
    pub to: LinkTarget,
}

/// The provider that a link selects: a component, a plugin, or one of a plugin's stores.
///
/// ```
/// use wharf_workload::manifest::LinkTarget;
///
/// let target: LinkTarget = "keyvalue:sessions".parse().unwrap();
/// assert_eq!((target.name.as_str(), target.target.as_deref()), ("keyvalue", Some("sessions")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkTarget {
    /// A component or a plugin. A component takes precedence over a plugin of the same name.
    pub name: String,
    /// A store of the plugin, in the plugin's own terms.
    pub target: Option<String>,
}

/// Why a string is not a [`LinkTarget`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a component, a plugin or `plugin:store`, found `{0}`")]
pub struct LinkTargetError(String);

impl FromStr for LinkTarget {
    type Err = LinkTargetError;
    fn from_str(text: &str) -> Result<Self, LinkTargetError> {
        let (name, target) = match text.split_once(':') {
            Some((name, target)) => (name, Some(target.to_owned())),
            None => (text, None),
        };
        if name.is_empty() || target.as_ref().is_some_and(String::is_empty) {
            return Err(LinkTargetError(text.to_owned()));
        }
        Ok(Self { name: name.to_owned(), target })
    }
}

impl From<Name> for LinkTarget {
    fn from(name: Name) -> Self {
        Self { name: name.into(), target: None }
    }
}

impl fmt::Display for LinkTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.target.as_ref().map_or(Ok(()), |target| write!(f, ":{target}"))
    }
}

impl Serialize for LinkTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LinkTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for LinkTarget {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LinkTarget".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "minLength": 1,
            "description": "A component, a plugin, or a plugin's store as plugin:store."
        })
    }
}

impl Decode for LinkTarget {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        parsed(node, path, diagnostics, str::parse)
    }
}

impl Decode for Link {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let mut table = Table::open(node, path, diagnostics)?;
        let (from, import) = (table.require("from", diagnostics), table.require("import", diagnostics));
        let target = table.require("to", diagnostics);
        table.finish(diagnostics);
        Some(Self { from: from?, import: import?, to: target? })
    }
}
