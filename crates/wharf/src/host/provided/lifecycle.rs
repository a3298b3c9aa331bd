//! `wasmcloud:host/workload-lifecycle`: tells provided components of the workloads that use them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use wasmtime::component::Accessor;
use workload::{InterfaceName, Name, Provider, Resolution};

use super::super::identity::Concerns;
use super::super::running::Running;
use super::super::start::StartError;
use super::ProvidedComponents;
use crate::run::call::functions;
use crate::run::concurrent::ConcurrentCall;
use crate::run::entry::Entry;
use crate::run::pool::Bindings;
use crate::store::StoreData;

mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package wasmcloud:host@0.1.3;
            interface types {
                type workload-id = string;
                type component-id = string;
            }
            interface workload-lifecycle {
                use types.{workload-id, component-id};
                record version { major: u64, minor: u64, patch: u64, pre: option<string>, build: option<string> }
                record interface-binding {
                    namespace: string,
                    %package: string,
                    interfaces: list<string>,
                    version: option<version>,
                    name: option<string>,
                    external-id: option<string>,
                    config: list<tuple<string, string>>,
                }
                record workload-info {
                    id: workload-id,
                    name: string,
                    namespace: string,
                    service: option<component-id>,
                    components: list<component-id>,
                    interfaces: list<interface-binding>,
                }
                on-workload-bind: async func(workload: workload-info) -> result<_, string>;
                on-workload-unbind: async func(id: workload-id);
            }
            world plugin { export workload-lifecycle; }
        ",
        exports: { default: async | store },
    });
}

use bindings::Plugin;
use bindings::exports::wasmcloud::host::workload_lifecycle::{InterfaceBinding, Version, WorkloadInfo};

/// How long a component has to answer.
const HOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait until a component takes a call.
const AGAIN: Duration = Duration::from_millis(20);
/// What a component exports that hears of workloads.
pub(in crate::host) const INTERFACE: &str = "wasmcloud:host/workload-lifecycle@0.1";

/// The interfaces that a workload takes from each provided component.
pub(in crate::host) type Uses = BTreeMap<Name, Vec<(InterfaceName, Option<String>)>>;

/// What a workload takes from the provided components.
pub(in crate::host) fn uses(resolution: &Resolution) -> Uses {
    let mut uses = Uses::new();
    for (importer, imports) in &resolution.components {
        for import in imports {
            let Provider::Provided { component, .. } = &import.provider else { continue };
            let Some(of) = resolution.provided.get(component) else { continue };
            let interfaces = uses.entry(of.component.clone()).or_default();
            // What one provided component takes from another is not the workload's.
            if let Some(interface) = import.interface.clone().filter(|_| !resolution.provided.contains_key(importer)) {
                interfaces.push((interface, import.label.clone()));
            }
        }
    }
    uses
}

impl ProvidedComponents {
    /// Tells the components that a workload uses that it starts. One may refuse it.
    pub(in crate::host) async fn bind(&self, workload: &Running) -> Result<(), StartError> {
        let until = Instant::now() + HOOK_TIMEOUT;
        let bound = self.hearing(workload).map(|(entry, uses)| async move {
            let told = tell(entry, until, || Bind(info(workload, uses))).await;
            let refused = |message| StartError::Refused { component: entry.name().clone(), message };
            told.map_err(refused)?.map_err(refused)
        });
        let refusals = join_all(bound).await.into_iter().filter_map(Result::err);
        StartError::several(refusals).map_or(Ok(()), Err)
    }

    /// Tells the components that a workload used, but for those that `still` uses, that it is gone.
    pub(in crate::host) async fn unbind(&self, workload: &Running, still: Option<&Running>) {
        let until = Instant::now() + HOOK_TIMEOUT;
        let kept: BTreeSet<&Name> = still.into_iter().flat_map(|running| running.provided().keys()).collect();
        let gone = self.hearing(workload).filter(|(entry, _)| !kept.contains(entry.name()));
        join_all(gone.map(|(entry, _)| async move {
            let id = workload.workload().id();
            if let Err(error) = tell(entry, until, || Unbind(id.clone())).await {
                let component = entry.name();
                tracing::warn!(workload = id, %component, error, "a provided component did not hear of a workload's end");
            }
        }))
        .await;
    }

