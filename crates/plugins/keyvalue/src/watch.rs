//! `[[triggers.watch]]`: calls a component when a key-value store changes.
//!
//! Takes the changes of a store; calls `on-set` and `on-delete` of the component, one after the other, in the order of the changes. A call
//! that fails is logged, and the next change follows. Changes are not kept: those while no version of the workload runs are not seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wasmtime::component::Accessor;
use wharf::host::Running;
use wharf::run::call::functions;
use wharf::run::concurrent::ConcurrentCall;
use wharf::run::pool::Bindings;
use wharf::workload::Name;
use wharf::workload::manifest::{AnyTriggerKind, TriggerKind};
use wharf::{Entry, StoreData, Trigger, TriggerError};
use wharf_stores::Stores;

use crate::backend::{Change, Store};
use crate::bindings::{draft, draft2, wasmcloud};
use crate::bucket::Bucket;
use crate::{KeyValuePlugin, open};

/// The waits between attempts to watch a store.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How often gaps are logged at most.
const LOG_AGAIN: Duration = Duration::from_mins(1);

/// A watched store: `[[triggers.watch]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct WatchTrigger {
    /// The component that is called.
    pub component: Name,
    /// The store: the name of a `[keyvalue.<name>]`.
    pub keyvalue: Name,
    /// What the keys begin with whose changes are reported; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

impl TriggerKind for WatchTrigger {
    const KEY: &'static str = "watch";
    const INTERFACES: &'static [&'static str] = &[
        "wasi:keyvalue/watcher@0.2.0-draft",
        "wasi:keyvalue/watcher@0.2.0-draft2",
        "wasmcloud:keyvalue/watcher@0.2.0",
    ];

    fn component(&self) -> &Name {
        &self.component
    }

    fn label(&self) -> String {
        format!("watch {} {}*", self.keyvalue, self.prefix.as_deref().unwrap_or_default())
    }
}

/// The watchers of the versions of workloads that are attached, by the address of the version.
pub(crate) type Watchers = Mutex<HashMap<usize, Attached>>;

pub(crate) struct Attached {
    stores: Stores<dyn Store>,
    stop: CancellationToken,
    workers: Vec<JoinHandle<()>>,
}

fn key(running: &Arc<Running>) -> usize {
    Arc::as_ptr(running) as usize
}

fn triggers(running: &Running) -> Vec<WatchTrigger> {
    running.workload().triggers.of::<WatchTrigger>().unwrap_or_default()
}

#[async_trait]
impl Trigger for KeyValuePlugin {
    fn name(&self) -> &'static str {
        WatchTrigger::KEY
    }

    fn kind(&self) -> Option<AnyTriggerKind> {
        Some(AnyTriggerKind::of::<WatchTrigger>())
    }

    async fn attach(&self, running: &Arc<Running>) -> Result<(), TriggerError> {
        if triggers(running).is_empty() {
            return Ok(());
        }
        let stores = Stores::open(&self.0.policy, &self.0.registry, running.workload(), open::open).await?;
        let attached = Attached { stores, stop: CancellationToken::new(), workers: Vec::new() };
        self.watchers().insert(key(running), attached);
        Ok(())
    }

    async fn started(&self, running: &Arc<Running>) {
        let mut all = self.watchers();
        let Some(attached) = all.get_mut(&key(running)) else { return };
        for trigger in triggers(running) {
            let Some(entry) = running.entry(trigger.component.as_str()) else { continue };
            let Some(store) = attached.stores.get(trigger.keyvalue.as_str()) else { continue };
            let worker = Worker {
                workload: running.workload().id(),
                entry: entry.clone(),
                version: Version::of(entry),
                store: store.clone(),
                prefix: trigger.prefix.unwrap_or_default(),
                logged: Mutex::default(),
            };
            attached.workers.push(tokio::spawn(worker.run(attached.stop.clone())));
        }
    }

    async fn detach(&self, running: &Arc<Running>) {
        let attached = self.watchers().remove(&key(running));
        if let Some(attached) = attached {
            attached.stop.cancel();
            self.0.ending.spawn(attached.end());
        }
    }

    async fn shutdown(&self) {
        let attached: Vec<_> = std::mem::take(&mut *self.watchers()).into_values().collect();
        join_all(attached.into_iter().map(Attached::end)).await;
        self.0.ending.close();
        self.0.ending.wait().await;
    }
}

impl Attached {
    /// Reports no more changes, and returns when the call in progress has ended.
    async fn end(self) {
        self.stop.cancel();
        for worker in self.workers {
            // A worker that panicked watches nothing any more.
            worker.await.ok();
        }
        self.stores.close(|store| async move { store.close().await }).await;
    }
}

