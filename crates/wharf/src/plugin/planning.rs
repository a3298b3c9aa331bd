//! Planning: what a plugin checks and describes before anything is opened.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use workload::manifest::Component;
use workload::{Name, Problem, Workload};

use super::{BoundImport, PluginError, decode};

/// What a plugin grants to a component, as plans show it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Grant {
    /// The plugin.
    pub plugin: String,
    /// The name by which the component asks for it.
    pub name: String,
    /// What it is, such as the backend of a store. Never a secret.
    pub detail: String,
}

/// An import of a component that a plugin satisfies, and the part of the plugin that a link chose for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedImport {
    /// The import.
    pub import: BoundImport,
    /// The part of the plugin that a link chose, such as a store's name.
    pub target: Option<String>,
    /// The index in `links` of the link that chose it, if there is one.
    pub link: Option<usize>,
}

/// A workload that a plugin checks in [`Plugin::plan`](super::Plugin::plan).
pub struct Planning<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) workload: &'a Workload,
    pub(crate) imports: &'a BTreeMap<Name, Vec<PlannedImport>>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) grants: BTreeMap<Name, Vec<Grant>>,
}

impl<'a> Planning<'a> {
    /// The workload. It may be invalid: its other problems are reported along with those of the plugin.
    pub fn workload(&self) -> &'a Workload {
        self.workload
    }

    /// The components of the workload.
    pub fn components(&self) -> impl Iterator<Item = (&'a Name, &'a Component)> + use<'a> {
        self.workload.components.iter()
    }

    /// The imports of a component that the plugin satisfies.
    pub fn imports(&self, component: &Name) -> &'a [PlannedImport] {
        self.imports.get(component).map_or(&[], Vec::as_slice)
    }

    /// The workload's settings under a key that the plugin owns; `None` when the manifest has none, or invalid ones, which this
    /// reports.
    pub fn settings<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        decode(&self.workload.settings, key).unwrap_or_else(|error| {
            self.problem(error);
            None
        })
    }

    /// A component's settings under a key that the plugin owns; `None` when the manifest has none, or invalid ones, which this
    /// reports.
    pub fn component_settings<T: DeserializeOwned>(&mut self, component: &Name, key: &str) -> Option<T> {
        decode(&self.workload.components.get(component)?.settings, key).unwrap_or_else(|error| {
            self.problem(error.below(&format!("components.{component}")));
            None
        })
    }

    /// Reports a problem, which keeps the workload from running. Its place is a dotted path from the manifest's top.
    pub fn problem(&mut self, error: PluginError) {
        self.problems.extend(error.into_each().into_iter().map(|error| Problem::Invalid {
            place: error.place().unwrap_or_default().to_owned(),
            message: error.to_string(),
            hint: error.advice().map(str::to_owned),
        }));
    }

    /// Describes what the plugin grants to a component.
    pub fn grant(&mut self, component: &Name, name: impl Into<String>, detail: impl Into<String>) {
        let grant = Grant { plugin: self.plugin.to_owned(), name: name.into(), detail: detail.into() };
        self.grants.entry(component.clone()).or_default().push(grant);
    }
}
