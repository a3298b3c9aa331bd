//! The upper bounds that a host sets for workloads, and the host's configuration file that holds them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use crate::manifest::decode::{Decode, Diagnostics, Table};
use crate::manifest::tree::Node;
use crate::manifest::{self, Component, Extensions, Format, Level, Limits, ManifestProblem, Settings, Spans};
use crate::name::Name;
use crate::problem::Problem;
use crate::workload::Workload;

/// Upper bounds for what a workload may request of a host. `None` is unbounded.
///
/// ```
/// use wharf_workload::{Ceilings, manifest::ByteSize};
///
/// let mut ceilings = Ceilings::default();
/// ceilings.limits.memory = Some(ByteSize(64 << 20));
/// ceilings.instances = Some(100);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ceilings {
    /// Upper bounds for each component's `limits`. A limit that the manifest leaves unset takes the host's default, or the
    /// ceiling if that is lower.
    pub limits: Limits,
    /// Instances that a component may keep ready: the `size` of its `instances` in mode `warm`.
    pub warm: Option<u32>,
    /// Concurrent DNS look-ups of a workload; 16 if `None`. Each look-up occupies a thread, so further ones wait.
    pub lookups: Option<u32>,
    /// Concurrent instances of a workload: its share of the host's pool.
    pub instances: Option<u32>,
}

impl Ceilings {
    /// Every request of `workload` that exceeds a ceiling, as [`Problem::AboveCeiling`].
    pub fn problems(&self, workload: &Workload) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (name, component) in &workload.components {
            let (asked, most) = (&component.limits, &self.limits);
            let above = [
                ("limits.memory", above(asked.memory, most.memory)),
                ("limits.time", above(asked.time, most.time)),
                ("limits.after-response", above(asked.after_response, most.after_response)),
                ("limits.cpu", above(asked.cpu, most.cpu)),
                ("limits.concurrency", above(asked.concurrency, most.concurrency)),
                ("limits.request-body", above(asked.request_body, most.request_body)),
                ("limits.response-body", above(asked.response_body, most.response_body)),
                ("limits.headers", above(asked.headers, most.headers)),
                ("limits.connections", above(asked.connections, most.connections)),
                ("limits.files", above(asked.files, most.files)),
                ("limits.log-rate", above(asked.log_rate, most.log_rate)),
                ("instances.size", above(component.instances.as_ref().and_then(|instances| instances.size), self.warm)),
            ];
            problems.extend(above.into_iter().filter_map(|(key, above)| {
                let (asked, ceiling) = above?;
                let key = key.to_owned();
                Some(Problem::AboveCeiling { component: name.clone(), key, asked, ceiling })
            }));
        }
        problems
    }
}

/// The requested value and the ceiling, if the request exceeds it.
fn above<T: Display + PartialOrd>(asked: Option<T>, ceiling: Option<T>) -> Option<(String, String)> {
    let (asked, ceiling) = asked.zip(ceiling)?;
    (asked > ceiling).then(|| (asked.to_string(), ceiling.to_string()))
}

impl Decode for Ceilings {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let mut table = Table::open(node, path, diagnostics)?;
        let ceilings = Self {
            limits: Limits::of(&mut table, diagnostics),
            warm: table.get("warm", diagnostics),
            lookups: table.get("lookups", diagnostics),
            instances: table.get("instances", diagnostics),
        };
        table.finish(diagnostics);
        Some(ceilings)
    }
}

/// The host's configuration file (`wharf --host-config`).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct HostConfig {
    /// Upper bounds for workloads.
    pub ceilings: Ceilings,
    /// The host's policy for stores, which the plugins for stores decode.
    pub stores: Option<Settings>,
    /// The secrets of the host's own stores.
    pub secrets: Option<Settings>,
    /// The components that the host provides to every workload, with their stores, volumes and links. The place of one is
    /// `components.<name>`, whose position is that of `provided.<name>`.
    pub provided: Option<Workload>,
    /// The position of each key in the text.
    pub spans: Spans,
}

impl HostConfig {
    /// Parses the file's text, for a host with these extensions.
    ///
    /// # Errors
    /// Every problem of the text, with its position.
    pub fn parse(text: &str, format: Format, extensions: &Extensions) -> Result<Self, Vec<ManifestProblem>> {
        let (tree, problems) = manifest::read(text, format);
        let mut diagnostics = Diagnostics::new(problems, Some(extensions.clone()));
        let config = tree.and_then(|tree| {
            let mut table = Table::open(&tree, "", &mut diagnostics)?;
            let ceilings = table.get("ceilings", &mut diagnostics).unwrap_or_default();
            let stores = table.get("stores", &mut diagnostics);
            let secrets: Option<Settings> = table.get("secrets", &mut diagnostics);
            let provided = provided(table, secrets.as_ref(), &mut diagnostics);
            Some(Self { ceilings, stores, secrets, provided, spans: Spans::default() })
        });
        let (problems, _) = diagnostics.problems.into_parts();
        let mut spans = diagnostics.spans;
        spans.also("provided", "components");
        let config = config.map(|config| Self { spans, ..config });
        config.filter(|_| problems.is_empty()).ok_or(problems)
    }

    /// Resolves the relative paths of provided components and of secrets against `folder`.
    #[must_use]
    pub fn under(mut self, folder: &Path, extensions: &Extensions) -> Self {
        self.provided = self.provided.map(|provided| provided.under_with(folder, extensions));
        if let Some(secrets) = &mut self.secrets {
            secrets.under("*.file", folder);
        }
        self
    }
}

/// The provided components as a workload, with whatever else the file has for them.
fn provided(mut table: Table<'_>, secrets: Option<&Settings>, diagnostics: &mut Diagnostics) -> Option<Workload> {
    let components: BTreeMap<Name, Component> = table.get("provided", diagnostics).unwrap_or_default();
    if components.is_empty() {
        // Stores and volumes have no user without one.
        table.finish(diagnostics);
        return None;
    }
    let mut workload = Workload::new(Name::nearest("provided"));
    workload.components = components;
    workload.volumes = table.get("volumes", diagnostics).unwrap_or_default();
    workload.links = table.get("links", diagnostics).unwrap_or_default();
    workload.settings = table.finish_with_settings(Level::Workload, diagnostics);
    workload.settings.extend(secrets.map(|secrets| ("secrets".to_owned(), secrets.clone())));
    Some(workload)
}
