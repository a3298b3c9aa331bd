//! The host: what starts, stops and calls workloads.

mod builder;
mod command;
mod service;
mod start;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use wasmtime::component::Val;
use workload::{Ceilings, HostInterface, Name, Problem, Resolution, Workload};

pub use builder::{HostBuilder, HostError};
pub use command::{CommandTrigger, Exit, run_command};
pub use service::ServiceStatus;
pub use start::StartError;

use crate::call::{self, CallError};
use crate::engine::Engine;
use crate::limits::{Limit, Limits};
use crate::load::{LoadError, Loaded};
use crate::plugin::{Plugin, Trigger, TriggerError};
use crate::pool::{Calls, Entry};
use crate::wasi::stdio::Stdio;
use service::Service;

/// How long a stopping workload waits for the calls that are under way, unless the host says otherwise.
pub const DRAIN: Duration = Duration::from_secs(30);

/// How long calls may take to end once they were told to.
const ENDING: Duration = Duration::from_secs(5);

/// What a host does, in process and over the wire alike.
#[async_trait]
pub trait HostApi: Send + Sync {
    /// Says that the host is alive, and what it carries.
    async fn heartbeat(&self) -> Heartbeat;

    /// Starts a workload; it serves when this returns.
    ///
    /// # Errors
    /// [`StartError`], with every problem at once.
    async fn workload_start(&self, workload: Workload) -> Result<WorkloadStatus, StartError>;

    /// Puts a new version of a workload in the place of the one that runs: new calls go to the new one, and those under
    /// way are waited for, as long as the host drains. No call is refused on the way; when the new one cannot start, the
    /// old one goes on as if nothing had been asked.
    ///
    /// # Errors
    /// [`StartError`], with every problem at once; [`StartError::NotRunning`] when there is nothing to replace.
    async fn workload_update(&self, workload: Workload) -> Result<WorkloadStatus, StartError>;

    /// Stops a workload: no new calls, then waits for those under way, as long as the host drains; then ends what is left,
    /// and the services last.
    ///
    /// # Errors
    /// [`NoWorkload`] when there is none of this id.
    async fn workload_stop(&self, id: &str) -> Result<WorkloadStatus, NoWorkload>;

    /// Tells about a workload.
    ///
    /// # Errors
    /// [`NoWorkload`] when there is none of this id.
    async fn workload_status(&self, id: &str) -> Result<WorkloadStatus, NoWorkload>;
}

/// What a host says of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Heartbeat {
    /// What tells this host from every other, anew at each start.
    pub id: String,
    /// A name for people.
    pub friendly_name: String,
    /// The labels it was given.
    pub labels: BTreeMap<String, String>,
    /// The version of Wharf.
    pub version: String,
    /// How long it has been up, in milliseconds.
    pub uptime_ms: u64,
    /// The ids of the workloads that run.
    pub workloads: Vec<String>,
}

/// What a host says of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkloadStatus {
    /// `namespace/name`.
    pub id: String,
    /// The workload's version.
    pub version: Option<String>,
    /// Whether it runs, or is going away.
    pub state: State,
    /// The entry components.
    pub entries: Vec<Name>,
    /// How many components it has.
    pub components: usize,
    /// How many calls are under way, or wait to be let in.
    pub calls: usize,
    /// How many instances are ready for a call, or kept for the next.
    pub ready: usize,
    /// How many instances serve several calls at once, or go on after them.
    pub shared: usize,
    /// How often each limit was reached.
    pub refusals: BTreeMap<Limit, u64>,
    /// How long it has been up, in milliseconds.
    pub uptime_ms: u64,
    /// The services.
    pub services: Vec<ServiceStatus>,
    /// What was noticed when it started.
    pub warnings: Vec<String>,
}

/// The states of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It takes calls.
    Running,
    /// It took its last call.
    Stopped,
}

/// There is no such workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no workload `{id}` runs here")]
pub struct NoWorkload {
    /// What was asked for.
    pub id: String,
}

