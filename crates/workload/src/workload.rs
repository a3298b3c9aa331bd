//! What was declared: one unit of deployment, with everything about itself.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::manifest::{Component, Link, Triggers, Volume};
use crate::name::Name;

/// Components with their config, links, volumes, grants and triggers: all that a host needs to run them.
///
/// A manifest gives one ([`manifest::parse`](crate::manifest::parse)); a program can also build one by hand, from
/// [`Workload::new`]. Nothing that is not written here is granted.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Workload {
    /// The workload's name.
    pub name: Name,
    /// The namespace that the name is unique in; `default` when the manifest does not say.
    #[schemars(default = "Workload::default_namespace")]
    pub namespace: Name,
    /// The workload's own version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub version: Option<semver::Version>,
    /// The components, by name.
    pub components: BTreeMap<Name, Component>,
    /// The volumes that components can mount, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub volumes: BTreeMap<Name, Volume>,
    /// Explicit links: they settle ambiguities, build chains, and always win.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub links: Vec<Link>,
    /// What calls the components.
    #[schemars(default)]
    pub triggers: Triggers,
}

impl Workload {
    /// A workload with a name and nothing else, in the namespace `default`.
    pub fn new(name: Name) -> Self {
        Self {
            name,
            namespace: Self::default_namespace(),
            version: None,
            components: BTreeMap::new(),
            volumes: BTreeMap::new(),
            links: Vec::new(),
            triggers: Triggers::default(),
        }
    }

    /// The workload with one more component.
    #[must_use]
    pub fn with_component(mut self, name: Name, component: Component) -> Self {
        self.components.insert(name, component);
        self
    }

    /// `namespace/name`: what a host knows a running workload by.
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The workload with its relative paths, of sources and of volumes, made to start at `folder`.
    #[must_use]
    pub fn under(mut self, folder: &Path) -> Self {
        for component in self.components.values_mut() {
            component.source = component.source.clone().under(folder);
        }
        for volume in self.volumes.values_mut() {
            if let Volume::Host { host } = volume {
                *host = folder.join(&*host);
            }
        }
        self
    }

    #[allow(clippy::expect_used)]
    pub(crate) fn default_namespace() -> Name {
        Name::new("default").expect("`default` is kebab-case")
    }
}
