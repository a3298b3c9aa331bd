//! Messages for Wharf: [`wasmcloud:messaging`], to send and to handle.
//!
//! A workload declares brokers, `[messaging.bus]`, and grants them to components by name, `messaging = ["bus"]`, which then publish and
//! request. `[[triggers.message]]` subscribes to a subject and calls a component for each message. One value is both the plugin and
//! the trigger, so that they share what is open:
//!
//! ```
//! use wharf::{Engine, Host};
//! use wharf_messaging::MessagingPlugin;
//! use wharf_stores::Policy;
//!
//! let engine = Engine::builder().pooling(false).build().unwrap();
//! let messaging = MessagingPlugin::new(Policy::default());
//! let host = Host::builder(engine).plugin(messaging.clone()).trigger(messaging).build().unwrap();
//! assert!(host.extensions().trigger("message").is_some());
//! ```
//!
//! [`wasmcloud:messaging`]: https://github.com/wasmCloud/wasmCloud

pub mod backend;
mod bindings;
mod consumer;
mod declaration;
mod open;
pub mod redelivery;
mod trigger;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use wharf::plugin::{Health, OpenWorkload, PlannedImport, Planning};
use wharf::workload::Name;
use wharf::workload::manifest::{SettingsKey, TriggerKind as _};
use wharf::{Binding, Link, Opening, Plugin, PluginError, Provided, StoreData};
use wharf_stores::{Granted as GrantedNames, Kind, Policy, PolicyError, Registry, Stores, component_stores};

pub use declaration::MessageBroker;
pub use trigger::MessageTrigger;

use backend::Broker;
use bindings::{v2, v3};
use consumer::{Granted, HasSender};
use trigger::Subscriptions;

/// Sends messages for components, and calls components for messages: both the plugin and the trigger. Clones are one.
#[derive(Clone, Default)]
pub struct MessagingPlugin(Arc<Shared>);

#[derive(Default)]
struct Shared {
    policy: Policy,
    registry: Registry<dyn Broker>,
    subscriptions: Subscriptions,
}

impl MessagingPlugin {
    /// A plugin for a host with this policy.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(Shared { policy, ..Shared::default() }))
    }

    /// Checks the brokers that the policy puts in the place of others.
    ///
    /// # Errors
    /// [`PolicyError`] with its place in the host's configuration.
    pub fn check_policy(policy: &Policy) -> Result<(), PolicyError> {
        policy.check::<MessageBroker>()
    }
}

/// The broker of a component: the one that it is granted, or of several the one that is its `default`.
fn sole<T: Clone>(granted: &BTreeMap<String, T>) -> Option<T> {
    match granted.len() {
        1 => granted.values().next().cloned(),
        _ => granted.get("default").cloned(),
    }
}

#[async_trait]
impl Plugin for MessagingPlugin {
    fn name(&self) -> &'static str {
        Kind::Messaging.key()
    }

    fn interfaces(&self) -> Vec<Provided> {
        let names = ["0.2.0", "0.3.0"].into_iter().flat_map(|version| {
            ["types", "consumer"].map(|name| Provided::grant(format!("wasmcloud:messaging/{name}@{version}")))
        });
        names.collect()
    }

    fn settings(&self) -> Vec<SettingsKey> {
        let key = SettingsKey::new(Kind::Messaging.key());
        vec![key.in_workload::<BTreeMap<Name, MessageBroker>>().in_component::<GrantedNames>()]
    }

    fn has_targets(&self) -> bool {
        true
    }

    fn plan(&self, planning: &mut Planning<'_>) {
        let sends = |planned: &PlannedImport| planned.import.interface.interface == "consumer";
        wharf_stores::plan::<MessageBroker>(planning, &self.0.policy, sends);
        for (name, _) in planning.components() {
            let granted: GrantedNames = planning.component_settings(name, Kind::Messaging.key()).unwrap_or_default();
            let granted: BTreeMap<_, _> = granted.iter().map(|(guest, ..)| (guest.to_owned(), ())).collect();
            let sends = planning.imports(name).iter().any(|import| import.target.is_none() && sends(import));
            if sends && granted.len() > 1 && sole(&granted).is_none() {
                let message = format!("`{name}` is granted several brokers, and none of them is its `default`");
                let error = PluginError::new(message).at(format!("components.{name}.{}", Kind::Messaging));
                planning.problem(
                    error.hint("write `messaging = { default = \"<name>\" }`, or link a label to each broker"),
                );
            }
        }
        let triggers = planning.workload().triggers.of::<MessageTrigger>().unwrap_or_default();
        let brokers = triggers.iter().enumerate().map(|(i, trigger)| (&trigger.messaging, i));
        wharf_stores::plan_triggers::<MessageBroker>(planning, MessageTrigger::KEY, brokers);
    }

    async fn open(&self, opening: &mut Opening<'_>) -> Result<(), PluginError> {
        let stores = Stores::open(&self.0.policy, &self.0.registry, opening.workload(), open::open).await?;
        opening.insert(stores);
        Ok(())
    }

    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let granted = match binding.opened::<Stores<dyn Broker>>() {
            Some(stores) => component_stores(Kind::Messaging, binding, stores)?,
            None => BTreeMap::new(),
        };
        let broker = match binding.target() {
            Some(target) => granted.get(target).cloned(),
            None => sole(&granted),
        };
        binding.insert(Granted(broker));
        Ok(())
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<HasSender>();
        let name = link.interface().clone();
        let minor = name.version.as_ref().map(|version| version.minor);
        let instance = &mut link.instance()?;
        match (name.interface.as_str(), minor) {
            // It has types alone.
            ("types", _) => Ok(()),
            (_, Some(2)) => {
                v2::wasmcloud::messaging::consumer::add_to_linker_instance::<StoreData, HasSender>(instance, get)
            }
            _ => v3::wasmcloud::messaging::consumer::add_to_linker_instance::<StoreData, HasSender>(instance, get),
        }
    }

    async fn health(&self, workload: &OpenWorkload<'_>) -> Health {
        let Some(stores) = workload.opened::<Stores<dyn Broker>>() else { return Health::Healthy };
        let reports = stores.iter().map(|(name, broker)| async move {
            broker.health().await.err().map(|reason| format!("store `{name}`: {reason}"))
        });
        let sick: Vec<_> = join_all(reports).await.into_iter().flatten().collect();
        if sick.is_empty() { Health::Healthy } else { Health::Unhealthy(sick.join("; ")) }
    }

    async fn close(&self, workload: &OpenWorkload<'_>) {
        if let Some(stores) = workload.opened::<Stores<dyn Broker>>() {
            stores.close(|broker| async move { broker.close().await }).await;
        }
    }
}
