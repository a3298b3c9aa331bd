//! Blob stores for Wharf: [`wasi:blobstore`] and [`wasmcloud:blobstore`] on one backend.
//!
//! A workload declares stores, `[blobstore.photos]`, and grants them to components by name, `blobstore = ["photos"]`. A store is one
//! container, which a component opens by the name that it was granted; it can open, create and see no other.
//!
//! ```
//! use wharf::{Engine, Host};
//! use wharf_blobstore::BlobStorePlugin;
//! use wharf_stores::Policy;
//!
//! let engine = Engine::builder().pooling(false).build().unwrap();
//! let policy = Policy::default().with_state("/var/lib/app");
//! let host = Host::builder(engine).plugin(BlobStorePlugin::new(policy)).build().unwrap();
//! assert!(host.interfaces().iter().any(|i| i.name.to_string() == "wasi:blobstore/blobstore@0.2.0-draft"));
//! ```
//!
//! [`wasi:blobstore`]: https://github.com/WebAssembly/wasi-blobstore
//! [`wasmcloud:blobstore`]: https://github.com/wasmCloud/wasmCloud

pub mod backend;
mod bindings;
mod declaration;
mod draft;
mod handle;
mod open;
mod pipe;
mod value;
mod wasmcloud;

use std::any::Any;
use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::future::join_all;
use wharf::limits::Limits;
use wharf::plugin::{Health, OpenWorkload, PlannedImport, Planning};
use wharf::workload::Name;
use wharf::workload::manifest::SettingsKey;
use wharf::{Binding, Link, Opening, Plugin, PluginError, Provided, StoreData};
use wharf_stores::{Granted as GrantedNames, Kind, Policy, PolicyError, Registry, Stores, component_stores};

pub use declaration::BlobStore;

use backend::Container;
use bindings::draft::wasi::blobstore as wasi;
use bindings::wasmcloud::wasmcloud::blobstore as cloud;
use handle::{Granted, HasBlobs};
use value::Outgoing;

/// Provides blob stores.
#[derive(Default)]
pub struct BlobStorePlugin {
    policy: Policy,
    registry: Registry<dyn Container>,
}

impl BlobStorePlugin {
    /// A plugin for a host with this policy.
    pub fn new(policy: Policy) -> Self {
        Self { policy, registry: Registry::default() }
    }

    /// Checks the stores that the policy puts in the place of others.
    ///
    /// # Errors
    /// [`PolicyError`] with its place in the host's configuration.
    pub fn check_policy(policy: &Policy) -> Result<(), PolicyError> {
        policy.check::<BlobStore>()
    }
}

#[async_trait]
impl Plugin for BlobStorePlugin {
    fn name(&self) -> &'static str {
        Kind::BlobStore.key()
    }

    fn interfaces(&self) -> Vec<Provided> {
        let versions = [("wasi", "0.2.0-draft"), ("wasmcloud", "0.1.0")];
        let names = versions.into_iter().flat_map(|(namespace, version)| {
            ["types", "container", "blobstore"]
                .map(|interface| Provided::grant(format!("{namespace}:blobstore/{interface}@{version}")))
        });
        names.collect()
    }

    fn settings(&self) -> Vec<SettingsKey> {
        let key = SettingsKey::new(Kind::BlobStore.key());
        vec![key.in_workload::<BTreeMap<Name, BlobStore>>().in_component::<GrantedNames>()]
    }

    fn has_targets(&self) -> bool {
        true
    }

    fn plan(&self, planning: &mut Planning<'_>) {
        let opens = |planned: &PlannedImport| planned.import.interface.interface == "blobstore";
        wharf_stores::plan::<BlobStore>(planning, &self.policy, opens);
    }

    async fn open(&self, opening: &mut Opening<'_>) -> Result<(), PluginError> {
        let stores = Stores::open(&self.policy, &self.registry, opening.workload(), open::open).await?;
        opening.insert(stores);
        Ok(())
    }

    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let granted = match binding.opened::<Stores<dyn Container>>() {
            Some(stores) => component_stores(Kind::BlobStore, binding, stores)?,
            None => BTreeMap::new(),
        };
        binding.insert(Granted(granted));
        Ok(())
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<HasBlobs>();
        let name = link.interface().clone();
        let instance = &mut link.instance()?;
        /// Links one interface by its generated module.
        macro_rules! add {
            ($($path:ident)::+) => { $($path)::+::add_to_linker_instance::<StoreData, HasBlobs>(instance, get) };
        }
        match (name.namespace.as_str(), name.interface.as_str()) {
            ("wasi", "types") => add!(wasi::types),
            ("wasi", "container") => add!(wasi::container),
            ("wasi", "blobstore") => add!(wasi::blobstore),
            // It has types alone.
            ("wasmcloud", "types") => Ok(()),
            ("wasmcloud", "container") => add!(cloud::container),
            ("wasmcloud", "blobstore") => add!(cloud::blobstore),
            _ => Err(wasmtime::format_err!("the plugin does not provide `{name}`")),
        }
    }

    fn resource_size(&self, resource: &(dyn Any + Send), _: &Limits) -> usize {
        resource.downcast_ref::<Outgoing>().map_or(0, |value| value.pipe.bytes())
    }

    async fn health(&self, workload: &OpenWorkload<'_>) -> Health {
        let Some(stores) = workload.opened::<Stores<dyn Container>>() else { return Health::Healthy };
        let reports = stores.iter().map(|(name, store)| async move {
            store.health().await.err().map(|reason| format!("store `{name}`: {reason}"))
        });
        let sick: Vec<_> = join_all(reports).await.into_iter().flatten().collect();
        if sick.is_empty() { Health::Healthy } else { Health::Unhealthy(sick.join("; ")) }
    }

    async fn close(&self, workload: &OpenWorkload<'_>) {
        if let Some(stores) = workload.opened::<Stores<dyn Container>>() {
            stores.close(|store| async move { store.close().await }).await;
        }
    }
}
