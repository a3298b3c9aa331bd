//! Grants renamed apart: component `auth`'s `wasi:config/store@0.2.0` becomes `auth:wasi-config/store@0.2.0`.

use std::collections::BTreeMap;

use wac_types::{ItemKind, Types, WorldId};
use workload::resolution::{Provider, ResolvedImport};
use workload::{InterfaceName, Name, Resolution, Unit};

/// An import of a fused component that belongs to one of its components alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopedImport {
    /// The component's slot in the unit.
    pub slot: usize,
    /// The name that the import has in the component itself.
    pub import: String,
}

/// The imports of a unit of one component: nobody is there to be told apart from, so the names stay.
pub(super) fn unchanged(imports: &[ResolvedImport]) -> BTreeMap<String, ScopedImport> {
    let grants = imports.iter().filter(|import| import.provider.is_grant());
    grants.map(|i| (i.import.clone(), ScopedImport { slot: 0, import: i.import.clone() })).collect()
}

/// The plugins' interfaces that stay one for the whole unit, each with the first component that imports it: the plugin
/// bound to that one.
pub(super) fn shared(unit: &Unit, resolution: &Resolution) -> Vec<(InterfaceName, usize)> {
    let slots = unit.components.iter().enumerate();
    let imports = slots.flat_map(|(slot, name)| resolution.components[name].iter().map(move |import| (slot, import)));
    let of_plugins = imports.filter(|(_, i)| matches!(i.provider, Provider::Plugin { grant: false, .. }));
    of_plugins.filter_map(|(slot, import)| Some((InterfaceName::parse(&import.import)?, slot))).collect()
}

/// Gives every granting interface that a component imports its scoped name, all of them before any is imported, because
/// interfaces that share a resource must move together. Gives the new names by the old ones.
pub(super) fn rename<'i>(
    types: &mut Types,
    world: WorldId,
    slot: usize,
    component: &Name,
    imports: &'i [ResolvedImport],
    scoped: &mut BTreeMap<String, ScopedImport>,
) -> BTreeMap<&'i str, (String, ItemKind)> {
    let mut renamed = BTreeMap::new();
    for import in imports.iter().filter(|import| import.provider.is_grant()) {
        let Some(kind @ ItemKind::Instance(interface)) = types[world].imports.get(&import.import).copied() else {
            continue;
        };
        let Some(mut name) = InterfaceName::parse(&import.import) else { continue };
        name.package = format!("{}-{}", name.namespace.replace(':', "-"), name.package);
        component.as_str().clone_into(&mut name.namespace);
        // `a-b:c/d` and `a:b-c/d` would have one name; the second one gets another.
        while scoped.contains_key(&name.to_string()) {
            name.package.push_str("-x");
        }
        let new = name.to_string();
        types[interface].id = Some(new.clone());
        scoped.insert(new.clone(), ScopedImport { slot, import: import.import.clone() });
        renamed.insert(import.import.as_str(), (new, kind));
    }
    renamed
}
