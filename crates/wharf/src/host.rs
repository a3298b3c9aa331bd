//! The host: starts, stops and calls workloads.

mod api;
mod builder;
pub mod command;
mod identity;
mod life;
pub mod plan;
mod provided;
pub mod running;
mod service;
mod start;
pub mod trigger;
mod workloads;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use wasmtime::component::Val;
use wharf_api::{API_VERSION, CallRequest, Heartbeat, LogPage, State, WorkloadPage, WorkloadStatus, WorkloadSummary};
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
use crate::logs::Logs;
use crate::prepare::slots::Plugins;
use crate::prepare::source::SourceLoader;
use crate::run::call::{self, CallError};
use crate::run::entry::Entry;
use provided::ProvidedComponents;
use trigger::Trigger;
use workloads::{Slot, Workloads};

/// How long a stopping workload waits for the calls in progress, unless the host is built otherwise.
pub const DRAIN: Duration = Duration::from_secs(30);

/// The number of workloads in a page of a list, and the most that can be asked for.
const PAGE: u32 = 100;
const MAX_PAGE: u32 = 1000;
/// The longest that a reader of a log waits.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// No such workload is running.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no workload `{id}` is running")]
pub struct NoWorkload {
    /// The id.
    pub id: String,
}

/// Starts, stops and calls workloads. Cheap to clone; clones are the same host.
///
/// A start, an update, a stop and a shutdown go on in a task of the host: the future only waits for it, and may be dropped.
/// A start is cancelled by stopping the workload.
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
    workloads: Workloads,
    logs: Logs,
    /// The components that the host provides to workloads.
    provided: OnceLock<ProvidedComponents>,
    /// The starts, updates and stops in progress, and what they leave to be released.
    operations: TaskTracker,
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
    /// ```
    /// # use wharf::workload::{Workload, manifest::Component};
    /// # use wharf::{Engine, Host};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let host = Host::builder(Engine::builder().pooling(false).build()?).build()?;
    /// # let one = |n: u32| -> Result<Workload, Box<dyn std::error::Error>> {
    /// #     let text = format!("(component (core module $m (func (export \"n\") (result i32) (i32.const {n})))
    /// #         (core instance $i (instantiate $m)) (func (export \"n\") (result u32) (canon lift (core func $i \"n\"))))");
    /// #     let component = Component::from_bytes(wat::parse_str(text)?);
    /// #     Ok(Workload::new("w".parse()?).with_component("c".parse()?, component))
    /// # };
    /// let mut workload = one(1)?;
    /// workload.components.insert("gone".parse()?, Component::from_path("no/such/file.wasm"));
    /// let plan = host.plan(&workload).await;
    /// assert!(!plan.is_runnable());
    /// assert_eq!(plan.unloaded[0].place(), "components.gone.source");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn plan(&self, workload: &Workload) -> Plan {
        plan::plan(&self.0, workload.clone(), plan::Owner::User, |_, plan| plan).await
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
    /// ```
    /// # use wharf::workload::{Workload, manifest::Component};
    /// # use wharf::{Engine, Host};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let host = Host::builder(Engine::builder().pooling(false).build()?).build()?;
    /// # let one = |n: u32| -> Result<Workload, Box<dyn std::error::Error>> {
    /// #     let text = format!("(component (core module $m (func (export \"n\") (result i32) (i32.const {n})))
    /// #         (core instance $i (instantiate $m)) (func (export \"n\") (result u32) (canon lift (core func $i \"n\"))))");
    /// #     let component = Component::from_bytes(wat::parse_str(text)?);
    /// #     Ok(Workload::new("w".parse()?).with_component("c".parse()?, component))
    /// # };
    /// host.workload_start(one(1)?).await?;
    /// let entry = host.entry("default/w", "c")?;
    /// assert_eq!(wharf::run::call::functions(&entry), ["n"]);
    /// # Ok(())
    /// # }
    /// ```
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
    /// ```
    /// # use wharf::workload::{Workload, manifest::Component};
    /// # use wharf::{Engine, Host};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let host = Host::builder(Engine::builder().pooling(false).build()?).build()?;
    /// # let one = |n: u32| -> Result<Workload, Box<dyn std::error::Error>> {
    /// #     let text = format!("(component (core module $m (func (export \"n\") (result i32) (i32.const {n})))
    /// #         (core instance $i (instantiate $m)) (func (export \"n\") (result u32) (canon lift (core func $i \"n\"))))");
    /// #     let component = Component::from_bytes(wat::parse_str(text)?);
    /// #     Ok(Workload::new("w".parse()?).with_component("c".parse()?, component))
    /// # };
    /// use wharf::wasmtime::component::Val;
    ///
    /// host.workload_start(one(7)?).await?;
    /// let results = host.call_values("default/w", "c", "n", &[]).await?;
    /// assert!(matches!(results.as_slice(), [Val::U32(7)]));
    /// # Ok(())
    /// # }
    /// ```
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

    /// The ids of all workloads, whether they start, run or stop.
    pub fn workload_ids(&self) -> Vec<String> {
        self.0.workloads.list().into_iter().map(|(id, _)| id).collect()
    }

    /// Lists workloads in the order of their ids, at most `limit` (100 by default, 1,000 at most) of those after an id. The status of each is
    /// without the health of its plugins.
    pub fn workload_list(&self, after: Option<&str>, limit: Option<u32>) -> WorkloadPage {
        let limit = limit.unwrap_or(PAGE).clamp(1, MAX_PAGE) as usize;
        // One more, to know whether there is a next page.
        let mut slots = self.0.workloads.after(after, limit + 1);
        let next = if slots.len() > limit {
            slots.truncate(limit);
            slots.last().map(|(id, _)| id.clone())
        } else {
            None
        };
        let statuses = slots.into_iter().map(|(id, slot)| match slot {
            Slot::Running(running) => running.summary(State::Running),
            Slot::Stopping(running) => running.summary(State::Stopping),
            Slot::Starting(_) => without_instances(&id, State::Starting),
        });
        WorkloadPage { workloads: statuses.collect(), next }
    }

    /// What a workload logged from line number `from` on. When there is nothing yet, it waits for up to `wait` (30 seconds at most). The host
    /// keeps the last lines of each workload: [`logs::MAX_LINES`](crate::logs::MAX_LINES), [`logs::MAX_BYTES`](crate::logs::MAX_BYTES).
    ///
    /// # Errors
    /// [`NoWorkload`] when there is none of this id, or it stops while this waits.
    pub async fn workload_logs(&self, id: &str, from: u64, wait: Duration) -> Result<LogPage, NoWorkload> {
        let page = self.0.logs.read(id, from, wait.min(MAX_WAIT)).await;
        page.ok_or_else(|| NoWorkload { id: id.to_owned() })
    }

    /// Calls a function of an entry component as [`CallRequest`] says it, in WAVE or JSON.
    ///
    /// # Errors
    /// [`HostCallError`] when there is no such workload, entry or function, or the call fails.
    pub async fn call_text(&self, id: &str, request: &CallRequest) -> Result<Vec<String>, HostCallError> {
        let entry = match &request.component {
            Some(component) => self.entry(id, component)?,
            None => self.only_entry(id)?,
        };
        Ok(call::call_text(&entry, &request.call, request.format).await?)
    }

    /// The entry of a workload that has one.
    fn only_entry(&self, id: &str) -> Result<Arc<Entry>, HostCallError> {
        let running = self.running(id)?;
        let mut entries = running.entries();
        match (entries.next(), entries.next()) {
            (Some(entry), None) => Ok(entry.clone()),
            _ => Err(HostCallError::WhichEntry {
                id: id.to_owned(),
                entries: running.entries().map(|entry| entry.name().to_string()).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// Reports that the host is alive, which workloads it has, and which plugins cannot serve them. A plugin has 2 seconds to report.
    pub async fn heartbeat(&self) -> Heartbeat {
        let summaries = self.0.workloads.list().into_iter().map(|(id, state)| async move {
            let mut unhealthy = Vec::new();
            if let Ok(Slot::Running(running)) = self.0.workloads.find(&id) {
                unhealthy = running.health().await;
                unhealthy.extend(self.provided_health(&running).await);
                unhealthy.retain(|plugin| !plugin.healthy);
            }
            WorkloadSummary { id, state, unhealthy }
        });
        Heartbeat {
            id: self.0.id.clone(),
            friendly_name: self.0.friendly_name.clone(),
            labels: self.0.labels.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api_version: API_VERSION,
            uptime_ms: millis(self.0.started.elapsed()),
            workloads: join_all(summaries).await,
        }
    }

    /// Starts a workload; it serves when this returns.
    ///
    /// # Errors
    /// [`StartError`], with every problem at once.
    pub async fn workload_start(&self, workload: Workload) -> Result<WorkloadStatus, StartError> {
        let host = self.clone();
        let starting = Box::pin(async move { host.start(workload).await });
        self.0.operate(starting).await.unwrap_or(Err(StartError::Interrupted))
    }

    /// Replaces a running workload by a new version: new calls go to the new version, and those in progress in the old one
    /// are waited for, up to the drain time. No call is refused on the way; when the new version cannot start, the old
    /// one goes on.
    ///
    /// ```
    /// # use wharf::workload::{Workload, manifest::Component};
    /// # use wharf::{Engine, Host};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let host = Host::builder(Engine::builder().pooling(false).build()?).build()?;
    /// # let one = |n: u32| -> Result<Workload, Box<dyn std::error::Error>> {
    /// #     let text = format!("(component (core module $m (func (export \"n\") (result i32) (i32.const {n})))
    /// #         (core instance $i (instantiate $m)) (func (export \"n\") (result u32) (canon lift (core func $i \"n\"))))");
    /// #     let component = Component::from_bytes(wat::parse_str(text)?);
    /// #     Ok(Workload::new("w".parse()?).with_component("c".parse()?, component))
    /// # };
    /// host.workload_start(one(1)?).await?;
    /// host.workload_update(one(2)?).await?;
    /// assert_eq!(host.call_wave("default/w", "c", "n()").await?, ["2"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StartError`], with every problem at once; [`StartError::NotRunning`] when there is nothing to replace.
    pub async fn workload_update(&self, workload: Workload) -> Result<WorkloadStatus, StartError> {
        let host = self.clone();
        let updating = Box::pin(async move { host.update(workload).await });
        self.0.operate(updating).await.unwrap_or(Err(StartError::Interrupted))
    }

    /// Stops a workload: it takes no new calls, and those in progress are waited for, up to the drain time; then the
    /// rest is terminated, the services are stopped, and the plugins are released.
    ///
    /// ```
    /// # use wharf::workload::{Workload, manifest::Component};
    /// # use wharf::{Engine, Host};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let host = Host::builder(Engine::builder().pooling(false).build()?).build()?;
    /// # let one = |n: u32| -> Result<Workload, Box<dyn std::error::Error>> {
    /// #     let text = format!("(component (core module $m (func (export \"n\") (result i32) (i32.const {n})))
    /// #         (core instance $i (instantiate $m)) (func (export \"n\") (result u32) (canon lift (core func $i \"n\"))))");
    /// #     let component = Component::from_bytes(wat::parse_str(text)?);
    /// #     Ok(Workload::new("w".parse()?).with_component("c".parse()?, component))
    /// # };
    /// use wharf::api::State;
    ///
    /// host.workload_start(one(1)?).await?;
    /// assert_eq!(host.workload_stop("default/w").await?.state, State::Stopped);
    /// assert!(host.workload_status("default/w").await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`NoWorkload`] when none of this id is running.
    pub async fn workload_stop(&self, id: &str) -> Result<WorkloadStatus, NoWorkload> {
        let (host, owned) = (self.clone(), id.to_owned());
        let stopping = Box::pin(async move { host.stop(&owned, deadline(host.0.drain)).await });
        let stopped = self.0.operate(stopping).await;
        stopped.unwrap_or_else(|| Err(NoWorkload { id: id.to_owned() }))
    }

    /// Reports on a workload, from its start to its end.
    ///
    /// # Errors
    /// [`NoWorkload`] when there is none of this id.
    pub async fn workload_status(&self, id: &str) -> Result<WorkloadStatus, NoWorkload> {
        match self.0.workloads.find(id)? {
            Slot::Running(running) => {
                let mut status = running.status(State::Running).await;
                status.health.extend(self.provided_health(&running).await);
                Ok(status)
            }
            Slot::Stopping(running) => Ok(running.status(State::Stopping).await),
            Slot::Starting(_) => Ok(without_instances(id, State::Starting)),
        }
    }

    /// Stops everything: no workload starts any more, triggers make no new calls, and those in progress are waited for, as long
    /// as the host drains. When this returns, no workload is left.
    pub async fn shutdown(&self) {
        let host = self.clone();
        in_task(async move { host.shut_down().await }).await;
    }
}

/// The status of a workload without instances: one that is starting, or was stopped before it started.
fn without_instances(id: &str, state: State) -> WorkloadStatus {
    WorkloadStatus {
        id: id.to_owned(),
        version: None,
        state,
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
    /// The workload has several entries, and the call does not say which.
    #[error("`{id}` has several entries; name one of {entries}")]
    WhichEntry {
        /// The workload.
        id: String,
        /// The entries.
        entries: String,
    },
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl Inner {
    /// Runs an operation in a task, whether or not the caller waits for it. A shutdown waits for it.
    async fn operate<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        in_task(self.operations.track_future(work)).await
    }
}

/// Runs work in a task, whether or not the caller waits for it; `None` when the runtime shuts down.
async fn in_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => Some(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}

/// The end of a drain that begins now. A time beyond the clock's range is a year.
fn deadline(drain: Duration) -> tokio::time::Instant {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    tokio::time::Instant::now() + drain.min(YEAR)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
