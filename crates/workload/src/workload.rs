//! A declared workload: the unit of deployment.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::manifest::{self, Component, Doubles, Extensions, Link, Settings, Triggers, Volume};
use crate::name::Name;

/// Components with their config, links, volumes, grants and triggers: everything that a host needs to run them.
///
/// [`manifest::parse`] reads one from a manifest; a program can build one from [`Workload::new`].
/// Grants are default-deny: a component has only what is declared here.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Workload {
    /// The workload's name.
    pub name: Name,
    /// The namespace in which the name is unique; `default` if omitted.
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
    /// Explicit links. They resolve ambiguities, build chains, and take precedence over inferred providers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub links: Vec<Link>,
    /// The triggers, which call the components.
    #[schemars(default)]
    pub triggers: Triggers,
    /// What takes the place of components in the workload's tests, which `wharf test` runs.
    #[serde(skip_serializing_if = "Doubles::is_empty")]
    #[schemars(default)]
    pub test: Doubles,
    /// The settings of keys that plugins own, by key.
    #[serde(flatten)]
    #[schemars(skip)]
    pub settings: BTreeMap<String, Settings>,
}

impl Workload {
    /// An empty workload in the namespace `default`.
    pub fn new(name: Name) -> Self {
        Self {
            name,
            namespace: Self::default_namespace(),
            version: None,
            components: BTreeMap::new(),
            volumes: BTreeMap::new(),
            links: Vec::new(),
            triggers: Triggers::default(),
            test: Doubles::default(),
            settings: BTreeMap::new(),
        }
    }

    /// Adds a component.
    #[must_use]
    pub fn with_component(mut self, name: Name, component: Component) -> Self {
        self.components.insert(name, component);
        self
    }

    /// The namespace of a host's own components, which no other workload may have.
    pub const HOST_NAMESPACE: &str = "wharf";

    /// Whether these are a host's own components, which are not bound by what the host lets manifests do.
    pub fn is_of_host(&self) -> bool {
        self.namespace.as_str() == Self::HOST_NAMESPACE
    }

    /// The identifier of a running workload on a host: `namespace/name`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Resolves the relative paths of sources, builds and volumes against `folder`.
    #[must_use]
    pub fn under(mut self, folder: &Path) -> Self {
        for component in self.components.values_mut().chain(self.test.components.values_mut()) {
            component.source = component.source.clone().under(folder);
            if let Some(build) = &mut component.build {
                build.under(folder);
            }
        }
        for volume in self.volumes.values_mut() {
            if let Volume::Host { host } = volume {
                *host = folder.join(&*host);
            }
        }
        self
    }

    /// Resolves the relative paths of sources and volumes, and those in the settings of extensions, against `folder`.
    #[must_use]
    pub fn under_with(self, folder: &Path, extensions: &Extensions) -> Self {
        let mut workload = self.under(folder);
        for key in extensions.settings() {
            if let Some(settings) = workload.settings.get_mut(&key.key) {
                key.paths.iter().for_each(|place| settings.under(place, folder));
            }
            for component in workload.components.values_mut().chain(workload.test.components.values_mut()) {
                if let Some(settings) = component.settings.get_mut(&key.key) {
                    key.component_paths.iter().for_each(|place| settings.under(place, folder));
                }
            }
        }
        workload
    }

    #[allow(clippy::expect_used)]
    pub(crate) fn default_namespace() -> Name {
        Name::new("default").expect("`default` is kebab-case")
    }
}

/// Reads the form that a workload serialises to, which is also the JSON form of a manifest. Every key that an extension might
/// own is accepted; [`validate`](crate::validate()) rejects those that no extension of a host owns.
impl<'de> Deserialize<'de> for Workload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        manifest::from_json(&value).map_err(serde::de::Error::custom)
    }
}
