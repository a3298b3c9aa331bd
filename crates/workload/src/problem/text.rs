//! The notes and hints of problems, and the phrases that their messages share.

use super::{NearMiss, Problem};
use crate::interface::InterfaceName;
use crate::name::Name;

impl Problem {
    /// Further facts: where resolution searched, what came nearest, what a component exports.
    pub fn notes(&self) -> Vec<String> {
        match self {
            Self::MissingImport { searched, nearest, .. } => {
                let near = nearest.iter().map(|n| format!("nearest: {n}"));
                near.chain([format!("searched: {}", searched.join("; "))]).collect()
            }
            Self::LinkUnknownImport { from, imports, .. } => vec![has(from.as_str(), "imports", imports)],
            Self::LinkUnknownExport { to, exports, .. } => vec![has(to, "exports", exports)],
            Self::LinkUnknownTarget { components, plugins, .. } => {
                let components = format!("components: {}", names(components));
                let plugins = (!plugins.is_empty()).then(|| format!("plugins: {}", quoted(plugins)));
                [components].into_iter().chain(plugins).collect()
            }
            Self::TriggerWithoutExport { component, exports, .. }
            | Self::ServiceWithoutExport { component, exports, .. } => {
                vec![has(component.as_str(), "exports", exports)]
            }
            _ => Vec::new(),
        }
    }

    /// What to do about it. Empty only for a [`Problem::Invalid`] without a hint.
    pub fn hint(&self) -> String {
        match self {
            Self::Invalid { hint, .. } => hint.clone().unwrap_or_default(),
            Self::UnknownKey { hint, .. } => hint.clone(),
            Self::UnknownVolume { volume, nearest, .. } => did_you_mean(nearest.as_ref().map(Name::as_str))
                .unwrap_or_else(|| format!("add `[volumes.{volume}]` with a `host` path or `ephemeral = true`")),
            Self::MissingImport { import, interface, nearest, .. } => {
                missing(import, interface.as_ref(), nearest.as_ref())
            }
            Self::Ambiguous { component, import, candidates, .. } => {
                format!("choose one: {}", link(component, import, candidates.first().map_or("", Name::as_str)))
            }
            Self::AmbiguousPlugins { component, import, plugins, .. } => {
                format!("choose one: {}", link(component, import, plugins.first().map_or("", String::as_str)))
            }
            Self::TypeMismatch { .. } => "build both components against one version of the interface".into(),
            Self::Cycle { .. } => "move what both components need into a third one".into(),
            Self::LinkUnknownComponent { nearest, .. } | Self::TriggerUnknownComponent { nearest, .. } => {
                did_you_mean(nearest.as_ref().map(Name::as_str))
                    .unwrap_or_else(|| "add the component, or name an existing one".into())
            }
            Self::LinkUnknownTarget { nearest, .. } => did_you_mean(nearest.as_deref())
                .unwrap_or_else(|| "name a component, a plugin, or a plugin's store as `plugin:store`".into()),
            Self::LinkUnknownImport { .. } => "name one of its imports, with or without the version".into(),
            Self::LinkUnknownExport { .. } => "link to a component or plugin that provides it".into(),
            Self::SelfLink { .. } => "link to another component, or remove the link".into(),
            Self::DuplicateLink { .. } => "remove one of them".into(),
            Self::SharedGrant { resource, .. } => {
                format!("keep handles of `{resource}` in one component, and export functions that use them")
            }
            Self::SharedProviders { other_provider, .. } => {
                format!("link both to `{other_provider}`: the components of a unit share this interface")
            }
            Self::Interposed { component, import, importers, .. } => {
                let from = importers.first().map_or("", Name::as_str);
                let link = format!("[[links]] from = \"{from}\", import = \"{import}\", to = \"{component}\"");
                format!("if this is intended, add a link for each: {link}")
            }
            _ => self.hint_of_a_component(),
        }
    }