impl KeyValuePlugin {
    fn watchers(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Attached>> {
        self.0.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    workload: String,
    entry: Arc<Entry>,
    version: Version,
    store: Arc<dyn Store>,
    prefix: String,
    /// When a gap was last logged.
    logged: Mutex<Option<Instant>>,
}

impl Worker {
    /// Watches until it is stopped, however often the store is away. A call in progress is not cut off.
    async fn run(self, stop: CancellationToken) {
        let mut wait = AGAIN.0;
        loop {
            match stop.run_until_cancelled(self.store.watch()).await {
                None => return,
                Some(Ok(mut changes)) => {
                    wait = AGAIN.0;
                    loop {
                        match stop.run_until_cancelled(changes.next()).await {
                            None => return,
                            // The store is away.
                            Some(None) => break,
                            Some(Some(change)) => self.handle(change).await,
                        }
                        // A watcher that causes changes itself would never wait, and keep its thread from others.
                        tokio::task::yield_now().await;
                    }
                }
                Some(Err(error)) => {
                    let workload = &self.workload;
                    tracing::warn!(workload, %error, "cannot watch a store; trying again in {wait:?}");
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            wait = (wait * 2).min(AGAIN.1);
        }
    }

    async fn handle(&self, change: Change) {
        let (key, value) = match change {
            Change::Set { key, value } => (key, Some(value)),
            Change::Deleted { key } => (key, None),
            Change::Lost => {
                // Gaps come as fast as changes do.
                let mut last = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
                if last.is_none_or(|last| last.elapsed() >= LOG_AGAIN) {
                    let (workload, component) = (&self.workload, self.entry.name());
                    tracing::warn!(workload, %component, "missed changes of a store");
                    *last = Some(Instant::now());
                }
                return;
            }
        };
        if !key.starts_with(&self.prefix) {
            return;
        }
        let (version, store) = (self.version, self.store.clone());
        let called = match version {
            // Functions that WIT does not declare as asynchronous block their instance.
            Version::Draft | Version::Draft2 => {
                self.entry.invoke_concurrent(Notify::<false> { version, store, key, value }).await
            }
            Version::Wasmcloud => self.entry.invoke_concurrent(Notify::<true> { version, store, key, value }).await,
        };
        // What a call traps with, or which limit it reached, is in the log.
        if let Err(error) = called {
            self.entry.tracker().log_failure(&error.to_string());
        }
    }
}

/// The watcher that a component exports.
#[derive(Clone, Copy, Debug)]
enum Version {
    Draft,
    Draft2,
    Wasmcloud,
}

impl Version {
    /// The newest one that an entry exports.
    fn of(entry: &Entry) -> Self {
        let exports = functions(entry);
        let has = |name: &str| exports.iter().any(|export| export.starts_with(name));
        if has("wasmcloud:keyvalue/watcher@") {
            Self::Wasmcloud
        } else if has("wasi:keyvalue/watcher@0.2.0-draft2#") {
            Self::Draft2
        } else {
            Self::Draft
        }
    }
}

/// The call for one change.
struct Notify<const SHARES: bool> {
    version: Version,
    store: Arc<dyn Store>,
    key: String,
    value: Option<Bytes>,
}

impl<const SHARES: bool> ConcurrentCall for Notify<SHARES> {
    type Output = ();
    const SHARES: bool = SHARES;

    async fn call(self, accessor: &Accessor<StoreData>, exports: Bindings) -> wasmtime::Result<()> {
        let Self { version, store, key, value } = self;
        let value = value.map(|value| value.to_vec());
        /// Calls the watcher of one generated module.
        macro_rules! notify {
            ($module:ident, $watcher:ident) => {{
                let (service, bucket) = accessor.with(|mut access| {
                    let service = exports.get_or_load(|instance| $module::Service::new(&mut access, instance))?;
                    let bucket = access.data_mut().table().push(Bucket::new(store))?;
                    Ok::<_, wasmtime::Error>((service, bucket))
                })?;
                match value {
                    Some(value) => service.$watcher().call_on_set(accessor, bucket, key, value).await,
                    None => service.$watcher().call_on_delete(accessor, bucket, key).await,
                }
            }};
        }
        match version {
            Version::Draft => notify!(draft, wasi_keyvalue_watcher),
            Version::Draft2 => notify!(draft2, wasi_keyvalue_watcher),
            Version::Wasmcloud => notify!(wasmcloud, wasmcloud_keyvalue_watcher),
        }
    }
}
