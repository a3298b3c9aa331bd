//! A running workload: its entries, its calls, its services, and their end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_api::{PluginHealth, ServiceState, ServiceStatus, State, WorkloadStatus};
use workload::manifest::HostRule;
use workload::{Name, Problem, Workload};

use super::millis;
use super::provided::lifecycle::Uses;
use super::service::Service;
use crate::limits::Limit;
use crate::plugin::Health;
use crate::prepare::grant::{Grants, Opened};
use crate::run::entry::Entry;
use crate::run::tracker::CallTracker;

/// How long calls may take to end after they were terminated.
pub(super) const TERMINATION: Duration = Duration::from_secs(5);

/// A workload that runs.
pub struct Running {
    workload: Workload,
    entries: BTreeMap<Name, Arc<Entry>>,
    calls: Arc<CallTracker>,
    provided: Uses,
    started: Instant,
    warnings: Vec<Problem>,
    /// Stopped after the calls, which may still use them.
    services: tokio::sync::Mutex<Vec<Service>>,
    /// Released last.
    grants: tokio::sync::Mutex<Grants>,
    /// The plugins that are open, whose health the status reports.
    opened: Vec<Arc<Opened>>,
    /// Held while the workload is replaced or stopped.
    pub(super) changing: tokio::sync::Mutex<()>,
}

impl Running {
    pub(super) fn new(
        workload: Workload,
        entries: BTreeMap<Name, Arc<Entry>>,
        calls: Arc<CallTracker>,
        provided: Uses,
        warnings: Vec<Problem>,
        grants: Grants,
    ) -> Self {
        let opened = grants.opened();
        let (services, grants) = (tokio::sync::Mutex::default(), tokio::sync::Mutex::new(grants));
        let changing = tokio::sync::Mutex::default();
        let started = Instant::now();
        Self { workload, entries, calls, provided, started, warnings, services, grants, opened, changing }
    }

    /// The workload as it was declared.
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// An entry component, ready for calls.
    pub fn entry(&self, component: &str) -> Option<&Arc<Entry>> {
        self.entries.get(component)
    }

    /// All entry components.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// What the workload takes from the components that the host provides.
    pub(super) fn provided(&self) -> &Uses {
        &self.provided
    }

    /// The plugins that are bound to its components.
    pub(super) async fn grants(&self) -> tokio::sync::MutexGuard<'_, Grants> {
        self.grants.lock().await
    }

    /// Starts the services of these names.
    pub(super) async fn start_services(&self, names: &[&Name]) {
        let entries = names.iter().filter_map(|name| self.entries.get(*name));
        self.services.lock().await.extend(entries.map(|entry| Service::start(&self.workload, entry.clone())));
    }

    /// Stops the services of these names, and waits until they have ended. Returns those that had not ended before, which are no
    /// longer in the status.
    pub(super) async fn stop_services<'n>(&self, names: &[&'n Name]) -> Vec<&'n Name> {
        let mut services = self.services.lock().await;
        let mut stopped = Vec::new();
        for service in services.iter_mut() {
            let name = names.iter().find(|name| **name == service.component());
            if let (Some(name), false) = (name, service.has_ended()) {
                service.stop().await;
                stopped.push(*name);
            }
        }
        services.retain(|service| !stopped.contains(&service.component()));
        stopped
    }

    /// Ends the calls in progress.
    pub(super) fn terminate(&self) {
        self.calls.terminate();
    }

    /// Waits until no call is in progress, at most for `longest`.
    pub(super) async fn wait_for_calls(&self, longest: Duration) {
        tokio::time::timeout(longest, self.calls.drained()).await.ok();
    }

    /// The components that are services.
    pub(super) fn declared_services(&self) -> Vec<&Name> {
        let services = self.workload.components.iter().filter(|(_, component)| component.service.is_some());
        services.map(|(name, _)| name).collect()
    }

    /// The services that may listen on ports of the machine, which another version cannot take at the same time.
    pub(super) fn services_on_real_ports(&self) -> Vec<&Name> {
        let rules = |name: &Name| self.workload.components.get(name).map(|component| &component.hosts);
        let is_open = |name: &Name| rules(name).is_some_and(|hosts| hosts.contains(&HostRule::ANY));
        let listens = |name: &&Name| self.entries.get(*name).is_some_and(|entry| entry.components().any(is_open));
        self.declared_services().into_iter().filter(listens).collect()
    }

    /// Whether all services run, or ended as they should.
    pub(super) async fn is_intact(&self) -> bool {
        self.services.lock().await.iter().all(|service| service.state() != ServiceState::Failed)
    }

    /// Waits for the calls in progress until the deadline and terminates the rest, then stops the services and releases the
    /// plugins.
    pub(super) async fn stop(&self, deadline: tokio::time::Instant) {
        self.calls.close();
        if tokio::time::timeout_at(deadline, self.calls.drained()).await.is_err() {
            let (workload, calls) = (self.workload.id(), self.calls.calls());
            tracing::warn!(workload, calls, "drain time is over; terminating the calls in progress");
        }
        self.calls.terminate();
        // A terminated call ends at its next step; one that blocks in a host function is not waited for.
        tokio::time::timeout(TERMINATION, self.calls.drained()).await.ok();
        let mut services = self.services.lock().await;
        for service in &mut *services {
            service.stop().await;
        }
        services.clear();
        self.entries.values().for_each(|entry| entry.clear());
        self.grants.lock().await.release().await;
    }

    fn services(&self) -> Vec<ServiceStatus> {
        // Locked only while services start or stop.
        self.services.try_lock().map_or_else(|_| Vec::new(), |services| services.iter().map(Service::status).collect())
    }

    fn refusals(&self) -> BTreeMap<Limit, u64> {
        let mut all = BTreeMap::new();
        for (limit, count) in self.entries().flat_map(|entry| entry.tracker().refusals.counts()) {
            *all.entry(limit).or_default() += count;
        }
        all
    }

    /// The health of the plugins that it uses.
    pub(super) async fn health(&self) -> Vec<PluginHealth> {
        let health = self.opened.iter().map(|opened| async move {
            let plugin = opened.plugin().to_owned();
            match opened.health().await {
                Health::Healthy => PluginHealth { plugin, healthy: true, detail: None },
                Health::Unhealthy(detail) => PluginHealth { plugin, healthy: false, detail: Some(detail) },
            }
        });
        futures_util::future::join_all(health).await
    }

    pub(super) async fn status(&self, state: State) -> WorkloadStatus {
        let mut status = self.summary(state);
        // The plugins of a workload that has stopped are closed.
        if state != State::Stopped {
            status.health = self.health().await;
        }
        status
    }

    /// The status without the health of its plugins, which takes no time.
    pub fn summary(&self, state: State) -> WorkloadStatus {
        WorkloadStatus {
            id: self.workload.id(),
            version: self.workload.version.as_ref().map(ToString::to_string),
            state,
            entries: self.entries.keys().cloned().collect(),
            components: self.workload.components.len(),
            calls: self.calls.calls(),
            ready: self.entries().map(|entry| entry.ready()).sum(),
            shared: self.calls.shared_instances(),
            refusals: self.refusals(),
            uptime_ms: millis(self.started.elapsed()),
            services: self.services(),
            health: Vec::new(),
            warnings: self.warnings.iter().map(ToString::to_string).collect(),
        }
    }
}
