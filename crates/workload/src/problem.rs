//! A refusal: where, what was looked at, the nearest miss, and what to do.

use std::fmt;

use serde::Serialize;

use crate::name::Name;

/// Whether a problem keeps a workload from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It runs, but not as was probably meant.
    Warning,
    /// It does not run.
    Error,
}

/// What can be wrong when a workload is resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Problem {
    /// Nothing satisfies an import.
    #[error("nothing satisfies `{import}`, which `{component}` imports")]
    MissingImport {
        /// The component that imports.
        component: Name,
        /// The import.
        import: String,
        /// What was looked at, in order.
        looked_at: Vec<String>,
        /// What came nearest.
        nearest: Option<NearMiss>,
    },
    /// Two siblings or more satisfy an import.
    #[error("`{import}`, which `{component}` imports, is exported by {}", names(candidates))]
    Ambiguous {
        /// The component that imports.
        component: Name,
        /// The import.
        import: String,
        /// The siblings that fit.
        candidates: Vec<Name>,
    },
    /// A link's export has a type that does not fit.
    #[error("`{to}` cannot satisfy `{import}`, which `{component}` imports: {difference}")]
    TypeMismatch {
        /// The component that imports.
        component: Name,
        /// The import.
        import: String,
        /// The component that exports.
        to: Name,
        /// Where the types differ: which function, which parameter.
        difference: String,
        /// The link that says so, by its place in `links`.
        link: usize,
    },
    /// Components import from each other in a circle.
    #[error("these components import from each other in a circle: {}", circle(components))]
    Cycle {
        /// The circle, each importing from the next, and the last from the first.
        components: Vec<Name>,
    },
    /// A link names a component that is not there.
    #[error("link {} names `{name}` as its `{key}`, and there is no such component", link + 1)]
    LinkUnknownComponent {
        /// The link, by its place in `links`.
        link: usize,
        /// `from` or `to`.
        key: &'static str,
        /// The name.
        name: Name,
        /// A component of a like name.
        nearest: Option<Name>,
    },
    /// A link's component has no such import.
    #[error("link {} is about `{import}`, which `{from}` does not import", link + 1)]
    LinkUnknownImport {
        /// The link, by its place in `links`.
        link: usize,
        /// The component.
        from: Name,
        /// The import that it does not have.
        import: String,
        /// What it imports.
        imports: Vec<String>,
    },
    /// A link's target exports nothing that could satisfy the import.
    #[error("link {} wants `{import}` from `{to}`, which does not export it", link + 1)]
    LinkUnknownExport {
        /// The link, by its place in `links`.
        link: usize,
        /// The import.
        import: String,
        /// The target.
        to: Name,
        /// What it exports.
        exports: Vec<String>,
    },
    /// A link from a component to itself.
    #[error("link {} links `{component}` to itself", link + 1)]
    LinkToItself {
        /// The link, by its place in `links`.
        link: usize,
        /// The component.
        component: Name,
    },
    /// Two links for one import.
    #[error("links {} and {} are both about `{import}` of `{from}`", first + 1, link + 1)]
    LinkTwice {
        /// The second link, by its place in `links`.
        link: usize,
        /// The first one.
        first: usize,
        /// The component.
        from: Name,
        /// The import.
        import: String,
    },
    /// A component stands between others and what the host would grant them, and no link says that it should.
    #[error("`{component}` satisfies `{import}` in place of the host for {}", names(importers))]
    Interposed {
        /// The component that exports the interface.
        component: Name,
        /// The interface.
        import: String,
        /// The components that import it.
        importers: Vec<Name>,
    },
    /// A trigger names a component that is not there.
    #[error("a trigger calls `{name}`, and there is no such component")]
    TriggerUnknownComponent {
        /// The trigger's place in the manifest: `triggers.http.0`.
        trigger: String,
        /// The name.
        name: Name,
        /// A component of a like name.
        nearest: Option<Name>,
    },
    /// A trigger's component does not export what the trigger calls.
    #[error("a trigger calls `{component}`, which does not export {wanted}")]
    TriggerWithoutExport {
        /// The trigger's place in the manifest: `triggers.http.0`.
        trigger: String,
        /// The component.
        component: Name,
        /// What the trigger calls.
        wanted: &'static str,
        /// What the component exports.
        exports: Vec<String>,
    },
    /// Siblings would pass each other a handle that belongs to one of them.
    #[error(
        "`{component}` and `{to}` would pass each other handles of `{resource}` through `{import}`, \
         but what it opens belongs to the component that opened it"
    )]
    SharedGrant {
        /// The component that imports.
        component: Name,
        /// The import.
        import: String,
        /// The component that exports.
        to: Name,
        /// The interface of the handles.
        resource: String,
    },
    /// A service that cannot run.
    #[error("`{component}` is a service, and exports no {wanted}")]
    ServiceWithoutExport {
        /// The component.
        component: Name,
        /// What a service exports.
        wanted: &'static str,
        /// What it exports.
        exports: Vec<String>,
    },
    /// A component asks for more than the host lets it.
    #[error("`{component}` asks for `{key}` of {asked}, and the most on this host is {ceiling}")]
    AboveCeiling {
        /// The component.
        component: Name,
        /// What it asks for, by its place in the component: `limits.memory`.
        key: &'static str,
        /// How much.
        asked: String,
        /// The most.
        ceiling: String,
    },
    /// No entry reaches a component.
    #[error("nothing reaches `{component}`: no trigger calls it and no component that runs imports from it")]
    Unreached {
        /// The component.
        component: Name,
    },
    /// A setting that only counts on an entry component.
    #[error(
        "`{key}` of `{component}` has no effect: it counts for a whole unit, on the component that a trigger calls"
    )]
    NoEffect {
        /// The component.
        component: Name,
        /// `limits` or `instances`.
        key: &'static str,
        /// The entries of the units that it is in.
        entries: Vec<Name>,
    },
}

