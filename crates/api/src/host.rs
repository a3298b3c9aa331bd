//! What a host does, in process and over the wire alike.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::ApiError;
use crate::types::{CallRequest, CallResponse, Heartbeat, LogPage, WorkloadPage, WorkloadStatus};
use crate::workload::Workload;

/// A host of workloads.
///
/// `wharf`'s `Host` implements it in process, and `Client` (feature `client`) for a remote host, with the same results and
/// errors; [`ErrorCode::Transport`](crate::ErrorCode::Transport) is the only code that a remote host adds. A program that
/// takes `&dyn HostApi` works with both:
///
/// ```
/// use wharf_api::{ApiError, ErrorCode, HostApi, Workload, WorkloadStatus};
///
/// /// Starts a workload, or replaces the version that runs.
/// async fn apply(host: &dyn HostApi, workload: Workload) -> Result<WorkloadStatus, ApiError> {
///     match host.workload_start(workload.clone()).await {
///         Err(error) if error.code == ErrorCode::AlreadyRunning => host.workload_update(workload).await,
///         started => started,
///     }
/// }
/// ```
///
/// An id is `namespace/name`, as [`Workload::id`] gives it.
#[async_trait]
pub trait HostApi: Send + Sync {
    /// Reports that the host is alive, and which workloads it has.
    ///
    /// # Errors
    /// None in process; `Transport` from a remote host.
    async fn heartbeat(&self) -> Result<Heartbeat, ApiError>;

    /// Starts a workload; it serves when this returns.
    ///
    /// # Errors
    /// `AlreadyRunning` when the id is taken; `Invalid` with every problem as a diagnostic; `Failed` when the host cannot
    /// start it; `Refused` by a trigger or a plugin; `ShuttingDown`.
    async fn workload_start(&self, workload: Workload) -> Result<WorkloadStatus, ApiError>;

    /// Replaces a running workload by a new version: new calls go to the new version, and the host waits for those that
    /// run in the old one, up to its drain time. No call is refused on the way. When the new version cannot start, the
    /// old one stays.
    ///
    /// # Errors
    /// `NotRunning` when there is nothing to replace; otherwise as [`workload_start`](Self::workload_start).
    async fn workload_update(&self, workload: Workload) -> Result<WorkloadStatus, ApiError>;

    /// Stops a workload: it takes no new calls, the host waits for those that run, up to its drain time, ends the rest,
    /// and then stops the services.
    ///
    /// # Errors
    /// `NotFound` when there is no workload of this id.
    async fn workload_stop(&self, id: &str) -> Result<WorkloadStatus, ApiError>;

    /// Reports on a workload.
    ///
    /// # Errors
    /// `NotFound` when there is no workload of this id.
    async fn workload_status(&self, id: &str) -> Result<WorkloadStatus, ApiError>;

    /// Lists workloads in the order of their ids, at most `limit` (100 by default, 1,000 at most) of those after an id.
    ///
    /// # Errors
    /// None in process; `Transport` from a remote host.
    async fn workload_list(&self, after: Option<&str>, limit: Option<u32>) -> Result<WorkloadPage, ApiError>;

    /// What a workload logged from line number `from` on: 0 is the first, and [`LogPage::next`] what follows the last page. When there is
    /// nothing yet, it waits for up to `wait` (30 seconds at most) for a line to come.
    ///
    /// # Errors
    /// `NotFound` when there is no workload of this id, or it stops while the call waits.
    async fn workload_logs(&self, id: &str, from: u64, wait: Duration) -> Result<LogPage, ApiError>;

    /// Calls an exported function of an entry component, written in WAVE or JSON such as `greet("you")`.
    ///
    /// # Errors
    /// `NotFound` when there is no such workload, entry or function; `Busy` when the call is not admitted; `CallFailed`
    /// when the arguments do not fit, the function traps or a limit is reached.
    async fn call(&self, id: &str, request: CallRequest) -> Result<CallResponse, ApiError>;
}
