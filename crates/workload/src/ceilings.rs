//! What a host lets manifests ask for at most, and the file that says so.

use std::fmt::Display;

use crate::manifest::decode::{Decode, Gathered, Table};
use crate::manifest::tree::Node;
use crate::manifest::{self, Format, Limits, ManifestProblem};
use crate::problem::Problem;
use crate::workload::Workload;

/// The most that the manifest of a workload may ask a host for; what is `None` has no ceiling.
///
/// ```
/// use wharf_workload::{Ceilings, manifest::Bytes};
///
/// let mut ceilings = Ceilings::default();
/// ceilings.limits.memory = Some(Bytes(64 << 20));
/// ceilings.instances = Some(100);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ceilings {
    /// The most that each of a component's `limits` may be. A limit that the manifest does not set is the host's default, or
    /// the ceiling if that is less.
    pub limits: Limits,
    /// How many instances of a component may be kept ready: `size` of its `instances`, in mode `warm`.
    pub warm: Option<u32>,
    /// How many names a workload may look up at once, 16 unless this says otherwise. Others wait: each that is looked up
    /// takes a thread.
    pub lookups: Option<u32>,
    /// How many instances a workload may have at once: its share of the host's pool.
    pub instances: Option<u32>,
}

impl Ceilings {
    /// What a workload asks for beyond these, all of it.
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
                ("instances.size", above(component.instances.size, self.warm)),
            ];
            problems.extend(above.into_iter().filter_map(|(key, above)| {
                let (asked, ceiling) = above?;
                Some(Problem::AboveCeiling { component: name.clone(), key, asked, ceiling })
            }));
        }
        problems
    }
}

/// What is asked for and the ceiling, if it is more.
fn above<T: Display + PartialOrd>(asked: Option<T>, ceiling: Option<T>) -> Option<(String, String)> {
    let (asked, ceiling) = asked.zip(ceiling)?;
    (asked > ceiling).then(|| (asked.to_string(), ceiling.to_string()))
}

impl Decode for Ceilings {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let mut table = Table::open(node, path, to)?;
        let ceilings = Self {
            limits: Limits::of(&mut table, to),
            warm: table.get("warm", to),
            lookups: table.get("lookups", to),
            instances: table.get("instances", to),
        };
        table.finish(to);
        Some(ceilings)
    }
}

/// The settings of a host, as the file of `wharf --host-config` has them: one table, `ceilings`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostConfig {
    /// What manifests may ask for at most.
    pub ceilings: Ceilings,
}

impl HostConfig {
    /// Parses the file.
    ///
    /// # Errors
    /// What is wrong with it, each with its place.
    pub fn parse(text: &str, format: Format) -> Result<Self, Vec<ManifestProblem>> {
        let (tree, problems) = manifest::read(text, format);
        let mut to = Gathered { problems, ..Gathered::default() };
        let config = tree.and_then(|tree| {
            let mut table = Table::open(&tree, "", &mut to)?;
            let ceilings = table.get("ceilings", &mut to).unwrap_or_default();
            table.finish(&mut to);
            Some(Self { ceilings })
        });
        let (problems, _) = to.problems.into_parts();
        config.filter(|_| problems.is_empty()).ok_or(problems)
    }
}
