//! Components of the host's own: they provide interfaces to every workload, and are fused into each unit that imports from them.
//!
//! Takes their types and how they were resolved among themselves; adds those that a workload uses to its resolution, under names of
//! their own. A workload satisfies none of their imports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::ComponentTypes;
use super::candidates::Exports;
use crate::name::Name;
use crate::resolution::{ProvidedComponent, Provider, Resolution, ResolvedImport};
use crate::workload::Workload;

/// The interface by which a provided component asks who calls it, without its version.
const IDENTITY: &str = "wasmcloud:host/identity";

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
        Exports::index_of(&self.types, |name, export| !taken.contains(&(name, export.name.as_str())))
    }

    fn exports(&self, component: &Name, export: &str) -> bool {
        self.types.get(component).is_some_and(|ty| ty.exports().iter().any(|other| other.name == export))
    }

    /// Adds the provided components that a workload's imports reach, and what those reach.
    pub(super) fn add_used(&self, workload: &Workload, resolution: &mut Resolution) {
        let mut queue = VecDeque::new();
        for (importer, imports) in &mut resolution.components {
            for import in imports {
                if let Provider::Provided { component, .. } = &mut import.provider {
                    let of = self.used_by(component, importer);
                    *component = alias(workload, &of);
                    queue.push_back(of);
                }
            }
        }
        while let Some(of) = queue.pop_front() {
            let name = alias(workload, &of);
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
                    let (component, export, instead_of) = (alias(workload, &of), export.clone(), instead_of.clone());
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

/// The name of a provided component in a workload, which no component of the workload has.
fn alias(workload: &Workload, of: &ProvidedComponent) -> Name {
    let ProvidedComponent { component, caller } = of;
    let mut name =
        caller.as_ref().map_or_else(|| format!("host-{component}"), |caller| format!("host-{component}-for-{caller}"));
    while workload.components.contains_key(name.as_str()) {
        name.insert_str(0, "host-");
    }
    Name::joined(name)
}

/// Interfaces that several provided components offer, each with the components.
pub fn conflicts(provided: &Provided) -> BTreeMap<String, Vec<Name>> {
    let mut offered: BTreeMap<String, Vec<Name>> = BTreeMap::new();
    for (component, export) in provided.offered().iter() {
        offered.entry(export.name.clone()).or_default().push(component.clone());
    }
    offered.retain(|_, components| components.len() > 1);
    offered
}
