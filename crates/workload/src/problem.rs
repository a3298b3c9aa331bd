//! Everything that can be wrong with a workload: where, why, the nearest miss, and what to do.

mod near_miss;
mod text;

use serde::{Deserialize, Serialize};

pub use near_miss::NearMiss;

use crate::interface::InterfaceName;
use crate::name::Name;
use text::{cycle, import_name, names, quoted};

/// Whether a problem keeps a workload from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The workload runs, but probably not as intended.
    Warning,
    /// The workload cannot run.
    Error,
}

/// A problem of a workload, found while it is validated or resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Problem {
    /// An invalid value.
    #[error("{message}")]
    Invalid {
        /// The value's dotted path in the manifest: `components.web.volumes.0.guest`.
        place: String,
        /// What is wrong with it.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A key that neither the manifest's schema nor an extension of the host defines.
    #[error("{message}")]
    UnknownKey {
        /// The key's dotted path in the manifest.
        place: String,
        /// Which key is unknown, and where.
        message: String,
        /// The most similar known key, or all known keys.
        hint: String,
    },
    /// A mount names a volume that the workload does not declare.
    #[error("`{component}` mounts unknown volume `{volume}`")]
    UnknownVolume {
        /// The component.
        component: Name,
        /// The mount's index in the component's `volumes`.
        mount: usize,
        /// The unknown volume.
        volume: Name,
        /// The declared volume with the most similar name.
        nearest: Option<Name>,
    },
    /// Nothing satisfies an import.
    #[error("nothing satisfies {}, imported by `{component}`", import_name(import, interface.as_ref()))]
    MissingImport {
        /// The component that imports.
        component: Name,
        /// The import's name in the component.
        import: String,
        /// The interface that the import implements, if its name is a label.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<InterfaceName>,
        /// Where resolution searched, in order.
        searched: Vec<String>,
        /// The nearest miss.
        nearest: Option<NearMiss>,
    },
    /// Several siblings satisfy an import.
    #[error("{} imported by `{component}` is ambiguous: exported by {}", import_name(import, interface.as_ref()), names(candidates))]
    Ambiguous {
        /// The component that imports.
        component: Name,
        /// The import's name in the component.
        import: String,
        /// The interface that the import implements, if its name is a label.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<InterfaceName>,
        /// The siblings that match.
        candidates: Vec<Name>,
    },
    /// Several plugins satisfy an import.
    #[error("{} imported by `{component}` is ambiguous: provided by the plugins {}", import_name(import, interface.as_ref()), quoted(plugins))]
    AmbiguousPlugins {
        /// The component that imports.
        component: Name,
        /// The import's name in the component.
        import: String,
        /// The interface that the import implements, if its name is a label.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<InterfaceName>,
        /// The plugins that match.
        plugins: Vec<String>,
    },
    /// The export that a link selects has a type that does not match the import.
    #[error("`{to}` cannot satisfy {}, imported by `{component}`: {difference}", import_name(import, interface.as_ref()))]
    TypeMismatch {
        /// The component that imports.
        component: Name,
        /// The import's name in the component.
        import: String,
        /// The interface that the import implements, if its name is a label.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<InterfaceName>,
        /// The component that exports.
        to: Name,
        /// Where the types differ: which function, which parameter.
        difference: String,
        /// The link's index in `links`.
        link: usize,
    },
    /// Components import from each other in a cycle.
    #[error("cyclic imports: {}", cycle(components))]
    Cycle {
        /// The cycle: each component imports from the next, and the last from the first.
        components: Vec<Name>,
    },
    /// A link starts at an unknown component.
    #[error("link {}: unknown component `{name}` in `{key}`", link + 1)]
    LinkUnknownComponent {
        /// The link's index in `links`.
        link: usize,
        /// The key: `from`.
        key: String,
        /// The unknown name.
        name: Name,
        /// The component with the most similar name.
        nearest: Option<Name>,
    },
    /// A link leads to neither a component nor a plugin.
    #[error("link {}: `{target}` in `to` is neither a component nor a plugin", link + 1)]
    LinkUnknownTarget {
        /// The link's index in `links`.
        link: usize,
        /// The unknown target.
        target: String,
        /// The workload's components.
        components: Vec<Name>,
        /// The host's plugins.
        plugins: Vec<String>,
        /// The component or plugin with the most similar name.
        nearest: Option<String>,
    },
    /// A link's component does not have the import.
    #[error("link {}: `{from}` does not import `{import}`", link + 1)]
    LinkUnknownImport {
        /// The link's index in `links`.
        link: usize,
        /// The component.
        from: Name,
        /// The unknown import.
        import: String,
        /// The component's imports.
        imports: Vec<String>,
    },
    /// A link's target exports nothing that could satisfy the import.
    #[error("link {}: `{to}` does not export {}", link + 1, import_name(import, interface.as_ref()))]
    LinkUnknownExport {
        /// The link's index in `links`.
        link: usize,
        /// The import's name in the component.
        import: String,
        /// The interface that the import implements, if its name is a label.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<InterfaceName>,
        /// The target: a component or a plugin.
        to: String,
        /// The target's exports.
        exports: Vec<String>,
    },
    /// A link leads from a component to itself.
    #[error("link {}: `{component}` is linked to itself", link + 1)]
    SelfLink {
        /// The link's index in `links`.
        link: usize,
        /// The component.
        component: Name,
    },
    /// Two links select a provider for one import.
    #[error("links {} and {} both satisfy {} of `{from}`", first + 1, link + 1, import_name(import, interface.as_ref()))]
    DuplicateLink {
        /// The second link's index in `links`.
        link: usize,
        /// The first link's index in `links`.
        first: usize,
        /// The component.
        from: Name,
        /// The import's name in the component.
        import: String,
        /// The interface that the import implements, if its name is a label.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<InterfaceName>,
    },
    /// A component replaces a granting interface of the host for others, and no link selects it.
    #[error("`{component}` satisfies {} instead of the host for {}", import_name(import, interface.as_ref()), names(importers))]
    Interposed {
        /// The component that exports the interface.
        component: Name,
        /// The import's name in the importing components.
        import: String,
        /// The interface that the import implements, if its name is a label.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<InterfaceName>,
        /// The components that import it.
        importers: Vec<Name>,
    },
    /// A trigger calls an unknown component.
    #[error("unknown component `{name}` in `{trigger}`")]
    TriggerUnknownComponent {
        /// The trigger's dotted path in the manifest: `triggers.http.0`.
        trigger: String,
        /// The unknown name.
        name: Name,
        /// The component with the most similar name.
        nearest: Option<Name>,
    },
    /// A trigger calls a component that does not export the trigger's interface.
    #[error("`{component}`, called by `{trigger}`, does not export {wanted}")]
    TriggerWithoutExport {
        /// The trigger's dotted path in the manifest: `triggers.http.0`.
        trigger: String,
        /// The component.
        component: Name,
        /// The interfaces that the trigger calls.
        wanted: String,
        /// The component's exports.
        exports: Vec<String>,
    },
    /// Siblings would share resource handles that are scoped to one of them.
    #[error(
        "{} would pass handles of `{resource}` from `{to}` to `{component}`, but they are scoped to the component that opens them",
        import_name(import, interface.as_ref())
    )]
    SharedGrant {
        /// The component that imports.
        component: Name,
        /// The import's name in the component.
        import: String,
        /// The interface that the import implements, if its name is a label.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<InterfaceName>,
        /// The component that exports.
        to: Name,
        /// The interface that defines the resource.
        resource: String,
    },
    /// A service does not export the interface that services run.
    #[error("service `{component}` does not export {wanted}")]
    ServiceWithoutExport {
        /// The component.
        component: Name,
        /// The interfaces that a service can export.
        wanted: String,
        /// The component's exports.
        exports: Vec<String>,
    },
    /// A trigger calls a service whose instance cannot take calls while it runs.
    #[error(
        "`{component}` is a service that `{trigger}` calls, but its `{interface}` is of WASI 0.2, which takes no calls while `run` goes on"
    )]
    ServiceWithTrigger {
        /// The component.
        component: Name,
        /// The trigger's dotted path in the manifest: `triggers.http.0`.
        trigger: String,
        /// The interface of WASI 0.2, without its version.
        interface: String,
    },
    /// A trigger runs a service as a command, too.
    #[error("`{component}` is a service, and `{trigger}` runs it as a command")]
    ServiceIsCommand {
        /// The component.
        component: Name,
        /// The trigger's dotted path in the manifest: `triggers.command.0`.
        trigger: String,
    },
    /// A setting of instances is set on a service that runs in one.
    #[error(
        "`{key}` of `{component}` has no effect: a service runs in one instance, which is not limited as a call is"
    )]
    NoEffectOnService {
        /// The component.
        component: Name,
        /// `instances` or `limits.cpu`.
        key: String,
    },
    /// A component requests more than the host's ceiling.
    #[error("`{key}` of `{component}` is {asked}, above this host's ceiling of {ceiling}")]
    AboveCeiling {
        /// The component.
        component: Name,
        /// The key below the component: `limits.memory`.
        key: String,
        /// The requested value.
        asked: String,
        /// The maximum.
        ceiling: String,
    },
    /// Components of one unit take a shared interface from different plugins, or from different parts of one.
    #[error(
        "`{component}` takes `{import}` from `{provider}`, and `{other}` in its unit takes it from `{other_provider}`"
    )]
    SharedProviders {
        /// The component.
        component: Name,
        /// The import.
        import: String,
        /// Its provider, as a link names it.
        provider: String,
        /// The other component.
        other: Name,
        /// The provider of the other component.
        other_provider: String,
    },
    /// No entry component reaches a component.
    #[error("`{component}` is unreachable: no trigger calls it, and no running component imports from it")]
    Unreached {
        /// The component.
        component: Name,
    },
    /// A setting that applies to units is set on a component that is not the entry of one.
    #[error("`{key}` of `{component}` has no effect: it applies to a unit's entry component only")]
    NoEffect {
        /// The component.
        component: Name,
        /// `limits` or `instances`.
        key: String,
        /// The entries of the units that contain the component.
        entries: Vec<Name>,
    },
}

