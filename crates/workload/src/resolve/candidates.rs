//! The candidates to satisfy an import, or the nearest miss if there is none.

use std::collections::{BTreeSet, HashMap, HashSet};

use wac_types::{ItemKind, SubtypeChecker, Type};

use super::{ComponentTypes, HostInterface, Importer};
use crate::component::{ComponentType, Extern};
use crate::interface::InterfaceName;
use crate::manifest::decode::nearest;
use crate::name::Name;
use crate::problem::{NearMiss, Problem};
use crate::resolution::Provider;

/// All exports of a workload, indexed by name without version.
pub(super) struct Exports<'a>(HashMap<String, Vec<(&'a Name, &'a Extern)>>);

impl<'a> Exports<'a> {
    pub(super) fn index(types: &'a ComponentTypes) -> Self {
        Self::index_of(types, |_, _| true)
    }

    /// Indexes a part of the exports.
    pub(super) fn index_of(types: &'a ComponentTypes, includes: impl Fn(&Name, &Extern) -> bool) -> Self {
        let mut index: HashMap<_, Vec<_>> = HashMap::new();
        for (name, component) in types {
            for export in component.exports().iter().filter(|export| includes(name, export)) {
                index.entry(unversioned(export)).or_default().push((name, export));
            }
        }
        Self(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a Name, &'a Extern)> {
        self.0.values().flatten().copied()
    }

    fn of_the_name(&self, import: &Extern) -> &[(&'a Name, &'a Extern)] {
        self.0.get(&unversioned(import)).map_or(&[], Vec::as_slice)
    }

    /// The siblings that satisfy an import, each with its newest matching export.
    pub(super) fn that_fit(&self, at: &Importer<'_>, import: &Extern) -> Vec<(&'a Name, &'a Extern)> {
        self.fitting(at.types, at, import, |name| name != at.name)
    }

    /// The components of these types that satisfy an import, each with its newest matching export.
    pub(super) fn fitting(
        &self,
        types: &ComponentTypes,
        at: &Importer<'_>,
        import: &Extern,
        includes: impl Fn(&Name) -> bool,
    ) -> Vec<(&'a Name, &'a Extern)> {
        let mut fitting: Vec<(&Name, &Extern)> = Vec::new();
        for (name, export) in self.of_the_name(import) {
            let eligible = includes(name) && may_serve(export, import);
            if !eligible || fits(&types[*name], export, at.component, import).is_err() {
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

/// Whether an export matches an import by name and version. [`fits`] compares the types.
pub(super) fn may_serve(export: &Extern, import: &Extern) -> bool {
    match (&export.interface, &import.interface) {
        (Some(export), Some(import)) => export.may_serve(import),
        _ => export.name == import.name,
    }
}

/// Checks that an export's type is a subtype of an import's; the error says where they differ.
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

/// The interface that an import implements, if its name is a label.
pub(super) fn implemented(import: &Extern) -> Option<InterfaceName> {
    import.interface.clone().filter(|_| import.label.is_some())
}

/// An import or export as lists show it: with the interface that a label implements.
pub(super) fn described(item: &Extern) -> String {
    implemented(item).map_or_else(|| item.name.clone(), |interface| format!("{} ({interface})", item.name))
}

/// The best of the host's interfaces that satisfy an import: a plugin's before WASI's, the exact version before the newest.
pub(super) fn best<'a>(
    host: &'a [HostInterface],
    import: &InterfaceName,
    eligible: impl Fn(&HostInterface) -> bool,
) -> Option<&'a HostInterface> {
    let serving = host.iter().filter(|h| h.name.may_serve(import) && eligible(h));
    serving.max_by_key(|h| (h.plugin.is_some(), h.name.version == import.version, h.name.version.clone()))
}

/// The plugins that satisfy an import.
pub(super) fn plugins(host: &[HostInterface], import: &InterfaceName) -> BTreeSet<String> {
    host.iter().filter(|h| h.name.may_serve(import)).filter_map(|h| h.plugin.clone()).collect()
}

/// The host as the provider of an import.
pub(super) fn from_host(host: &[HostInterface], import: &InterfaceName) -> Option<Provider> {
    let found = best(host, import, |_| true)?;
    let (interface, grant) = (found.name.to_string(), found.grant);
    Some(match &found.plugin {
        Some(plugin) => Provider::Plugin { plugin: plugin.clone(), interface, grant, target: None },
        None => Provider::Wasi { interface, grant },
    })
}

/// The granting interface of the host that would satisfy an import.
pub(super) fn granted_by_host(host: &[HostInterface], import: &Extern) -> Option<String> {
    let found = best(host, import.interface.as_ref()?, |_| true)?;
    found.grant.then(|| found.name.to_string())
}

/// The scoped interface whose handles would pass through an import that a sibling satisfies, if there is one.
pub(super) fn passes_a_grant(at: &Importer<'_>, import: &Extern) -> Option<String> {
    let types = &at.component.types;
    let ItemKind::Instance(id) = import.kind else { return None };
    types[id].uses.values().find_map(|used| {
        let owner = types[used.interface].id.as_deref()?;
        let mut kinds = types[used.interface].exports.values();
        let has_resources = kinds.any(|k| matches!(k, ItemKind::Type(Type::Resource(_))));
        // Several labels can import one interface: the resource is of the import with this very type.
        let is_owner = |i: &&Extern| matches!(i.kind, ItemKind::Instance(id) if id == used.interface);
        let imports = at.component.imports();
        let import = imports.iter().find(is_owner).or_else(|| imports.iter().find(|i| i.name == owner));
        let name = InterfaceName::parse(owner)?;
        let name = import.and_then(|i| i.interface.as_ref()).unwrap_or(&name);
        let grant = best(at.host, name, |_| true).is_some_and(|h| h.grant);
        let own = import.is_none_or(|i| !at.is_served_by_component(i));
        (has_resources && grant && own).then(|| name.to_string())
    })
}

/// Builds [`Problem::MissingImport`].
pub(super) fn missing(at: &Importer<'_>, import: &Extern) -> Problem {
    let siblings: Vec<_> = at.types.keys().filter(|name| *name != at.name).map(|n| format!("`{n}`")).collect();
    let plugins: BTreeSet<_> = at.host.iter().filter_map(|h| h.plugin.as_deref()).collect();
    let plugins: Vec<_> = plugins.into_iter().collect();
    let mut searched = Vec::new();
    searched.push(match siblings.len() {
        0 => "no sibling".to_owned(),
        1..=8 => format!("the exports of {}", siblings.join(", ")),
        many => format!("the exports of {many} siblings"),
    });
    let provided: Vec<_> = at.provided.0.types().keys().map(|name| format!("`{name}`")).collect();
    if !provided.is_empty() {
        searched.push(format!("the host's components {}", provided.join(", ")));
    }
    if !plugins.is_empty() {
        searched.push(format!("the plugins {}", plugins.join(", ")));
    }
    searched.push("WASI".to_owned());
    if !at.unread.is_empty() {
        searched.push(format!("not {}, which failed to load", at.unread.join(", ")));
    }
    Problem::MissingImport {
        component: at.name.clone(),
        import: import.name.clone(),
        interface: implemented(import),
        searched,
        nearest: near_miss(at, import),
    }
}

fn near_miss(at: &Importer<'_>, import: &Extern) -> Option<NearMiss> {
    let of_the_name = at.exports.of_the_name(import);
    if let Some((name, export)) = of_the_name.iter().find(|(name, _)| *name != at.name) {
        let (provider, interface) = (format!("`{name}`"), export.name.clone());
        return Some(match fits(&at.types[*name], export, at.component, import) {
            Err(difference) if may_serve(export, import) => NearMiss::Type { provider, interface, difference },
            _ => NearMiss::Version { provider, interface },
        });
    }
    if !of_the_name.is_empty() {
        return Some(NearMiss::Itself);
    }
    let wanted = import.interface.as_ref()?;
    if let Some(host) = at.host.iter().find(|h| h.name.same_interface(wanted)) {
        return Some(NearMiss::Version { provider: provider(host), interface: host.name.to_string() });
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
    // A name is a likely correction if each of its parts is.
    let is_like = |known: &InterfaceName| {
        let parts = [
            (&wanted.namespace, &known.namespace),
            (&wanted.package, &known.package),
            (&wanted.interface, &known.interface),
        ];
        parts.into_iter().all(|(wanted, known)| wanted == known || nearest(wanted, [known.as_str()]).is_some())
    };
    let exported = at.exports.0.values().flatten().filter(|(name, _)| *name != at.name);
    let mut known: Vec<(String, String, String)> = exported
        .filter_map(|(name, e)| Some((e.interface.as_ref()?, format!("`{name}`"), e.name.clone())))
        .chain(at.host.iter().map(|h| (&h.name, provider(h), h.name.to_string())))
        .filter(|(known, ..)| is_like(known))
        .map(|(known, provider, name)| (known.unversioned(), provider, name))
        .collect();
    known.sort();
    let near = nearest(&text, known.iter().map(|(name, ..)| name.as_str()))?;
    let (_, provider, interface) = known.iter().find(|(name, ..)| name == near)?;
    Some(NearMiss::Name { provider: provider.clone(), interface: interface.clone() })
}
