//! Who could satisfy an import, and if nobody, who came nearest.

use std::collections::{HashMap, HashSet};

use wac_types::{ItemKind, SubtypeChecker, Type};

use super::{ComponentTypes, HostInterface, Importer};
use crate::component::{ComponentType, Extern};
use crate::interface::InterfaceName;
use crate::manifest::decode::nearest;
use crate::name::Name;
use crate::problem::{NearMiss, Problem};
use crate::resolution::Provider;

/// All exports of a workload, by their names without versions.
pub(super) struct Exports<'a>(HashMap<String, Vec<(&'a Name, &'a Extern)>>);

impl<'a> Exports<'a> {
    pub(super) fn index(types: &'a ComponentTypes) -> Self {
        let mut index: HashMap<_, Vec<_>> = HashMap::new();
        for (name, component) in types {
            for export in component.exports() {
                index.entry(unversioned(export)).or_default().push((name, export));
            }
        }
        Self(index)
    }

    fn of_the_name(&self, import: &Extern) -> &[(&'a Name, &'a Extern)] {
        self.0.get(&unversioned(import)).map_or(&[], Vec::as_slice)
    }

    /// The siblings that satisfy an import: one export each, the newest.
    pub(super) fn that_fit(&self, at: &Importer<'_>, import: &Extern) -> Vec<(&'a Name, &'a Extern)> {
        let mut fitting: Vec<(&Name, &Extern)> = Vec::new();
        for (name, export) in self.of_the_name(import) {
            let eligible = *name != at.name && may_serve(export, import);
            if !eligible || fits(&at.types[*name], export, at.component, import).is_err() {
                continue;
            }
            match fitting.iter_mut().find(|(other, _)| other == name) {
                Some(slot) if version(export) > version(slot.1) => slot.1 = export,
                Some(_) => {}
                None => fitting.push((name, export)),
            }
        }
        fitting
    }
}

fn unversioned(item: &Extern) -> String {
    item.interface.as_ref().map_or_else(|| item.name.clone(), InterfaceName::unversioned)
}

pub(super) fn version(item: &Extern) -> Option<&semver::Version> {
    item.interface.as_ref()?.version.as_ref()
}

/// Whether the names and versions of an export and an import go together; the types are another matter.
pub(super) fn may_serve(export: &Extern, import: &Extern) -> bool {
    match (&export.interface, &import.interface) {
        (Some(export), Some(import)) => export.may_serve(import),
        _ => export.name == import.name,
    }
}

