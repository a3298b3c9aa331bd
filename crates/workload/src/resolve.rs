//! `Workload` → [`Resolution`] and every [`Problem`].
//!
//! Takes what was declared, the components' own types, and what the host provides; gives who satisfies what. It cannot
//! fail: what cannot be resolved is a problem, and all problems are found in one go. Never reads, links or runs anything.

mod candidates;
mod links;
mod units;

use std::collections::BTreeMap;

use crate::component::{ComponentType, Extern};
use crate::interface::InterfaceName;
use crate::name::Name;
use crate::problem::{Problem, Severity};
use crate::resolution::{Provider, Resolution, ResolvedImport};
use crate::workload::Workload;

use candidates::Exports;

/// An interface that the host provides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterface {
    /// Its name and version. It serves every import on the same compatibility track.
    pub name: InterfaceName,
    /// The plugin that provides it; WASI if `None`.
    pub plugin: Option<String>,
    /// Whether it grants something, so that each component gets its own.
    pub grant: bool,
}

/// The types of a workload's components, by name.
pub type ComponentTypes = BTreeMap<Name, ComponentType>;

/// Resolves a workload. `types` has an entry for each of its components; one that has none is left out.
///
/// Problems come errors first, then in the order of their places.
pub fn resolve(workload: &Workload, types: &ComponentTypes, host: &[HostInterface]) -> (Resolution, Vec<Problem>) {
    let mut problems = Vec::new();
    let exports = Exports::index(types);
    let links = links::index(workload, types, &mut problems);
    let mut resolution = Resolution::default();
    let unread: Vec<_> = workload.components.keys().filter(|name| !types.contains_key(*name)).collect();
    let unread: Vec<_> = unread.into_iter().map(|name| format!("`{name}`")).collect();
    for (name, component) in types {
        let at = Importer { name, component, types, host, exports: &exports, links: &links, unread: &unread };
        let imports = component.imports().iter().filter_map(|import| at.resolve(import, &mut problems)).collect();
        resolution.components.insert(name.clone(), imports);
    }
    problems.extend(interposed(&resolution));
    units::find(workload, types, &mut resolution, &mut problems);
    problems.sort_by_key(|p| (std::cmp::Reverse(p.severity()), p.place()));
    (resolution, problems)
}

/// Components that stand between others and what the host grants, without being asked to.
fn interposed(resolution: &Resolution) -> impl Iterator<Item = Problem> {
    let mut found: BTreeMap<(Name, String), Vec<Name>> = BTreeMap::new();
    for (importer, imports) in &resolution.components {
        for ResolvedImport { import, provider } in imports {
            if let Provider::Sibling { component, explicit: false, instead_of: Some(_), .. } = provider {
                found.entry((component.clone(), import.clone())).or_default().push(importer.clone());
            }
        }
    }
    found.into_iter().map(|((component, import), importers)| Problem::Interposed { component, import, importers })
}

/// Whether a list of problems lets the workload run.
pub fn runs(problems: &[Problem]) -> bool {
    problems.iter().all(|p| p.severity() < Severity::Error)
}

/// A component whose imports are being resolved, and all there is to resolve them with.
struct Importer<'a> {
    name: &'a Name,
    component: &'a ComponentType,
    types: &'a ComponentTypes,
    host: &'a [HostInterface],
    exports: &'a Exports<'a>,
    links: &'a links::Links<'a>,
    /// The components that are declared and have no type, because they could not be loaded.
    unread: &'a [String],
}

impl Importer<'_> {
    /// Rules 1 to 4 of resolution: an explicit link, else the one sibling that fits, else a plugin, else WASI.
    fn resolve(&self, import: &Extern, problems: &mut Vec<Problem>) -> Option<ResolvedImport> {
        let provider = match self.links.get(&(self.name, import.name.as_str())) {
            Some(link) => self.linked(import, link, problems),
            None => self.found(import, problems),
        }?;
        if let Provider::Sibling { component, .. } = &provider
            && let Some(resource) = candidates::passes_a_grant(self, import)
        {
            let (component, to) = (self.name.clone(), component.clone());
            problems.push(Problem::SharedGrant { component, import: import.name.clone(), to, resource });
            return None;
        }
        Some(ResolvedImport { import: import.name.clone(), provider })
    }

    fn linked(&self, import: &Extern, link: &links::Target<'_>, problems: &mut Vec<Problem>) -> Option<Provider> {
        let difference = match candidates::fits(&self.types[link.to], link.export, self.component, import) {
            Ok(()) => {
                let (component, export) = (link.to.clone(), link.export.name.clone());
                let instead_of = candidates::granted_by_host(self.host, import);
                return Some(Provider::Sibling { component, export, explicit: true, instead_of });
            }
            Err(difference) => difference,
        };
        let (component, to) = (self.name.clone(), link.to.clone());
        let import = import.name.clone();
        problems.push(Problem::TypeMismatch { component, import, to, difference, link: link.index });
        None
    }

    fn found(&self, import: &Extern, problems: &mut Vec<Problem>) -> Option<Provider> {
        let siblings = self.exports.that_fit(self, import);
        match siblings.as_slice() {
            [] => {}
            [(component, export)] => {
                let (component, export) = ((*component).clone(), export.name.clone());
                let instead_of = candidates::granted_by_host(self.host, import);
                return Some(Provider::Sibling { component, export, explicit: false, instead_of });
            }
            several => {
                let candidates = several.iter().map(|(name, _)| (*name).clone()).collect();
                let (component, import) = (self.name.clone(), import.name.clone());
                problems.push(Problem::Ambiguous { component, import, candidates });
                return None;
            }
        }
        let provided = import.interface.as_ref().and_then(|name| candidates::from_host(self.host, name));
        if provided.is_some() {
            return provided;
        }
        if self.component.types_only(import) {
            return Some(Provider::TypesOnly);
        }
        problems.push(candidates::missing(self, import));
        None
    }
}