/// What came nearest to satisfying an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "miss", rename_all = "kebab-case")]
pub enum NearMiss {
    /// The same interface in a version that does not serve.
    Version {
        /// Who has it.
        who: String,
        /// What it has.
        has: String,
    },
    /// The same interface, but its type differs.
    Type {
        /// Who has it.
        who: String,
        /// What it has.
        has: String,
        /// Where the types differ.
        difference: String,
    },
    /// An interface of a like name.
    Name {
        /// Who has it.
        who: String,
        /// What it has.
        has: String,
    },
    /// The component itself exports it, and a component is never linked to itself.
    Itself,
    /// The name looks like another component's own import of an interface, which nobody else can have.
    Scoped {
        /// The component whose import it would be.
        owner: Name,
    },
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { who, has } => write!(f, "{who} has `{has}`, a version that does not serve this one"),
            Self::Type { who, has, difference } => write!(f, "{who} has `{has}`, but its type differs: {difference}"),
            Self::Name { who, has } => write!(f, "{who} has `{has}`, which is a like name"),
            Self::Itself => f.write_str("the component exports it itself, and is never linked to itself"),
            Self::Scoped { owner } => {
                write!(f, "this is the form of what `{owner}` alone is granted, and no other component can have it")
            }
        }
    }
}

impl Problem {
    /// Whether it keeps the workload from running.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Unreached { .. } | Self::NoEffect { .. } | Self::Interposed { .. } => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// The part of the manifest that it is about, as a dotted path.
    pub fn place(&self) -> String {
        match self {
            Self::MissingImport { component, .. }
            | Self::Ambiguous { component, .. }
            | Self::SharedGrant { component, .. }
            | Self::Interposed { component, .. }
            | Self::Unreached { component } => format!("components.{component}"),
            Self::NoEffect { component, key, .. } | Self::AboveCeiling { component, key, .. } => {
                format!("components.{component}.{key}")
            }
            Self::ServiceWithoutExport { component, .. } => format!("components.{component}.service"),
            Self::Cycle { components } => components.first().map_or_else(String::new, |c| format!("components.{c}")),
            Self::TypeMismatch { link, .. } | Self::LinkUnknownExport { link, .. } => format!("links.{link}.to"),
            Self::LinkUnknownComponent { link, key, .. } => format!("links.{link}.{key}"),
            Self::LinkUnknownImport { link, .. } | Self::LinkTwice { link, .. } => format!("links.{link}.import"),
            Self::LinkToItself { link, .. } => format!("links.{link}"),
            Self::TriggerUnknownComponent { trigger, .. } | Self::TriggerWithoutExport { trigger, .. } => {
                format!("{trigger}.component")
            }
        }
    }

