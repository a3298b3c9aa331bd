//! Plan: the provider of each import of a workload, without running it.

use std::sync::Arc;

use tracing::Instrument as _;
use workload::{Problem, Resolution, Workload};

use super::Inner;
use crate::prepare::load::{LoadError, Loaded, load};

/// The provider of each import of a workload, and every problem that keeps it from running.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The components' code and types.
    pub loaded: Loaded,
    /// The provider of each import.
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
    pub(super) async fn plan(self: &Arc<Self>, workload: &Workload) -> Plan {
        let span = tracing::debug_span!("load", workload = workload.id());
        let (loaded, unloaded) = load(workload, &*self.sources).instrument(span).await;
        let (host, workload) = (self.clone(), workload.clone());
        // Type checks of a large workload would block an async thread.
        let resolving = tokio::task::spawn_blocking(move || {
            let _span = tracing::debug_span!("resolve", workload = workload.id()).entered();
            let mut problems = workload::validate(&workload, &host.extensions);
            let (resolution, unresolved) =
                workload::resolve(&workload, &loaded.types, &host.interfaces, &host.extensions);
            problems.extend(unresolved);
            problems.extend(host.ceilings.problems(&workload));
            Plan { loaded, resolution, unloaded, problems }
        });
        match resolving.await {
            Ok(plan) => plan,
            // A blocking task that has started is never cancelled.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
