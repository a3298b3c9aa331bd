//! Components of the host's own: they provide interfaces to every workload, and are fused into each unit that imports from them.
//!
//! Takes their types and how they were resolved among themselves; adds those that a workload uses to its resolution, under names of
//! their own. A workload satisfies none of their imports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::ComponentTypes;
use super::candidates::{Exports, may_serve};
use crate::component::Extern;
use crate::interface::InterfaceName;
use crate::name::Name;
use crate::resolution::{ProvidedComponent, Provider, Resolution, ResolvedImport};
use crate::workload::Workload;

/// The interface by which a provided component asks who calls it, without its version.
const IDENTITY: &str = "wasmcloud:host/identity";
/// What a component exports for the host to call, and for no workload.
const OF_THE_HOST: [&str; 2] = ["wasmcloud:host/workload-lifecycle", "wasi:cli/run"];

/// The components that a host provides to every workload.
#[derive(Debug, Default)]
pub struct Provided {
    types: ComponentTypes,
    resolution: Resolution,
    /// Those that ask who calls them, or that call one that does.
    identified: BTreeSet<Name>,
}

impl Provided {
    /// Components of these types, with the resolution of their imports among themselves and by the host.
    pub fn new(types: ComponentTypes, resolution: Resolution) -> Self {
        let asks = |imports: &Vec<ResolvedImport>| {
            imports.iter().any(|i| i.interface.as_ref().is_some_and(|interface| interface.unversioned() == IDENTITY))
        };
        let asking = resolution.components.iter().filter(|(_, imports)| asks(imports));
        let mut identified: BTreeSet<Name> = asking.map(|(name, _)| name.clone()).collect();
        // A chain is as long as there are components.
        for _ in &resolution.components {
            let calls = |imports: &Vec<ResolvedImport>| siblings(imports).any(|name| identified.contains(name));
            let more: Vec<_> = resolution.components.iter().filter(|(_, imports)| calls(imports)).collect();
            let more: Vec<Name> = more.into_iter().map(|(name, _)| name.clone()).collect();
            identified.extend(more);
        }
        Self { types, resolution, identified }
    }

    /// The types of the components.
    pub fn types(&self) -> &ComponentTypes {
        &self.types
    }

    /// What workloads may import: the exports that no other provided component stands in front of.
    pub(super) fn offered(&self) -> Exports<'_> {
        let taken: BTreeSet<(&Name, &str)> = self
            .resolution
            .components
            .iter()
            .flat_map(|(importer, imports)| imports.iter().map(move |import| (importer, import)))
            .filter_map(|(importer, import)| match &import.provider {
                // One that exports what it imports replaces what it imports it from.
                Provider::Sibling { component, export, .. } if self.exports(importer, export) => {
                    Some((component, export.as_str()))
                }
                _ => None,
            })
            .collect();
        let is_for_host = |export: &Extern| {
            export.interface.as_ref().is_some_and(|name| OF_THE_HOST.contains(&name.unversioned().as_str()))
        };
        Exports::index_of(&self.types, |name, export| {
            !is_for_host(export) && !taken.contains(&(name, export.name.as_str()))
        })
    }

    fn exports(&self, component: &Name, export: &str) -> bool {
        self.types.get(component).is_some_and(|ty| ty.exports().iter().any(|other| other.name == export))
    }

    /// Adds the provided components that a workload's imports reach, and what those reach.
    pub(super) fn add_used(&self, workload: &Workload, resolution: &mut Resolution) {
        let (mut queue, mut names) = (VecDeque::new(), Names { workload, of: BTreeMap::new() });
        for (importer, imports) in &mut resolution.components {
            for import in imports {
                if let Provider::Provided { component, .. } = &mut import.provider {
                    let of = self.used_by(component, importer);
                    *component = names.of(&of);
                    queue.push_back(of);
                }
            }
        }
        while let Some(of) = queue.pop_front() {
            let name = names.of(&of);
            if resolution.provided.contains_key(&name) {
                continue;
            }
            let mut imports = self.resolution.components.get(&of.component).cloned().unwrap_or_default();
            for import in &mut imports {
                if let Provider::Sibling { component, export, instead_of, .. } = &import.provider {
                    let of = of.caller.as_ref().map_or_else(
                        || ProvidedComponent { component: component.clone(), caller: None },
                        |caller| self.used_by(component, caller),
                    );
                    let (component, export, instead_of) = (names.of(&of), export.clone(), instead_of.clone());
                    import.provider = Provider::Provided { component, export, instead_of };
                    queue.push_back(of);
                }
            }
            resolution.components.insert(name.clone(), imports);
            resolution.provided.insert(name, of);
        }
    }

    /// A component as its caller uses it: one for each caller if it asks who calls.
    fn used_by(&self, component: &Name, caller: &Name) -> ProvidedComponent {
        let caller = self.identified.contains(component).then(|| caller.clone());
        ProvidedComponent { component: component.clone(), caller }
    }
}

fn siblings(imports: &[ResolvedImport]) -> impl Iterator<Item = &Name> {
    imports.iter().filter_map(|import| match &import.provider {
        Provider::Sibling { component, .. } => Some(component),
        _ => None,
    })
}

/// The names of provided components in a workload: one for each, which no other component has.
struct Names<'w> {
    workload: &'w Workload,
    of: BTreeMap<ProvidedComponent, Name>,
}

impl Names<'_> {
    fn of(&mut self, used: &ProvidedComponent) -> Name {
        if let Some(name) = self.of.get(used) {
            return name.clone();
        }
        let ProvidedComponent { component, caller } = used;
        let caller = caller.as_ref().map_or_else(String::new, |caller| format!("-for-{caller}"));
        let mut name = Name::joined(format!("host-{component}{caller}"));
        while self.workload.components.contains_key(&name) || self.of.values().any(|taken| *taken == name) {
            name = Name::joined(format!("host-{name}"));
        }
        self.of.insert(used.clone(), name.clone());
        name
    }
}

/// Interfaces that several provided components offer, on one track of versions, each with the components.
pub fn conflicts(provided: &Provided) -> BTreeMap<String, Vec<Name>> {
    let offered: Vec<_> = provided.offered().iter().collect();
    let mut conflicts: BTreeMap<String, Vec<Name>> = BTreeMap::new();
    for (component, export) in &offered {
        let others = offered.iter().filter(|(other, theirs)| other != component && may_serve(theirs, export));
        let mut all: Vec<Name> = others.map(|(other, _)| (*other).clone()).collect();
        if !all.is_empty() {
            all.push((*component).clone());
            all.sort();
            all.dedup();
            let interface = export.interface.as_ref().map_or_else(|| export.name.clone(), InterfaceName::unversioned);
            conflicts.insert(interface, all);
        }
    }
    conflicts
}