/// A workload that runs.
pub struct Running {
    pub(crate) workload: Workload,
    pub(crate) entries: BTreeMap<Name, Arc<Entry>>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) started: Instant,
    pub(crate) warnings: Vec<Problem>,
    /// Stopped last: calls that are under way may still need them.
    services: tokio::sync::Mutex<Vec<Service>>,
    /// The ephemeral volumes, which go when the workload does.
    pub(crate) _volumes: Vec<tempfile::TempDir>,
}

impl Running {
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

    fn services(&self) -> Vec<ServiceStatus> {
        // Held only while services are started or stopped, when there is nothing to tell of them.
        self.services.try_lock().map_or_else(|_| Vec::new(), |services| services.iter().map(Service::status).collect())
    }

    async fn start_services(&self) {
        let declared = &self.workload.components;
        let entries = self.entries.iter().filter(|(name, _)| declared[*name].service);
        self.services.lock().await.extend(entries.map(|(_, entry)| Service::start(&self.workload, entry.clone())));
    }

    /// Waits for the calls under way until the deadline, then ends them; then stops the services.
    async fn end(&self, deadline: tokio::time::Instant) {
        self.calls.close();
        if tokio::time::timeout_at(deadline, self.calls.drained()).await.is_err() {
            let (workload, calls) = (self.workload.id(), self.calls.count());
            tracing::warn!(workload, calls, "calls were still under way when the time was up; they are ended");
        }
        self.calls.end();
        // What was told to end does so at its next step; a host function that blocks is not waited for.
        tokio::time::timeout(ENDING, self.calls.drained()).await.ok();
        for service in &mut *self.services.lock().await {
            service.stop().await;
        }
        self.services.lock().await.clear();
        self.entries.values().for_each(|entry| entry.clear());
    }

    fn refusals(&self) -> BTreeMap<Limit, u64> {
        let mut all = BTreeMap::new();
        for (limit, count) in self.entries().flat_map(|entry| entry.guard().refusals.counts()) {
            *all.entry(limit).or_default() += count;
        }
        all
    }

