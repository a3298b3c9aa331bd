//! Scopes: renames the imports that belong to one component, so that siblings' imports of one interface stay apart.
//!
//! Component `auth`'s `wasi:config/store@0.2.0` becomes `auth:wasi-config/store@0.2.0`; its import of `wasi:keyvalue/store`
//! under the label `cache` becomes `auth:wasi-keyvalue/store-cache`.

use std::collections::{BTreeMap, HashSet};

use wac_types::{ItemKind, Types, WorldId};
use workload::Name;
use workload::resolution::ResolvedImport;

/// An import of a fused component that belongs to one of its components alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopedImport {
    /// The component's index in the unit.
    pub slot: usize,
    /// The import's name in the component itself.
    pub import: String,
}

/// The imports of a unit of one component, which keep their names.
pub(super) fn unchanged(imports: &[ResolvedImport]) -> BTreeMap<String, ScopedImport> {
    let own = imports.iter().filter(|import| is_own(import));
    own.map(|i| (i.import.clone(), ScopedImport { slot: 0, import: i.import.clone() })).collect()
}

/// Whether an import belongs to its component alone: it grants something, or its label means something to the component only.
fn is_own(import: &ResolvedImport) -> bool {
    let is_fused = import.provider.component().is_some();
    import.provider.is_grant() || (import.label.is_some() && !is_fused)
}

/// Scopes the imports that belong to a component, all of them before any is added to the graph, because interfaces that share
/// a resource must be renamed together. Returns a map from old to new names.
pub(super) fn rename<'i>(
    types: &mut Types,
    world: WorldId,
    slot: usize,
    component: &Name,
    imports: &'i [ResolvedImport],
    scoped: &mut BTreeMap<String, ScopedImport>,
) -> BTreeMap<&'i str, (String, ItemKind)> {
    let (mut renamed, mut taken) = (BTreeMap::new(), HashSet::new());
    for import in imports.iter().filter(|import| is_own(import)) {
        let Some(ItemKind::Instance(mut interface)) = types[world].imports.get(&import.import).copied() else {
            continue;
        };
        let Some(mut name) = import.interface.clone() else { continue };
        name.package = format!("{}-{}", name.namespace.replace(':', "-"), name.package);
        component.as_str().clone_into(&mut name.namespace);
        if let Some(label) = &import.label {
            name.interface = format!("{}-{label}", name.interface);
        }
        // `a-b:c/d` and `a:b-c/d` would have the same name.
        while scoped.contains_key(&name.to_string()) {
            name.package.push_str("-x");
        }
        // Two labels may share one type, and a type has one name.
        if !taken.insert(interface) {
            let copy = types[interface].clone();
            interface = types.add_interface(copy);
        }
        let new = name.to_string();
        types[interface].id = Some(new.clone());
        scoped.insert(new.clone(), ScopedImport { slot, import: import.import.clone() });
        renamed.insert(import.import.as_str(), (new, ItemKind::Instance(interface)));
    }
    renamed
}
