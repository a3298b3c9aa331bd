//! The host API in process: [`HostApi`] for [`Host`].

use std::time::Duration;

use async_trait::async_trait;
use wharf_api::{
    ApiError, CallRequest, CallResponse, ErrorCode, Heartbeat, HostApi, LogPage, WorkloadPage, WorkloadStatus,
};
use workload::Workload;

use super::{Host, HostCallError, NoWorkload};
use crate::run::call::CallError;

#[async_trait]
impl HostApi for Host {
    async fn heartbeat(&self) -> Result<Heartbeat, ApiError> {
        Ok(Self::heartbeat(self).await)
    }

    async fn workload_start(&self, workload: Workload) -> Result<WorkloadStatus, ApiError> {
        Ok(Self::workload_start(self, workload).await?)
    }

    async fn workload_update(&self, workload: Workload) -> Result<WorkloadStatus, ApiError> {
        Ok(Self::workload_update(self, workload).await?)
    }

    async fn workload_stop(&self, id: &str) -> Result<WorkloadStatus, ApiError> {
        Ok(Self::workload_stop(self, id).await?)
    }

    async fn workload_status(&self, id: &str) -> Result<WorkloadStatus, ApiError> {
        Ok(Self::workload_status(self, id).await?)
    }

    async fn workload_list(&self, after: Option<&str>, limit: Option<u32>) -> Result<WorkloadPage, ApiError> {
        Ok(Self::workload_list(self, after, limit))
    }

    async fn workload_logs(&self, id: &str, from: u64, wait: Duration) -> Result<LogPage, ApiError> {
        Ok(Self::workload_logs(self, id, from, wait).await?)
    }

    async fn call(&self, id: &str, request: CallRequest) -> Result<CallResponse, ApiError> {
        Ok(CallResponse { results: self.call_text(id, &request).await? })
    }
}

impl From<NoWorkload> for ApiError {
    fn from(error: NoWorkload) -> Self {
        Self::no_workload(&error.id)
    }
}

impl From<HostCallError> for ApiError {
    fn from(error: HostCallError) -> Self {
        let code = match &error {
            HostCallError::NoWorkload(NoWorkload { id }) => return Self::no_workload(id),
            HostCallError::WhichEntry { .. } => ErrorCode::Invalid,
            HostCallError::NotAnEntry { .. } | HostCallError::Call(CallError::NoFunction { .. }) => ErrorCode::NotFound,
            HostCallError::Call(CallError::Rejected { .. }) => ErrorCode::Busy,
            HostCallError::Call(_) => ErrorCode::CallFailed,
        };
        // The messages of this crate include those of their sources.
        Self::new(code, error.to_string())
    }
}
