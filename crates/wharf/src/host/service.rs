//! Services: components that run as long as their workload, and are restarted when they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use wharf_api::ServiceStatus;
use workload::{Name, Workload};

use crate::run::call::CallError;
use crate::run::command::{Exit, run_unadmitted};
use crate::run::entry::Entry;
use crate::run::termination::Termination;

/// The delay before a service is restarted: the first, and the longest. It doubles each time.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(30);
/// After a run of this length the delay starts over.
const STEADY: Duration = Duration::from_mins(1);

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
            let mut delay = FIRST_DELAY;
            loop {
                let started = tokio::time::Instant::now();
                match run_unadmitted(&entry, &declared).await {
                    Ok(Exit(code)) => tracing::warn!(workload = id, %component, code, "service ended"),
                    Err(CallError::Terminated { cause: Termination::Stopped, .. }) => return,
                    Err(error) => tracing::error!(workload = id, %component, %error, "service failed"),
                }
                if started.elapsed() >= STEADY {
                    delay = FIRST_DELAY;
                }
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(MAX_DELAY);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { component, restarts, task }
    }

    pub(super) fn status(&self) -> ServiceStatus {
        ServiceStatus { component: self.component.clone(), restarts: self.restarts.load(Ordering::Relaxed) }
    }

    /// Ends the service, and waits until it has ended.
    pub(super) async fn stop(&mut self) {
        self.task.abort();
        // The error says that the task was aborted.
        (&mut self.task).await.ok();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}
