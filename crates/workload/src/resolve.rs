//! `Workload` → [`Resolution`] and every [`Problem`].
//!
//! Takes the declared workload, the components' types and the host's interfaces; returns the provider of each import. It
//! cannot fail: an unresolvable import is a problem, and one pass finds all problems. Never reads, links or runs anything.

mod candidates;
mod links;
mod provided;
mod units;

use std::collections::BTreeMap;

use crate::component::{ComponentType, Extern};
use crate::interface::InterfaceName;
use crate::manifest::Extensions;
use crate::name::Name;
use crate::problem::{Problem, Severity};
use crate::resolution::{Provider, Resolution, ResolvedImport};
use crate::workload::Workload;

use candidates::Exports;
use links::{Linked, Links, Target};

pub use provided::{Provided, conflicts};

/// An interface that the host provides. If several plugins provide one, a link chooses between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterface {
    /// Its name and version. It satisfies every import on the same compatibility track.
    pub name: InterfaceName,
    /// The plugin that provides it; WASI if `None`.
    pub plugin: Option<String>,
    /// Whether it grants a capability, so that it is scoped to each component.
    pub grant: bool,
}

/// The types of a workload's components, by name.
pub type ComponentTypes = BTreeMap<Name, ComponentType>;

/// Resolves a workload. `types` has an entry per component; components without one are skipped.
///
/// `extensions` defines the interfaces that each kind of trigger calls. Problems come errors first, then in the order of their
/// places.
pub fn resolve(
    workload: &Workload,
    types: &ComponentTypes,
    host: &[HostInterface],
    extensions: &Extensions,
) -> (Resolution, Vec<Problem>) {
    resolve_with(workload, types, host, &Provided::default(), extensions)
}

/// Resolves a workload for a host that provides components as well.
pub fn resolve_with(
    workload: &Workload,
    types: &ComponentTypes,
    host: &[HostInterface],
    provided: &Provided,
    extensions: &Extensions,
) -> (Resolution, Vec<Problem>) {
    let mut problems = Vec::new();
    let exports = Exports::index(types);
    let offered = provided.offered();
    let links = links::index(workload, types, host, &mut problems);
    let mut resolution = Resolution::default();
    let unread: Vec<_> = workload.components.keys().filter(|name| !types.contains_key(*name)).collect();
    let unread: Vec<_> = unread.into_iter().map(|name| format!("`{name}`")).collect();
    for (name, component) in types {
        let (exports, links, provided, unread) = (&exports, &links, (provided, &offered), unread.as_slice());
        let at = Importer { name, component, types, host, provided, exports, links, unread };
        let imports = component.imports().iter().filter_map(|import| at.resolve(import, &mut problems)).collect();
        resolution.components.insert(name.clone(), imports);
    }
    problems.extend(interposed(&resolution));
    provided.add_used(workload, &mut resolution);
    units::find(workload, types, extensions, &mut resolution, &mut problems);
    problems.sort_by_key(|p| (std::cmp::Reverse(p.severity()), p.place()));
    (resolution, problems)
}

/// Components that replace a granting interface of the host for others, although no link selects them.
fn interposed(resolution: &Resolution) -> impl Iterator<Item = Problem> {
    let mut found: BTreeMap<(Name, String, Option<InterfaceName>), Vec<Name>> = BTreeMap::new();
    for (importer, imports) in &resolution.components {
        for ResolvedImport { import, label, interface, provider } in imports {
            if let Provider::Sibling { component, explicit: false, instead_of: Some(_), .. } = provider {
                let interface = interface.clone().filter(|_| label.is_some());
                found.entry((component.clone(), import.clone(), interface)).or_default().push(importer.clone());
            }
        }
    }
    found.into_iter().map(|((component, import, interface), importers)| Problem::Interposed {
        component,
        import,
        interface,
        importers,
    })
}

/// Whether the problems are all warnings, so that the workload can run.
pub fn runs(problems: &[Problem]) -> bool {
    problems.iter().all(|p| p.severity() < Severity::Error)
}

/// A component whose imports are being resolved, with the context to resolve them in.
struct Importer<'a> {
    name: &'a Name,
    component: &'a ComponentType,
    types: &'a ComponentTypes,
    host: &'a [HostInterface],
    /// The components of the host, and what they offer.
    provided: (&'a Provided, &'a Exports<'a>),
    exports: &'a Exports<'a>,
    links: &'a Links<'a>,
    /// The components that are declared but have no type, because loading them failed.
    unread: &'a [String],
}

