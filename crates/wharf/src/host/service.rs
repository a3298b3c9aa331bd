//! Services: components that run as long as their workload, and are restarted as their manifest says.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use wharf_api::{ServiceState, ServiceStatus};
use workload::manifest::{Component, Restart};
use workload::{Name, Workload};

use super::running::TERMINATION;
use crate::run::call::CallError;
use crate::run::command::Exit;
use crate::run::entry::Entry;
use crate::run::termination::Termination;
use crate::wasi::Grants;

/// The delay before a service is restarted: the first, and the longest. It doubles each time.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(30);
/// After a run of this length the delay and the count of restarts in a row start over.
const STEADY: Duration = Duration::from_mins(1);

/// A service that runs until this is dropped.
pub(super) struct Service {
    entry: Arc<Entry>,
    progress: Arc<Progress>,
    /// The service's instance, which may be on another thread when the task ends.
    instances: TaskTracker,
    task: JoinHandle<()>,
}

/// The state of a service.
#[derive(Default)]
struct Progress {
    restarts: AtomicU64,
    /// One of [`STATES`], by its index.
    state: AtomicU8,
}

const STATES: [ServiceState; 4] =
    [ServiceState::Running, ServiceState::Restarting, ServiceState::Ended, ServiceState::Failed];

impl Progress {
    fn set(&self, state: ServiceState) {
        let index = STATES.iter().position(|known| *known == state).unwrap_or_default();
        self.state.store(u8::try_from(index).unwrap_or_default(), Ordering::Relaxed);
    }

    fn state(&self) -> ServiceState {
        STATES[usize::from(self.state.load(Ordering::Relaxed))]
    }
}

impl Service {
    /// Starts an entry as a service.
    pub(super) fn start(workload: &Workload, entry: Arc<Entry>) -> Self {
        let progress = Arc::<Progress>::default();
        let declared = workload.components[entry.name()].clone();
        // Before the task runs, so that the first call already waits for the service.
        let starting = Grants::of(entry.context()).register_service();
        starting.starts_after(Duration::ZERO);
        let (id, reported, supervised) = (workload.id(), progress.clone(), entry.clone());
        let instances = TaskTracker::new();
        let tracked = instances.clone();
        let task = tokio::spawn(async move {
            let on_restart = |delay| starting.starts_after(delay);
            supervise(&id, &supervised, &declared, &reported, &tracked, on_restart).await;
            supervised.service_ended();
        });
        Self { entry, progress, instances, task }
    }

    pub(super) fn component(&self) -> &Name {
        self.entry.name()
    }

    pub(super) fn state(&self) -> ServiceState {
        self.progress.state()
    }

    /// Whether it has ended, and is not restarted.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state(), ServiceState::Ended | ServiceState::Failed)
    }

    pub(super) fn status(&self) -> ServiceStatus {
        let restarts = self.progress.restarts.load(Ordering::Relaxed);
        ServiceStatus { component: self.component().clone(), restarts, state: self.state() }
    }

    /// Ends the service, and waits until its instance is gone. One that blocks in a host function is not waited for.
    pub(super) async fn stop(&mut self) {
        self.task.abort();
        self.entry.service_stopped();
        let gone = async {
            // The error says that the task was aborted.
            (&mut self.task).await.ok();
            self.instances.close();
            self.instances.wait().await;
        };
        tokio::time::timeout(TERMINATION, gone).await.ok();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs a service, and restarts it as its manifest says.
async fn supervise(
    workload: &str,
    entry: &Arc<Entry>,
    declared: &Component,
    progress: &Progress,
    instances: &TaskTracker,
    on_restart: impl Fn(Duration),
) {
    let (component, policy) = (entry.name(), declared.service.unwrap_or_default());
    let keeps_serving = policy.restart != Restart::Always;
    let (mut delay, mut in_a_row) = (FIRST_DELAY, 0);
    loop {
        let started = tokio::time::Instant::now();
        // A host function that panics must not end the supervision with it.
        let ran =
            AssertUnwindSafe(entry.run_service(&declared.limits, keeps_serving, instances.token())).catch_unwind();
        let failed = match ran.await {
            Err(_) => {
                tracing::error!(workload, %component, "service failed: a host function panicked");
                true
            }
            Ok(Ok(Exit(0))) => {
                tracing::info!(workload, %component, "service ended");
                false
            }
            Ok(Ok(Exit(code))) => {
                tracing::warn!(workload, %component, code, "service ended");
                true
            }
            Ok(Err(CallError::Terminated { cause: Termination::Stopped, .. })) => return,
            Ok(Err(error)) => {
                tracing::error!(workload, %component, %error, "service failed");
                true
            }
        };
        let restarts = match policy.restart {
            Restart::Always => true,
            Restart::OnFailure => failed,
            Restart::Never => false,
        };
        if !restarts {
            progress.set(if failed { ServiceState::Failed } else { ServiceState::Ended });
            return;
        }
        if started.elapsed() >= STEADY {
            (delay, in_a_row) = (FIRST_DELAY, 0);
        }
        if policy.max_restarts.is_some_and(|most| in_a_row >= most) {
            tracing::error!(workload, %component, restarts = in_a_row, "service is not restarted again: it reached `max-restarts`");
            progress.set(ServiceState::Failed);
            return;
        }
        progress.set(ServiceState::Restarting);
        on_restart(delay);
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(MAX_DELAY);
        in_a_row += 1;
        progress.restarts.fetch_add(1, Ordering::Relaxed);
        progress.set(ServiceState::Running);
    }
}