impl Problem {
    /// Whether it keeps the workload from running.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Unreached { .. }
            | Self::NoEffect { .. }
            | Self::NoEffectOnService { .. }
            | Self::Interposed { .. } => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// The dotted path of the part of the manifest that it is about.
    pub fn place(&self) -> String {
        match self {
            Self::Invalid { place, .. } | Self::UnknownKey { place, .. } => place.clone(),
            Self::UnknownVolume { component, mount, .. } => format!("components.{component}.volumes.{mount}.volume"),
            Self::MissingImport { component, .. }
            | Self::Ambiguous { component, .. }
            | Self::AmbiguousPlugins { component, .. }
            | Self::SharedGrant { component, .. }
            | Self::SharedProviders { component, .. }
            | Self::Interposed { component, .. }
            | Self::Unreached { component } => format!("components.{component}"),
            Self::NoEffect { component, key, .. }
            | Self::NoEffectOnService { component, key }
            | Self::AboveCeiling { component, key, .. } => {
                format!("components.{component}.{key}")
            }
            Self::ServiceWithoutExport { component, .. }
            | Self::ServiceWithTrigger { component, .. }
            | Self::ServiceIsCommand { component, .. } => format!("components.{component}.service"),
            Self::Cycle { components } => components.first().map_or_else(String::new, |c| format!("components.{c}")),
            Self::TypeMismatch { link, .. }
            | Self::LinkUnknownExport { link, .. }
            | Self::LinkUnknownTarget { link, .. } => format!("links.{link}.to"),
            Self::LinkUnknownComponent { link, key, .. } => format!("links.{link}.{key}"),
            Self::LinkUnknownImport { link, .. } | Self::DuplicateLink { link, .. } => format!("links.{link}.import"),
            Self::SelfLink { link, .. } => format!("links.{link}"),
            Self::TriggerUnknownComponent { trigger, .. } | Self::TriggerWithoutExport { trigger, .. } => {
                format!("{trigger}.component")
            }
        }
    }
}