impl Importer<'_> {
    /// The rules of resolution: an explicit link, else the only matching sibling, else a component of the host, else a plugin, else
    /// WASI.
    fn resolve(&self, import: &Extern, problems: &mut Vec<Problem>) -> Option<ResolvedImport> {
        let provider = match self.links.get(&(self.name, import.name.as_str())) {
            Some(link) => self.linked(import, link, problems),
            None => self.found(import, problems),
        }?;
        if let Some((component, _)) = provider.component()
            && let Some(resource) = candidates::passes_a_grant(self, import)
        {
            let (component, to) = (self.name.clone(), component.clone());
            let interface = candidates::implemented(import);
            problems.push(Problem::SharedGrant { component, import: import.name.clone(), interface, to, resource });
            return None;
        }
        let (label, interface) = (import.label.clone(), import.interface.clone());
        Some(ResolvedImport { import: import.name.clone(), label, interface, provider })
    }

    fn linked(&self, import: &Extern, link: &Linked<'_>, problems: &mut Vec<Problem>) -> Option<Provider> {
        let (component, export) = match link.to {
            Target::Sibling { component, export } => (component, export),
            Target::Plugin { plugin, provided, store } => {
                let (plugin, interface) = (plugin.to_owned(), provided.name.to_string());
                let target = store.map(str::to_owned);
                return Some(Provider::Plugin { plugin, interface, grant: provided.grant, target });
            }
        };
        match candidates::fits(&self.types[component], export, self.component, import) {
            Ok(()) => Some(self.sibling(import, component, export, true)),
            Err(difference) => {
                let (to, component) = (component.clone(), self.name.clone());
                let (import, interface) = (import.name.clone(), candidates::implemented(import));
                let link = link.index;
                problems.push(Problem::TypeMismatch { component, import, interface, to, difference, link });
                None
            }
        }
    }

    fn sibling(&self, import: &Extern, component: &Name, export: &Extern, explicit: bool) -> Provider {
        let instead_of = candidates::granted_by_host(self.host, import);
        Provider::Sibling { component: component.clone(), export: export.name.clone(), explicit, instead_of }
    }

    fn found(&self, import: &Extern, problems: &mut Vec<Problem>) -> Option<Provider> {
        let (name, interface) = (import.name.clone(), candidates::implemented(import));
        match self.exports.that_fit(self, import).as_slice() {
            [] => {}
            [(component, export)] => return Some(self.sibling(import, component, export, false)),
            several => {
                let candidates = several.iter().map(|(name, _)| (*name).clone()).collect();
                let component = self.name.clone();
                problems.push(Problem::Ambiguous { component, import: name, interface, candidates });
                return None;
            }
        }
        if let Some(provider) = self.provided(import) {
            return Some(provider);
        }
        let wanted = import.interface.as_ref();
        let plugins = wanted.map(|wanted| candidates::plugins(self.host, wanted)).unwrap_or_default();
        if plugins.len() > 1 && !self.component.types_only(import) {
            let (component, plugins) = (self.name.clone(), plugins.into_iter().collect());
            problems.push(Problem::AmbiguousPlugins { component, import: name, interface, plugins });
            return None;
        }
        if plugins.len() <= 1
            && let Some(provided) = wanted.and_then(|wanted| candidates::from_host(self.host, wanted))
        {
            return Some(provided);
        }
        if self.component.types_only(import) {
            return Some(Provider::TypesOnly);
        }
        problems.push(candidates::missing(self, import));
        None
    }

    /// The component of the host that satisfies an import. A host has no two that offer one interface.
    fn provided(&self, import: &Extern) -> Option<Provider> {
        let (provided, offered) = self.provided;
        let fitting = offered.fitting(provided.types(), self, import, |_| true);
        let (component, export) = fitting.first()?;
        let instead_of = candidates::granted_by_host(self.host, import);
        Some(Provider::Provided { component: (*component).clone(), export: export.name.clone(), instead_of })
    }

    /// Whether a component satisfies an import, by link or because it matches.
    fn is_served_by_component(&self, import: &Extern) -> bool {
        match self.links.get(&(self.name, import.name.as_str())) {
            Some(link) => matches!(link.to, Target::Sibling { .. }),
            None => !self.exports.that_fit(self, import).is_empty() || self.provided(import).is_some(),
        }
    }
}
