//! The host: starts, stops and calls workloads.

mod api;
mod builder;
pub mod command;
pub mod plan;
pub mod running;
mod service;
mod start;
pub mod trigger;
mod workloads;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::Val;
use wharf_api::{API_VERSION, Heartbeat, State, WorkloadStatus, WorkloadSummary};
use workload::manifest::Extensions;
use workload::{Ceilings, HostInterface, Workload};

pub use builder::{HostBuilder, HostError};
pub use command::CommandTrigger;
pub use plan::Plan;
pub use running::Running;
pub use start::StartError;
pub use wharf_api::HostApi;

use crate::engine::Engine;
use crate::limits::Limits;
use crate::prepare::slots::Plugins;
use crate::prepare::source::SourceLoader;
use crate::run::call::{self, CallError};
use crate::run::entry::Entry;
use trigger::Trigger;
use workloads::{Slot, Workloads};

/// How long a stopping workload waits for the calls in progress, unless the host is built otherwise.
pub const DRAIN: Duration = Duration::from_secs(30);

/// No such workload is running.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no workload `{id}` is running")]
pub struct NoWorkload {
    /// The id.
    pub id: String,
}

/// Starts, stops and calls workloads. Cheap to clone; clones are the same host.
///
/// Its methods return this crate's own errors. The trait [`HostApi`] has the same operations with errors that can be sent over
/// a wire, so that a program that takes a `&dyn HostApi` works with a remote host, too.
///
/// ```
/// use wharf::workload::{Workload, manifest::Component};
/// use wharf::{Engine, Host};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let host = Host::builder(Engine::builder().pooling(false).build()?).build()?;
/// let adder = Component::from_bytes(wat::parse_str(r#"(component
///     (core module $m (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
///     (core instance $i (instantiate $m))
///     (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add"))))"#)?);
/// host.workload_start(Workload::new("math".parse()?).with_component("adder".parse()?, adder)).await?;
/// assert_eq!(host.call_wave("default/math", "adder", "add(2, 3)").await?, ["5"]);
/// host.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    engine: Engine,
    plugins: Arc<Plugins>,
    triggers: Vec<Arc<dyn Trigger>>,
    interfaces: Vec<HostInterface>,
    extensions: Extensions,
    sources: Arc<dyn SourceLoader>,
    drain: Duration,
    limits: Limits,
    ceilings: Ceilings,
    dedicated: bool,
    id: String,
    friendly_name: String,
    labels: BTreeMap<String, String>,
    started: Instant,
    updating: tokio::sync::Mutex<()>,
    workloads: Workloads,
}

impl Host {
    /// The settings of a host on this engine, with WASI and no other plugins, and no triggers.
    pub fn builder(engine: Engine) -> HostBuilder {
        HostBuilder::new(engine)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// The interfaces that the plugins and WASI provide.
    pub fn interfaces(&self) -> &[HostInterface] {
        &self.0.interfaces
    }

    /// The sections that the plugins and triggers add to the manifest, for
    /// [`parse_with`](workload::manifest::parse_with).
    pub fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }

    /// Validates, loads and resolves a workload, and runs nothing.
    pub async fn plan(&self, workload: &Workload) -> Plan {
        self.0.plan(workload).await
    }

    /// A workload that takes calls.
    ///
    /// # Errors
    /// [`NoWorkload`] when none of this id is running.
    pub fn running(&self, id: &str) -> Result<Arc<Running>, NoWorkload> {
        self.0.workloads.running(id)
    }

