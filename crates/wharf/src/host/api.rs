//! The host API in process: [`HostApi`] for [`Host`].

use async_trait::async_trait;
use wharf_api::{ApiError, ErrorCode, Heartbeat, HostApi, WorkloadStatus};
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

    async fn call(&self, id: &str, component: &str, wave_text: &str) -> Result<Vec<String>, ApiError> {
        Ok(self.call_wave(id, component, wave_text).await?)
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
            HostCallError::NotAnEntry { .. } | HostCallError::Call(CallError::NoFunction { .. }) => ErrorCode::NotFound,
            HostCallError::Call(CallError::Rejected { .. }) => ErrorCode::Busy,
            HostCallError::Call(_) => ErrorCode::CallFailed,
        };
        // The messages of this crate include those of their sources.
        Self::new(code, error.to_string())
    }
}
