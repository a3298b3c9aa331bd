//! Plan: who satisfies what in a workload, without running it.

use tracing::Instrument as _;
use workload::{Problem, Resolution, Workload};

use super::Inner;
use crate::prepare::load::{LoadError, Loaded, load};

/// Who satisfies what in a workload, and every problem that keeps it from running.
#[derive(Debug)]
pub struct Plan {
    /// The components' code and types.
    pub loaded: Loaded,
    /// Who satisfies which import.
    pub resolution: Resolution,
    /// The components that could not be loaded.
    pub unloaded: Vec<LoadError>,
    /// All other problems, warnings among them.
    pub problems: Vec<Problem>,
}

impl Plan {
    /// Whether the workload can run.
    pub fn is_runnable(&self) -> bool {
        self.unloaded.is_empty() && workload::resolve::runs(&self.problems)
    }
}

impl Inner {
    /// Validates, loads and resolves a workload.
    pub(super) async fn plan(&self, workload: &Workload) -> Plan {
        let span = tracing::debug_span!("load", workload = workload.id());
        let (loaded, unloaded) = load(workload, &*self.sources).instrument(span).await;
        let _span = tracing::debug_span!("resolve", workload = workload.id()).entered();
        let mut problems = workload::validate(workload, &self.extensions);
        let (resolution, unresolved) = workload::resolve(workload, &loaded.types, &self.interfaces, &self.extensions);
        problems.extend(unresolved);
        problems.extend(self.ceilings.problems(workload));
        Plan { loaded, resolution, unloaded, problems }
    }
}