    /// An entry component of a workload, for calls through generated bindings ([`Entry::invoke`]).
    ///
    /// # Errors
    /// [`HostCallError`] when no such workload is running, or the component is not one of its entries.
    pub fn entry(&self, id: &str, component: &str) -> Result<Arc<Entry>, HostCallError> {
        let running = self.running(id)?;
        running.entry(component).cloned().ok_or_else(|| HostCallError::NotAnEntry {
            id: id.to_owned(),
            component: component.to_owned(),
            entries: running.entries().map(|entry| entry.name().to_string()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Calls a function of an entry component with values: `function`, or `interface#function`.
    ///
    /// # Errors
    /// [`HostCallError`] when there is no such workload, entry or function, or the call fails.
    pub async fn call_values(
        &self,
        id: &str,
        component: &str,
        function: &str,
        arguments: &[Val],
    ) -> Result<Vec<Val>, HostCallError> {
        let entry = self.entry(id, component)?;
        Ok(call::call(&entry, function, arguments).await?)
    }

    /// Calls a function of an entry component, written as WAVE text such as `greet("you")`; gives the results as WAVE text.
    ///
    /// # Errors
    /// [`HostCallError`] when there is no such workload, entry or function, or the call fails.
    pub async fn call_wave(&self, id: &str, component: &str, text: &str) -> Result<Vec<String>, HostCallError> {
        let entry = self.entry(id, component)?;
        Ok(call::call_wave(&entry, text).await?)
    }

    /// Reports that the host is alive, and which workloads it has.
    pub fn heartbeat(&self) -> Heartbeat {
        let workloads = self.0.workloads.list().into_iter().map(|(id, state)| WorkloadSummary { id, state }).collect();
        Heartbeat {
            id: self.0.id.clone(),
            friendly_name: self.0.friendly_name.clone(),
            labels: self.0.labels.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api_version: API_VERSION,
            uptime_ms: millis(self.0.started.elapsed()),
            workloads,
        }
    }

    /// Starts a workload; it serves when this returns.
    ///
    /// # Errors
    /// [`StartError`], with every problem at once.
    pub async fn workload_start(&self, workload: Workload) -> Result<WorkloadStatus, StartError> {
        let taken = self.0.workloads.reserve(&workload.id())?;
        let running = Arc::new(start::start(&self.0, workload).await?);
        running.start_services().await;
        for (i, trigger) in self.0.triggers.iter().enumerate() {
            if let Err(error) = trigger.attach(&running).await {
                futures_util::future::join_all(self.0.triggers[..i].iter().map(|t| t.detach(&running))).await;
                running.stop(tokio::time::Instant::now()).await;
                return Err(StartError::Trigger { trigger: trigger.name().to_owned(), error });
            }
        }
        let status = running.status(State::Running).await;
        taken.keep(running.clone());
        futures_util::future::join_all(self.0.triggers.iter().map(|trigger| trigger.started(&running))).await;
        Ok(status)
    }

    /// Replaces a running workload by a new version: new calls go to the new version, and those in progress in the old one
    /// are waited for, as long as the host drains. No call is refused on the way; when the new version cannot start, the old
    /// one goes on.
    ///
    /// # Errors
    /// [`StartError`], with every problem at once; [`StartError::NotRunning`] when there is nothing to replace.
    pub async fn workload_update(&self, workload: Workload) -> Result<WorkloadStatus, StartError> {
        let id = workload.id();
        // Two updates at a time would both replace the same version.
        let updating = self.0.updating.lock().await;
        let old = self.running(&id).map_err(|_| StartError::NotRunning { id: id.clone() })?;
        let new = Arc::new(start::start(&self.0, workload).await?);
        new.start_services().await;
        self.replace_triggers(&id, &old, &new).await?;
        let status = new.status(State::Running).await;
        if !self.0.workloads.replace(&id, &new) {
            // The workload was stopped in the meantime, and stays so.
            futures_util::future::join_all(self.0.triggers.iter().map(|trigger| trigger.detach(&new))).await;
            new.stop(tokio::time::Instant::now()).await;
            return Err(StartError::NotRunning { id });
        }
        drop(updating);
        futures_util::future::join_all(self.0.triggers.iter().map(|trigger| trigger.started(&new))).await;
        old.stop(tokio::time::Instant::now() + self.0.drain).await;
        Ok(status)
    }

    /// Moves all triggers to a new version; if one refuses it, all of them return to the old one.
    async fn replace_triggers(&self, id: &str, old: &Arc<Running>, new: &Arc<Running>) -> Result<(), StartError> {
        for (i, trigger) in self.0.triggers.iter().enumerate() {
            let Err(error) = trigger.replace(old, new).await else { continue };
            for moved in &self.0.triggers[..i] {
                if let Err(error) = moved.replace(new, old).await {
                    tracing::error!(workload = id, trigger = moved.name(), %error, "the old version is no longer served");
                }
            }
            new.stop(tokio::time::Instant::now()).await;
            return Err(StartError::Trigger { trigger: trigger.name().to_owned(), error });
        }
        Ok(())
    }

    /// Stops a workload: it takes no new calls, and those in progress are waited for, as long as the host drains; then the
    /// rest is terminated, the services are stopped, and the plugins are released.
    ///
    /// # Errors
    /// [`NoWorkload`] when none of this id is running.
    pub async fn workload_stop(&self, id: &str) -> Result<WorkloadStatus, NoWorkload> {
        self.stop(id, tokio::time::Instant::now() + self.0.drain).await
    }

    /// Reports on a workload, from its start to its end.
    ///
    /// # Errors
    /// [`NoWorkload`] when there is none of this id.
    pub async fn workload_status(&self, id: &str) -> Result<WorkloadStatus, NoWorkload> {
        match self.0.workloads.find(id)? {
            Slot::Running(running) => Ok(running.status(State::Running).await),
            Slot::Stopping(running) => Ok(running.status(State::Stopping).await),
            Slot::Starting => Ok(starting(id)),
        }
    }

    /// Stops everything: triggers make no new calls, and those in progress are waited for, as long as the host drains.
    pub async fn shutdown(&self) {
        let deadline = tokio::time::Instant::now() + self.0.drain;
        let triggers = self.0.triggers.iter().map(|trigger| trigger.shutdown());
        // Triggers and workloads share one deadline.
        tokio::time::timeout_at(deadline, futures_util::future::join_all(triggers)).await.ok();
        let ids = self.0.workloads.list();
        futures_util::future::join_all(ids.iter().map(|(id, _)| self.stop(id, deadline))).await;
        for plugin in &self.0.plugins.0 {
            plugin.shutdown().await;
        }
    }

    async fn stop(&self, id: &str, deadline: tokio::time::Instant) -> Result<WorkloadStatus, NoWorkload> {
        let (running, _taken) = self.0.workloads.stop(id)?;
        futures_util::future::join_all(self.0.triggers.iter().map(|trigger| trigger.detach(&running))).await;
        running.stop(deadline).await;
        Ok(running.status(State::Stopped).await)
    }
}

/// The status of a workload that is starting.
fn starting(id: &str) -> WorkloadStatus {
    WorkloadStatus {
        id: id.to_owned(),
        version: None,
        state: State::Starting,
        entries: Vec::new(),
        components: 0,
        calls: 0,
        ready: 0,
        shared: 0,
        refusals: BTreeMap::new(),
        uptime_ms: 0,
        services: Vec::new(),
        health: Vec::new(),
        warnings: Vec::new(),
    }
}

/// Why a call through a host failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostCallError {
    /// No such workload is running.
    #[error(transparent)]
    NoWorkload(#[from] NoWorkload),
    /// The component is not an entry of the workload.
    #[error("`{component}` is not an entry of `{id}`; its entries are {entries}")]
    NotAnEntry {
        /// The workload.
        id: String,
        /// The component.
        component: String,
        /// The entries.
        entries: String,
    },
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
