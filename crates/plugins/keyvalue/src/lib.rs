//! Key-value stores for Wharf: [`wasi:keyvalue`] and [`wasmcloud:keyvalue`] on one backend.
//!
//! A workload declares stores, `[keyvalue.sessions]`, and grants them to components by name, `keyvalue = ["sessions"]`. A component
//! opens the names that it was granted and no other. What is written through one generation of the interfaces is read through the
//! others, because they share the store.
//!
//! ```
//! use wharf::{Engine, Host};
//! use wharf_keyvalue::KeyValuePlugin;
//! use wharf_stores::Policy;
//!
//! let engine = Engine::builder().pooling(false).build().unwrap();
//! // Stores in memory alone: this host has no folder for embedded ones, and lets no manifest name a server.
//! let host = Host::builder(engine).plugin(KeyValuePlugin::new(Policy::default())).build().unwrap();
//! assert!(host.interfaces().iter().any(|i| i.name.to_string() == "wasi:keyvalue/store@0.2.0-draft"));
//! ```
//!
//! [`wasi:keyvalue`]: https://github.com/WebAssembly/wasi-keyvalue
//! [`wasmcloud:keyvalue`]: https://github.com/wasmCloud/wasmCloud

pub mod backend;
mod bindings;
mod bucket;
mod declaration;
mod open;
mod wasi;
mod wasmcloud;
mod watch;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio_util::task::TaskTracker;
use wharf::limits::Limits;
use wharf::plugin::{Health, OpenWorkload, PlannedImport, Planning};
use wharf::workload::manifest::{SettingsKey, TriggerKind as _};
use wharf::workload::{InterfaceName, Name};
use wharf::{Binding, Link, Opening, Plugin, PluginError, Provided, StoreData};
use wharf_stores::{Granted as GrantedNames, Kind, Policy, PolicyError, Registry, Stores, component_stores};

pub use declaration::KeyValueStore;
pub use watch::WatchTrigger;

use backend::Store;
use bindings::{draft, draft2, wasmcloud as generated};
use bucket::{Bucket, Cas, Granted, Keyvalue};
use watch::Watchers;

const INTERFACES: [&str; 11] = [
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "wasmcloud:keyvalue/types@0.2.0",
    "wasmcloud:keyvalue/store@0.2.0",
    "wasmcloud:keyvalue/atomics@0.2.0",
    "wasmcloud:keyvalue/cas@0.2.0",
    "wasmcloud:keyvalue/batch@0.2.0",
];

/// Provides key-value stores, and calls components when they change (`[[triggers.watch]]`): both a plugin and a trigger. Clones are one.
#[derive(Clone, Default)]
pub struct KeyValuePlugin(Arc<Shared>);

#[derive(Default)]
struct Shared {
    policy: Policy,
    registry: Registry<dyn Store>,
    watchers: Watchers,
    /// What waits for the calls of watchers that were detached.
    ending: TaskTracker,
}

impl KeyValuePlugin {
    /// A plugin for a host with this policy.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(Shared { policy, ..Shared::default() }))
    }

    /// Checks the stores that the policy puts in the place of others.
    ///
    /// # Errors
    /// [`PolicyError`] with its place in the host's configuration.
    pub fn check_policy(policy: &Policy) -> Result<(), PolicyError> {
        policy.check::<KeyValueStore>()
    }
}