    fn status(&self, state: State) -> WorkloadStatus {
        WorkloadStatus {
            id: self.workload.id(),
            version: self.workload.version.as_ref().map(ToString::to_string),
            state,
            entries: self.entries.keys().cloned().collect(),
            components: self.workload.components.len(),
            calls: self.calls.count(),
            ready: self.entries().map(|entry| entry.ready()).sum(),
            shared: self.calls.shared(),
            refusals: self.refusals(),
            uptime_ms: millis(self.started.elapsed()),
            services: self.services(),
            warnings: self.warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Who satisfies what in a workload, and what stands in its way; nothing was run for it.
#[derive(Debug)]
pub struct Plan {
    /// The components' bytes and types.
    pub loaded: Loaded,
    /// Who satisfies what.
    pub resolution: Resolution,
    /// The components that could not be loaded.
    pub unloaded: Vec<LoadError>,
    /// Everything else that is wrong or strange.
    pub problems: Vec<Problem>,
}

impl Plan {
    /// Whether the workload can run.
    pub fn runs(&self) -> bool {
        self.unloaded.is_empty() && workload::resolve::runs(&self.problems)
    }
}

/// What starts, stops and calls workloads. Cheap to clone; clones are the same host.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    engine: Engine,
    plugins: Vec<Arc<dyn Plugin>>,
    triggers: Vec<Arc<dyn Trigger>>,
    interfaces: Vec<HostInterface>,
    stdio: Stdio,
    drain: Duration,
    limits: Limits,
    ceilings: Ceilings,
    dedicated: bool,
    id: String,
    friendly_name: String,
    labels: BTreeMap<String, String>,
    started: Instant,
    updating: tokio::sync::Mutex<()>,
    /// `None` while a workload of this id is starting or stopping: the name is taken, and there is nothing to call yet.
    workloads: Mutex<BTreeMap<String, Option<Arc<Running>>>>,
}

impl Host {
    /// A host on this engine with no plugins, no triggers and no workloads.
    pub fn builder(engine: Engine) -> HostBuilder {
        HostBuilder {
            engine,
            plugins: Vec::new(),
            triggers: Vec::new(),
            stdio: Stdio::default(),
            drain: DRAIN,
            limits: Limits::default(),
            ceilings: Ceilings::default(),
            dedicated: false,
            friendly_name: None,
            labels: BTreeMap::new(),
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// What the host provides: the plugins' interfaces and WASI's.
    pub fn interfaces(&self) -> &[HostInterface] {
        &self.0.interfaces
    }

    /// Loads and resolves a workload, and runs nothing. It blocks on files.
    pub fn plan(&self, workload: &Workload) -> Plan {
        self.0.plan(workload)
    }

    /// A workload that runs.
    ///
    /// # Errors
    /// [`NoWorkload`] when there is none of this id.
    pub fn running(&self, id: &str) -> Result<Arc<Running>, NoWorkload> {
        let workloads = self.0.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        workloads.get(id).and_then(Clone::clone).ok_or_else(|| NoWorkload { id: id.to_owned() })
    }

    /// An entry component of a workload, for calls through bindings that `bindgen!` generated.
    ///
    /// # Errors
    /// [`CallRefused`] when there is no such workload or no such entry.
    pub fn entry(&self, id: &str, component: &str) -> Result<Arc<Entry>, CallRefused> {
        let running = self.running(id)?;
        running.entry(component).cloned().ok_or_else(|| CallRefused::NotAnEntry {
            id: id.to_owned(),
            component: component.to_owned(),
            entries: running.entries.keys().map(Name::to_string).collect::<Vec<_>>().join(", "),
        })
    }

    /// Calls a function of an entry component with values, in a fresh instance: `function`, or `interface#function`.
    ///
    /// # Errors
    /// [`CallRefused`] when there is nothing to call, or the call fails.
    pub async fn call(&self, id: &str, component: &str, function: &str, args: &[Val]) -> Result<Vec<Val>, CallRefused> {
        let entry = self.entry(id, component)?;
        Ok(call::call(&entry, function, args).await?)
    }

    /// Calls a function of an entry component as WAVE text, such as `greet("you")`; the results are WAVE text, too.
    ///
    /// # Errors
    /// [`CallRefused`] when there is nothing to call, or the call fails.
    pub async fn call_wave(&self, id: &str, component: &str, text: &str) -> Result<Vec<String>, CallRefused> {
        let entry = self.entry(id, component)?;
        Ok(call::call_wave(&entry, text).await?)
    }

    /// Stops everything: triggers take no new calls, and those under way are waited for, as long as the host drains.
    pub async fn shutdown(&self) {
        let deadline = tokio::time::Instant::now() + self.0.drain;
        let triggers = self.0.triggers.iter().map(|trigger| trigger.shutdown());
        // What the triggers do not get done in time the workloads are not given more time for.
        tokio::time::timeout_at(deadline, futures_util::future::join_all(triggers)).await.ok();
        let ids: Vec<String> = {
            let workloads = self.0.workloads.lock().unwrap_or_else(PoisonError::into_inner);
            workloads.keys().cloned().collect()
        };
        futures_util::future::join_all(ids.iter().map(|id| self.stop(id, deadline))).await;
    }

    /// Stops a workload; its calls are waited for until the deadline.
    async fn stop(&self, id: &str, deadline: tokio::time::Instant) -> Result<WorkloadStatus, NoWorkload> {
        let running = {
            let mut workloads = self.0.workloads.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = workloads.get_mut(id).and_then(Option::take);
            slot.ok_or_else(|| NoWorkload { id: id.to_owned() })?
        };
        // From here on the name is taken and nothing can be called; it is free again when this is dropped.
        let _taken = Reservation { host: &self.0, id: id.to_owned(), kept: false };
        futures_util::future::join_all(self.0.triggers.iter().map(|trigger| trigger.detach(&running))).await;
        running.end(deadline).await;
        Ok(running.status(State::Stopped))
    }
}

/// Why a call did not happen, or failed.
#[derive(Debug, thiserror::Error)]
pub enum CallRefused {
    /// There is no such workload.
    #[error(transparent)]
    NoWorkload(#[from] NoWorkload),
    /// The component is not one that can be called.
    #[error("`{component}` is no entry of `{id}`; its entries are: {entries}")]
    NotAnEntry {
        /// The workload.
        id: String,
        /// What was asked for.
        component: String,
        /// What there is.
        entries: String,
    },
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

#[async_trait]
impl HostApi for Host {
    async fn heartbeat(&self) -> Heartbeat {
        let workloads = self.0.workloads.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        Heartbeat {
            id: self.0.id.clone(),
            friendly_name: self.0.friendly_name.clone(),
            labels: self.0.labels.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: millis(self.0.started.elapsed()),
            workloads,
        }
    }

    async fn workload_start(&self, workload: Workload) -> Result<WorkloadStatus, StartError> {
        let id = workload.id();
        let taken = Reservation::take(&self.0, &id)?;
        let running = Arc::new(start::start(&self.0, workload).await?);
        running.start_services().await;
        for (i, trigger) in self.0.triggers.iter().enumerate() {
            if let Err(TriggerError(detail)) = trigger.attach(&running).await {
                futures_util::future::join_all(self.0.triggers[..i].iter().map(|t| t.detach(&running))).await;
                running.end(tokio::time::Instant::now()).await;
                return Err(StartError::Trigger { trigger: trigger.name(), detail });
            }
        }
        let status = running.status(State::Running);
        taken.keep(running.clone());
        futures_util::future::join_all(self.0.triggers.iter().map(|trigger| trigger.started(&running))).await;
        Ok(status)
    }

    async fn workload_update(&self, workload: Workload) -> Result<WorkloadStatus, StartError> {
        let id = workload.id();
        // Two updates at once would each replace the same one.
        let turn = self.0.updating.lock().await;
        let old = self.running(&id).map_err(|_| StartError::NotRunning { id: id.clone() })?;
        let new = Arc::new(start::start(&self.0, workload).await?);
        new.start_services().await;
        for (i, trigger) in self.0.triggers.iter().enumerate() {
            if let Err(TriggerError(detail)) = trigger.replace(&old, &new).await {
                for trigger in &self.0.triggers[..i] {
                    // What was attached to the old one before attaches to it again.
                    if let Err(error) = trigger.replace(&new, &old).await {
                        tracing::error!(workload = id, trigger = trigger.name(), %error, "the old version is not served");
                    }
                }
                new.end(tokio::time::Instant::now()).await;
                return Err(StartError::Trigger { trigger: trigger.name(), detail });
            }
        }
        let status = new.status(State::Running);
        let still = {
            let mut workloads = self.0.workloads.lock().unwrap_or_else(PoisonError::into_inner);
            match workloads.get_mut(&id) {
                Some(slot @ Some(_)) => {
                    *slot = Some(new.clone());
                    true
                }
                _ => false,
            }
        };
        if !still {
            // It was stopped in the meantime, and what is stopped stays so.
            futures_util::future::join_all(self.0.triggers.iter().map(|trigger| trigger.detach(&new))).await;
            new.end(tokio::time::Instant::now()).await;
            return Err(StartError::NotRunning { id });
        }
        drop(turn);
        futures_util::future::join_all(self.0.triggers.iter().map(|trigger| trigger.started(&new))).await;
        old.end(tokio::time::Instant::now() + self.0.drain).await;
        Ok(status)
    }

    async fn workload_stop(&self, id: &str) -> Result<WorkloadStatus, NoWorkload> {
        self.stop(id, tokio::time::Instant::now() + self.0.drain).await
    }

    async fn workload_status(&self, id: &str) -> Result<WorkloadStatus, NoWorkload> {
        Ok(self.running(id)?.status(State::Running))
    }
}

/// A workload's id while it is starting or stopping. Dropped without a workload to keep, it frees the id.
struct Reservation<'a> {
    host: &'a Inner,
    id: String,
    kept: bool,
}

impl<'a> Reservation<'a> {
    fn take(host: &'a Inner, id: &str) -> Result<Self, StartError> {
        let mut workloads = host.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        if workloads.contains_key(id) {
            return Err(StartError::Running { id: id.to_owned() });
        }
        workloads.insert(id.to_owned(), None);
        Ok(Self { host, id: id.to_owned(), kept: false })
    }

    fn keep(mut self, running: Arc<Running>) {
        let mut workloads = self.host.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        workloads.insert(self.id.clone(), Some(running));
        self.kept = true;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.host.workloads.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