    /// What else there is to know: what was looked at, what came nearest.
    pub fn notes(&self) -> Vec<String> {
        match self {
            Self::MissingImport { looked_at, nearest, .. } => {
                let near = nearest.iter().map(|n| format!("nearest: {n}"));
                near.chain([format!("looked at: {}", looked_at.join("; "))]).collect()
            }
            Self::LinkUnknownImport { from, imports, .. } => vec![has(from, "imports", imports)],
            Self::LinkUnknownExport { to, exports, .. } => vec![has(to, "exports", exports)],
            Self::TriggerWithoutExport { component, exports, .. }
            | Self::ServiceWithoutExport { component, exports, .. } => vec![has(component, "exports", exports)],
            _ => Vec::new(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::MissingImport { import, nearest, .. } => match nearest {
                Some(NearMiss::Version { .. }) => "build both sides against one version of the interface".into(),
                Some(NearMiss::Type { .. }) => "build both sides against one definition of the interface".into(),
                Some(NearMiss::Name { .. }) => "is this the interface that was meant?".into(),
                Some(NearMiss::Scoped { .. }) => "grant the component what it needs under its own name".into(),
                _ => {
                    format!("add a component that exports `{import}`, or run on a host with a plugin that provides it")
                }
            },
            Self::Ambiguous { component, import, candidates } => {
                let to = candidates.first().map_or("", Name::as_str);
                format!("say which: [[links]] from = \"{component}\", import = \"{import}\", to = \"{to}\"")
            }
            Self::TypeMismatch { .. } => "build both sides against one definition of the interface".into(),
            Self::Cycle { .. } => "move what both sides need into a component of its own".into(),
            Self::LinkUnknownComponent { nearest, .. } | Self::TriggerUnknownComponent { nearest, .. } => {
                nearest.as_ref().map_or_else(
                    || "add the component, or name one that is there".into(),
                    |n| format!("did you mean `{n}`?"),
                )
            }
            Self::LinkUnknownImport { .. } => "name one of its imports, with or without the version".into(),
            Self::LinkUnknownExport { .. } => "link to a component that exports it".into(),
            Self::LinkToItself { .. } => "link it to another component, or take the link away".into(),
            Self::LinkTwice { .. } => "keep one of them".into(),
            Self::TriggerWithoutExport { exports, .. }
                if exports.iter().any(|name| name.starts_with("wasi:cli/run")) =>
            {
                "it is a command: run it with `wharf run`, as `[[triggers.command]]` or as a `service`".into()
            }
            Self::TriggerWithoutExport { wanted, .. } => {
                format!("point the trigger at a component that exports {wanted}")
            }
            Self::ServiceWithoutExport { wanted, .. } => {
                format!("take `service` away, or build the component as a command, which exports {wanted}")
            }
            Self::SharedGrant { resource, .. } => {
                format!("let one component keep what it opened through `{resource}` and offer functions over it")
            }
            Self::Interposed { component, import, importers } => {
                let from = importers.first().map_or("", Name::as_str);
                format!(
                    "what they ask for passes through `{component}`; if that is meant, say so for each: [[links]] from = \
                     \"{from}\", import = \"{import}\", to = \"{component}\""
                )
            }
            Self::Unreached { component } => format!("take `{component}` away, or link something to it"),
            Self::AboveCeiling { ceiling, .. } => {
                format!("ask for {ceiling} or less, or ask the host's operator to raise the ceiling")
            }
            Self::NoEffect { key, entries, .. } => format!("set `{key}` on {}", names(entries)),
        }
    }
}

fn names(names: &[Name]) -> String {
    let names: Vec<_> = names.iter().map(Name::as_str).collect();
    crate::manifest::decode::list(&names)
}

fn circle(components: &[Name]) -> String {
    let around = components.iter().chain(components.first());
    around.map(|c| format!("`{c}`")).collect::<Vec<_>>().join(" → ")
}

fn has(component: &Name, verb: &str, what: &[String]) -> String {
    if what.is_empty() {
        return format!("`{component}` {verb} nothing");
    }
    format!("`{component}` {verb} {}", what.join(", "))
}
