//! The host: what starts, stops and calls workloads.

mod builder;
mod command;
mod start;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use wasmtime::component::Val;
use workload::{HostInterface, Name, Problem, Resolution, Workload};

pub use builder::{HostBuilder, HostError};
pub use command::{CommandTrigger, Exit, run_command};
pub use start::StartError;

use crate::call::{self, CallError};
use crate::engine::Engine;
use crate::load::{LoadError, Loaded, load};
use crate::plugin::{Plugin, Trigger, TriggerError};
use crate::pool::{Calls, Entry};
use crate::wasi::stdio::Stdio;

/// How long a stopping workload waits for the calls that are under way, unless the host says otherwise.
pub const DRAIN: Duration = Duration::from_secs(30);

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

    /// Stops a workload: no new calls, then waits for those under way.
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
    /// How many calls are under way.
    pub calls: usize,
    /// How long it has been up, in milliseconds.
    pub uptime_ms: u64,
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

    fn status(&self, state: State) -> WorkloadStatus {
        WorkloadStatus {
            id: self.workload.id(),
            version: self.workload.version.as_ref().map(ToString::to_string),
            state,
            entries: self.entries.keys().cloned().collect(),
            components: self.workload.components.len(),
            calls: self.calls.count(),
            uptime_ms: millis(self.started.elapsed()),
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
    id: String,
    friendly_name: String,
    labels: BTreeMap<String, String>,
    started: Instant,
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
        let (loaded, unloaded) = load(workload);
        let (resolution, problems) = workload::resolve(workload, &loaded.types, &self.0.interfaces);
        Plan { loaded, resolution, unloaded, problems }
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
        if tokio::time::timeout_at(deadline, running.calls.drained()).await.is_err() {
            let calls = running.calls.count();
            tracing::warn!(workload = id, calls, "calls were still under way when the time was up");
        }
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
        for (i, trigger) in self.0.triggers.iter().enumerate() {
            if let Err(TriggerError(detail)) = trigger.attach(&running).await {
                futures_util::future::join_all(self.0.triggers[..i].iter().map(|t| t.detach(&running))).await;
                return Err(StartError::Trigger { trigger: trigger.name(), detail });
            }
        }
        let status = running.status(State::Running);
        taken.keep(running.clone());
        futures_util::future::join_all(self.0.triggers.iter().map(|trigger| trigger.started(&running))).await;
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
