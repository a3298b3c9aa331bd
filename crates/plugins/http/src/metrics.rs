//! Requests and their durations, for each component and status.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use wharf::usage::Histogram;

/// The durations of a component's requests, by the status of their responses.
#[derive(Debug, Default)]
pub(crate) struct Requests(RwLock<Vec<(u16, Arc<Histogram>)>>);

impl Requests {
    /// Records a request.
    pub(crate) fn record(&self, status: u16, duration: Duration) {
        let is_known = |(known, _): &&(u16, Arc<Histogram>)| *known == status;
        if let Some((_, durations)) = self.0.read().unwrap_or_else(PoisonError::into_inner).iter().find(is_known) {
            return durations.record(duration);
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another request may have been the first of its status in the meantime.
        if !all.iter().any(|known| is_known(&known)) {
            all.push((status, Arc::default()));
        }
        if let Some((_, durations)) = all.iter().find(is_known) {
            durations.record(duration);
        }
    }

    fn all(&self) -> Vec<(u16, Arc<Histogram>)> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The requests of a component with one status, to the head of their responses.
#[derive(Clone, Debug)]
pub struct RequestMetrics {
    /// `namespace/name`.
    pub workload: String,
    /// The component.
    pub component: String,
    /// The status of the responses.
    pub status: u16,
    /// Their durations.
    pub durations: Arc<Histogram>,
}

impl RequestMetrics {
    pub(crate) fn of(workload: &str, component: &str, requests: &Requests) -> Vec<Self> {
        let one = |(status, durations)| Self {
            workload: workload.to_owned(),
            component: component.to_owned(),
            status,
            durations,
        };
        requests.all().into_iter().map(one).collect()
    }
}