    /// The hints of problems that concern one component's role.
    fn hint_of_a_component(&self) -> String {
        match self {
            Self::TriggerWithoutExport { exports, .. }
                if exports.iter().any(|name| name.starts_with("wasi:cli/run")) =>
            {
                "it is a command: run it with `wharf run`, as `[[triggers.command]]` or as a `service`".into()
            }
            Self::TriggerWithoutExport { wanted, .. } => format!("call a component that exports {wanted}"),
            Self::ServiceWithoutExport { wanted, .. } => {
                format!("remove `service`, or build the component as a command, which exports {wanted}")
            }
            Self::ServiceWithTrigger { component, .. } => format!(
                "build `{component}` for WASI 0.3, move what `run` does to a service of its own, or remove `service` and \
                 keep one instance with `instances = {{ mode = \"reuse\", most = 1 }}`"
            ),
            Self::ServiceIsCommand { trigger, .. } => format!("remove `service`, or `{trigger}`"),
            Self::NoEffectOnService { key, .. } => format!("remove `{key}`, or `service`"),
            Self::Unreached { component } => format!("remove `{component}`, or link a component to it"),
            Self::AboveCeiling { ceiling, .. } => {
                format!("set {ceiling} or less, or ask the host's operator to raise the ceiling")
            }
            Self::NoEffect { key, entries, .. } => format!("set `{key}` on {}", names(entries)),
            _ => String::new(),
        }
    }
}

fn missing(import: &str, interface: Option<&InterfaceName>, nearest: Option<&NearMiss>) -> String {
    match nearest {
        Some(NearMiss::Version { .. } | NearMiss::Type { .. }) => {
            "build both sides against one version of the interface".into()
        }
        Some(NearMiss::Name { interface, .. }) => format!("did you mean `{interface}`?"),
        Some(NearMiss::Scoped { .. }) => {
            "import the interface under its own name, and grant it to the component".into()
        }
        _ if import.starts_with("wasmcloud:host/") => {
            "a component that the host provides is fused into those that call it, so that it cannot call a workload or cancel a call"
                .into()
        }
        // A composed component names its parts' grants after them: `store:wasi-config/store`.
        _ if InterfaceName::parse(import).is_some_and(|interface| interface.package.starts_with("wasi-")) => {
            "if the component was composed, run it with `wharf serve` or `wharf run`, or compose it with `--flat`"
                .into()
        }
        _ => {
            let wanted = interface.map_or_else(|| import.to_owned(), ToString::to_string);
            format!("add a component that exports `{wanted}`, or use a host with a plugin that provides it")
        }
    }
}

fn link(from: &Name, import: &str, to: &str) -> String {
    format!("[[links]] from = \"{from}\", import = \"{import}\", to = \"{to}\"")
}

fn did_you_mean(nearest: Option<&str>) -> Option<String> {
    nearest.map(|near| format!("did you mean `{near}`?"))
}

/// An import as messages name it: `store-a` (`acme:kv/store@1.0.0`) if its name is a label.
pub(super) fn import_name(import: &str, interface: Option<&InterfaceName>) -> String {
    interface.map_or_else(|| format!("`{import}`"), |interface| format!("`{import}` (`{interface}`)"))
}

pub(super) fn names(names: &[Name]) -> String {
    let names: Vec<_> = names.iter().map(Name::as_str).collect();
    crate::manifest::decode::list(&names)
}

pub(super) fn quoted(items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(String::as_str).collect();
    crate::manifest::decode::list(&items)
}

pub(super) fn cycle(components: &[Name]) -> String {
    let around = components.iter().chain(components.first());
    around.map(|c| format!("`{c}`")).collect::<Vec<_>>().join(" → ")
}

fn has(name: &str, verb: &str, items: &[String]) -> String {
    let items = if items.is_empty() { "nothing".to_owned() } else { items.join(", ") };
    format!("`{name}` {verb} {items}")
}