    /// The components that a workload uses and that hear of it, each with what the workload takes from it.
    fn hearing<'w>(
        &'w self,
        workload: &'w Running,
    ) -> impl Iterator<Item = (&'w Arc<Entry>, &'w Vec<(InterfaceName, Option<String>)>)> {
        let running = self.running.get();
        workload.provided().iter().filter_map(move |(name, uses)| {
            let entry = running?.entry(name.as_str())?;
            let hears = |function: &String| function.starts_with(INTERFACE);
            functions(entry).iter().any(hears).then_some((entry, uses))
        })
    }
}

/// Makes a call as soon as the component takes it. A component has so long to answer.
async fn tell<C: ConcurrentCall>(
    entry: &Arc<Entry>,
    until: Instant,
    call: impl Fn() -> C,
) -> Result<C::Output, String> {
    let told = async {
        loop {
            match entry.invoke_concurrent(call()).await {
                Err(error) if error.is_busy() => tokio::time::sleep(AGAIN).await,
                told => return told.map_err(|error| error.to_string()),
            }
        }
    };
    tokio::time::timeout_at(until, told).await.unwrap_or_else(|_| Err(format!("no answer within {HOOK_TIMEOUT:?}")))
}

fn info(running: &Running, uses: &[(InterfaceName, Option<String>)]) -> WorkloadInfo {
    let workload = running.workload();
    let (services, components): (Vec<_>, Vec<_>) =
        workload.components.iter().partition(|(_, component)| component.service.is_some());
    let mut names = services.into_iter().chain(components).map(|(name, _)| name.to_string());
    let service = running.declared_services().first().and_then(|_| names.next());
    let version = |version: &semver::Version| Version {
        major: version.major,
        minor: version.minor,
        patch: version.patch,
        pre: Some(version.pre.to_string()).filter(|text| !text.is_empty()),
        build: Some(version.build.to_string()).filter(|text| !text.is_empty()),
    };
    let binding = |(interface, label): &(InterfaceName, Option<String>)| InterfaceBinding {
        namespace: interface.namespace.clone(),
        package: interface.package.clone(),
        interfaces: vec![interface.interface.clone()],
        version: interface.version.as_ref().map(version),
        name: label.clone(),
        external_id: None,
        config: Vec::new(),
    };
    WorkloadInfo {
        id: workload.id(),
        name: workload.name.to_string(),
        namespace: workload.namespace.to_string(),
        service,
        components: names.collect(),
        interfaces: uses.iter().map(binding).collect(),
    }
}

/// Loads the bindings in an instance of its own, whose caller is then the workload that the call concerns.
fn load(accessor: &Accessor<StoreData>, exports: &Bindings, workload: &str) -> wasmtime::Result<Arc<Plugin>> {
    accessor.with(|mut access| {
        let concerns = access.data_mut().unit_state().get_or_insert_with(Concerns::default);
        concerns.0 = Some(workload.to_owned());
        exports.get_or_load(|instance| Plugin::new(&mut access, instance))
    })
}

struct Bind(WorkloadInfo);

impl ConcurrentCall for Bind {
    type Output = Result<(), String>;
    const SHARES: bool = false;

    async fn call(self, accessor: &Accessor<StoreData>, exports: Bindings) -> wasmtime::Result<Self::Output> {
        let plugin = load(accessor, &exports, &self.0.id)?;
        plugin.wasmcloud_host_workload_lifecycle().call_on_workload_bind(accessor, self.0).await
    }
}

struct Unbind(String);

impl ConcurrentCall for Unbind {
    type Output = ();
    const SHARES: bool = false;

    async fn call(self, accessor: &Accessor<StoreData>, exports: Bindings) -> wasmtime::Result<()> {
        let plugin = load(accessor, &exports, &self.0)?;
        plugin.wasmcloud_host_workload_lifecycle().call_on_workload_unbind(accessor, self.0).await
    }
}
