//! Services: components that run as long as their workload, started again when they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;
use workload::{Name, Workload};

use super::command::{Exit, run_uncounted};
use crate::call::CallError;
use crate::meter::Ended;
use crate::pool::Entry;

/// How long it takes until a service that ended is started again: at first, and at most.
const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(30);
/// A service that ran so long starts over with the first.
const STEADY: Duration = Duration::from_mins(1);

/// A service of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// The component.
    pub component: Name,
    /// How often it was started again.
    pub restarts: u64,
}

/// A service that runs until this is dropped.
pub(super) struct Service {
    component: Name,
    restarts: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Service {
    /// Starts an entry as a service.
    pub(super) fn start(workload: &Workload, entry: Arc<Entry>) -> Self {
        let component = entry.name().clone();
        let restarts = Arc::new(AtomicU64::new(0));
        let declared = workload.components[&component].limits.clone();
        let (id, counted) = (workload.id(), restarts.clone());
        let task = tokio::spawn(async move {
            let component = entry.name();
            let mut pause = FIRST;
            loop {
                let begun = tokio::time::Instant::now();
                match run_uncounted(&entry, &declared).await {
                    Ok(Exit(code)) => tracing::warn!(workload = id, %component, code, "the service ended"),
                    Err(CallError::Ended { ended: Ended::Stopped, .. }) => return,
                    Err(error) => tracing::error!(workload = id, %component, %error, "the service failed"),
                }
                if begun.elapsed() >= STEADY {
                    pause = FIRST;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MOST);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { component, restarts, task }
    }

    pub(super) fn status(&self) -> ServiceStatus {
        ServiceStatus { component: self.component.clone(), restarts: self.restarts.load(Ordering::Relaxed) }
    }

    /// Ends it, and waits until it has.
    pub(super) async fn stop(&mut self) {
        self.task.abort();
        // That it was aborted is what was wanted.
        (&mut self.task).await.ok();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}