#[async_trait]
impl Plugin for KeyValuePlugin {
    fn name(&self) -> &'static str {
        Kind::KeyValue.key()
    }

    fn interfaces(&self) -> Vec<Provided> {
        INTERFACES.map(Provided::grant).to_vec()
    }

    fn settings(&self) -> Vec<SettingsKey> {
        let key = SettingsKey::new(Kind::KeyValue.key());
        vec![key.in_workload::<BTreeMap<Name, KeyValueStore>>().in_component::<GrantedNames>()]
    }

    fn has_targets(&self) -> bool {
        true
    }

    fn plan(&self, planning: &mut Planning<'_>) {
        let opens = |planned: &PlannedImport| planned.import.interface.interface == "store";
        wharf_stores::plan::<KeyValueStore>(planning, &self.0.policy, opens);
        let triggers = planning.workload().triggers.of::<WatchTrigger>().unwrap_or_default();
        let stores = triggers.iter().enumerate().map(|(i, trigger)| (&trigger.keyvalue, i));
        wharf_stores::plan_triggers::<KeyValueStore>(planning, WatchTrigger::KEY, stores);
        // A watcher is given a bucket of the store, which grants all of it.
        let declared: BTreeMap<Name, KeyValueStore> = planning.settings(Kind::KeyValue.key()).unwrap_or_default();
        for (i, WatchTrigger { component, keyvalue, .. }) in triggers.iter().enumerate() {
            let granted: GrantedNames =
                planning.component_settings(component, Kind::KeyValue.key()).unwrap_or_default();
            let linked =
                planning.imports(component).iter().any(|import| import.target.as_deref() == Some(keyvalue.as_str()));
            let known = declared.contains_key(keyvalue) && planning.workload().components.contains_key(component);
            if known && !linked && !granted.iter().any(|(_, store, _)| store == keyvalue) {
                let message = format!("`{component}` watches the store `{keyvalue}`, but is not granted it");
                let hint = format!("grant it: `keyvalue = [\"{keyvalue}\"]` in `[components.{component}]`");
                let place = format!("triggers.{}.{i}.keyvalue", WatchTrigger::KEY);
                planning.problem(PluginError::new(message).at(place).hint(hint));
            }
        }
    }

    async fn open(&self, opening: &mut Opening<'_>) -> Result<(), PluginError> {
        let stores = Stores::open(&self.0.policy, &self.0.registry, opening.workload(), open::open).await?;
        opening.insert(stores);
        Ok(())
    }

    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let granted = match binding.opened::<Stores<dyn Store>>() {
            Some(stores) => component_stores(Kind::KeyValue, binding, stores)?,
            None => BTreeMap::new(),
        };
        binding.insert(Granted(granted));
        Ok(())
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Keyvalue<'static>>();
        let InterfaceName { namespace, interface, version, .. } = link.interface().clone();
        let draft = version.map(|version| version.pre.to_string()).unwrap_or_default();
        let instance = &mut link.instance()?;
        /// Links one interface by its generated module.
        macro_rules! add {
            ($($path:ident)::+) => { $($path)::+::add_to_linker_instance::<StoreData, Keyvalue<'static>>(instance, get) };
        }
        match (namespace.as_str(), draft.as_str(), interface.as_str()) {
            ("wasi", "draft", "store") => add!(draft::wasi::keyvalue::store),
            ("wasi", "draft", "atomics") => add!(draft::wasi::keyvalue::atomics),
            ("wasi", "draft", "batch") => add!(draft::wasi::keyvalue::batch),
            ("wasi", "draft2", "store") => add!(draft2::wasi::keyvalue::store),
            ("wasi", "draft2", "atomics") => add!(draft2::wasi::keyvalue::atomics),
            ("wasi", "draft2", "batch") => add!(draft2::wasi::keyvalue::batch),
            ("wasmcloud", "", "types") => add!(generated::wasmcloud::keyvalue::types),
            ("wasmcloud", "", "store") => add!(generated::wasmcloud::keyvalue::store),
            ("wasmcloud", "", "atomics") => add!(generated::wasmcloud::keyvalue::atomics),
            ("wasmcloud", "", "cas") => add!(generated::wasmcloud::keyvalue::cas),
            ("wasmcloud", "", "batch") => add!(generated::wasmcloud::keyvalue::batch),
            _ => Err(wasmtime::format_err!("the plugin does not provide `{interface}`")),
        }
    }

    fn resource_size(&self, resource: &(dyn Any + Send), _: &Limits) -> usize {
        if let Some(bucket) = resource.downcast_ref::<Bucket>() {
            return bucket.size();
        }
        resource.downcast_ref::<Cas>().map_or(0, Cas::size)
    }

    async fn health(&self, workload: &OpenWorkload<'_>) -> Health {
        let Some(stores) = workload.opened::<Stores<dyn Store>>() else { return Health::Healthy };
        let reports = stores.iter().map(|(name, store)| async move {
            store.health().await.err().map(|reason| format!("store `{name}`: {reason}"))
        });
        let sick: Vec<_> = join_all(reports).await.into_iter().flatten().collect();
        if sick.is_empty() { Health::Healthy } else { Health::Unhealthy(sick.join("; ")) }
    }

    async fn close(&self, workload: &OpenWorkload<'_>) {
        if let Some(stores) = workload.opened::<Stores<dyn Store>>() {
            stores.close(|store| async move { store.close().await }).await;
        }
    }
}