/// Whether an export's type is a subtype of an import's; if not, where they differ.
pub(super) fn fits(
    exporter: &ComponentType,
    export: &Extern,
    importer: &ComponentType,
    import: &Extern,
) -> Result<(), String> {
    let mut cache = HashSet::new();
    SubtypeChecker::new(&mut cache)
        .is_subtype(export.kind, &exporter.types, import.kind, &importer.types)
        .map_err(|error| error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// The host's interface that satisfies an import: a plugin's before WASI's, and the nearest version of those.
pub(super) fn from_host(host: &[HostInterface], import: &InterfaceName) -> Option<Provider> {
    let found = host
        .iter()
        .filter(|h| h.name.may_serve(import))
        .max_by_key(|h| (h.plugin.is_some(), h.name.version == import.version, h.name.version.clone()))?;
    let (interface, grant) = (found.name.to_string(), found.grant);
    Some(match &found.plugin {
        Some(plugin) => Provider::Plugin { plugin: plugin.clone(), interface, grant },
        None => Provider::Wasi { interface, grant },
    })
}

/// The host's interface that would satisfy an import with something that it grants.
pub(super) fn granted_by_host(host: &[HostInterface], import: &Extern) -> Option<String> {
    match from_host(host, import.interface.as_ref()?)? {
        Provider::Plugin { interface, grant: true, .. } | Provider::Wasi { interface, grant: true } => Some(interface),
        _ => None,
    }
}

/// Whether an import that a sibling satisfies passes handles of an interface that each component has its own of. Gives
/// that interface.
pub(super) fn passes_a_grant(at: &Importer<'_>, import: &Extern) -> Option<String> {
    let types = &at.component.types;
    let ItemKind::Instance(id) = import.kind else { return None };
    types[id].uses.values().find_map(|used| {
        let owner = types[used.interface].id.as_deref()?;
        let has_resources = types[used.interface].exports.values();
        let has_resources = has_resources.into_iter().any(|k| matches!(k, ItemKind::Type(Type::Resource(_))));
        let name = InterfaceName::parse(owner)?;
        let grant = from_host(at.host, &name).is_some_and(|p| p.is_grant());
        let import = at.component.imports().iter().find(|i| i.name == owner);
        let own = import.is_none_or(|i| at.exports.that_fit(at, i).is_empty());
        (has_resources && grant && own).then(|| owner.to_owned())
    })
}

/// The problem of an import that nothing satisfies.
pub(super) fn missing(at: &Importer<'_>, import: &Extern) -> Problem {
    let siblings: Vec<_> = at.types.keys().filter(|name| *name != at.name).map(|n| format!("`{n}`")).collect();
    let mut plugins: Vec<_> = at.host.iter().filter_map(|h| h.plugin.as_deref()).collect();
    plugins.dedup();
    let mut looked_at = Vec::new();
    looked_at.push(match siblings.len() {
        0 => "no other component".to_owned(),
        1..=8 => format!("the exports of {}", siblings.join(", ")),
        many => format!("the exports of {many} other components"),
    });
    if !plugins.is_empty() {
        looked_at.push(format!("the plugins {}", plugins.join(", ")));
    }
    looked_at.push("WASI".to_owned());
    if !at.unread.is_empty() {
        looked_at.push(format!("not at {}, which could not be loaded", at.unread.join(", ")));
    }
    Problem::MissingImport {
        component: at.name.clone(),
        import: import.name.clone(),
        looked_at,
        nearest: near_miss(at, import),
    }
}

fn near_miss(at: &Importer<'_>, import: &Extern) -> Option<NearMiss> {
    let of_the_name = at.exports.of_the_name(import);
    if let Some((name, export)) = of_the_name.iter().find(|(name, _)| *name != at.name) {
        let (who, has) = (format!("`{name}`"), export.name.clone());
        return Some(match fits(&at.types[*name], export, at.component, import) {
            Err(difference) if may_serve(export, import) => NearMiss::Type { who, has, difference },
            _ => NearMiss::Version { who, has },
        });
    }
    if !of_the_name.is_empty() {
        return Some(NearMiss::Itself);
    }
    let wanted = import.interface.as_ref()?;
    if let Some(host) = at.host.iter().find(|h| h.name.same_interface(wanted)) {
        return Some(NearMiss::Version { who: provider(host), has: host.name.to_string() });
    }
    if let Some(owner) = at.types.keys().find(|n| n.as_str() == wanted.namespace && *n != at.name) {
        return Some(NearMiss::Scoped { owner: owner.clone() });
    }
    like_name(at, wanted)
}

fn provider(host: &HostInterface) -> String {
    host.plugin.as_ref().map_or_else(|| "WASI".to_owned(), |p| format!("the plugin `{p}`"))
}

fn like_name(at: &Importer<'_>, wanted: &InterfaceName) -> Option<NearMiss> {
    let text = wanted.unversioned();
    let exported = at.exports.0.values().flatten().filter(|(name, _)| *name != at.name);
    let mut known: Vec<(String, String, String)> = exported
        .filter_map(|(name, e)| Some((e.interface.as_ref()?.unversioned(), format!("`{name}`"), e.name.clone())))
        .chain(at.host.iter().map(|h| (h.name.unversioned(), provider(h), h.name.to_string())))
        .collect();
    known.sort();
    let near = nearest(&text, known.iter().map(|(name, ..)| name.as_str()))?;
    let (_, who, has) = known.iter().find(|(name, ..)| name == near)?;
    Some(NearMiss::Name { who: who.clone(), has: has.clone() })
}
