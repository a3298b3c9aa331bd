//! Components of the host's own, which it provides to every workload.
//!
//! They are declared as a workload of the host: with config, stores, volumes and hosts of their own. Their code is fused into each unit
//! that imports from them, so that a call costs what a sibling's costs, and runs there with the grants of the host's workload, which
//! opens once, with the first workload that uses one of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::OnceCell;
use wharf_api::PluginHealth;
use workload::manifest::Source;
use workload::resolve::conflicts;
use workload::{ComponentType, Name, Problem, Workload};

use super::running::Running;
use super::start::{self, StartError};
use super::{Host, Inner};
use crate::prepare::load::LoadedCode;

pub(super) mod lifecycle;

/// The components that a host provides.
pub(super) struct ProvidedComponents {
    /// Their workload, with their code in it.
    workload: Workload,
    pub(super) code: BTreeMap<Name, LoadedCode>,
    /// What they offer to workloads.
    pub(super) offered: workload::resolve::Provided,
    /// Their workload as it runs.
    running: OnceCell<Arc<Running>>,
}

impl Host {
    /// Provides components to every workload that starts from now on: a workload's import that no component of its own satisfies is
    /// satisfied by a provided component, before plugins and WASI are asked. The provided component is fused into the workload's
    /// units, so that a call of it is a direct one, and keeps its own grants: `provided` declares them, with its stores, volumes and
    /// secrets, and the workload neither sees nor shares them. It is not bound by what the host lets manifests do.
    ///
    /// A provided component that imports `wasmcloud:host/identity` learns who calls it, and one that exports
    /// `wasmcloud:host/workload-lifecycle` hears of the workloads that use it.
    ///
    /// The name and the namespace of `provided` are replaced by the host's own.
    ///
    /// # Errors
    /// [`StartError::Invalid`] with every problem, also when two components offer one interface, and
    /// [`StartError::AlreadyRunning`] when components were provided before.
    pub async fn provide(&self, provided: Workload) -> Result<(), StartError> {
        let mut workload = provided;
        (workload.namespace, workload.name) = own_id();
        let id = workload.id();
        let (mut workload, mut plan) = start::prepare_own(&self.0, workload).await?;
        for (name, component) in &mut workload.components {
            if let Some(code) = plan.loaded.code.get(name) {
                component.source = Source::Bytes(code.original().clone());
                component.digest = None;
            }
        }
        let types = std::mem::take(&mut plan.loaded.types);
        let deaf: Vec<_> = workload.components.keys().filter(|name| is_deaf(&workload, &types, name)).collect();
        let deaf: Vec<_> = deaf.into_iter().map(service_that_hears).collect();
        let offered = workload::resolve::Provided::new(types, plan.resolution);
        let problems: Vec<_> = conflicts(&offered).into_iter().map(conflict).chain(deaf).collect();
        if !problems.is_empty() {
            return Err(StartError::Invalid { unloaded: Vec::new(), problems });
        }
        let components = ProvidedComponents { workload, code: plan.loaded.code, offered, running: OnceCell::new() };
        self.0.provided.set(components).map_err(|_| StartError::AlreadyRunning { id })
    }
}

impl Host {
    /// The health of the plugins behind the provided components that a workload uses.
    pub(super) async fn provided_health(&self, workload: &Running) -> Vec<PluginHealth> {
        let Some(running) = self.0.provided.get().and_then(|provided| provided.running.get()) else {
            return Vec::new();
        };
        if workload.provided().is_empty() {
            return Vec::new();
        }
        let of_host = |health: PluginHealth| PluginHealth {
            detail: health.detail.map(|detail| format!("for the host's own components: {detail}")),
            ..health
        };
        running.health().await.into_iter().filter(|health| !health.healthy).map(of_host).collect()
    }
}

/// The namespace and the name of the host's workload.
fn own_id() -> (Name, Name) {
    #[allow(clippy::expect_used, reason = "both are kebab-case")]
    let name = |text: &str| Name::new(text).expect("kebab-case");
    (name(Workload::HOST_NAMESPACE), name("provided"))
}

/// Whether a component is a service that exports the lifecycle: its one instance would have to answer while it runs.
fn is_deaf(workload: &Workload, types: &BTreeMap<Name, ComponentType>, name: &Name) -> bool {
    let hears = |ty: &ComponentType| ty.exports().iter().any(|export| export.name.starts_with(lifecycle::INTERFACE));
    workload.components[name].service.is_some() && types.get(name).is_some_and(hears)
}

fn service_that_hears(name: &Name) -> Problem {
    Problem::Invalid {
        place: format!("components.{name}.service"),
        message: format!("`{name}` exports `wasmcloud:host/workload-lifecycle`, which a service cannot answer"),
        hint: Some("export it from a component of its own, which shares a store with the service".to_owned()),
    }
}

fn conflict((interface, components): (String, Vec<Name>)) -> Problem {
    let names: Vec<_> = components.iter().map(|name| format!("`{name}`")).collect();
    Problem::Invalid {
        place: components.last().map_or_else(String::new, |name| format!("components.{name}")),
        message: format!("{} offer `{interface}`, and a workload's import can have one of them", names.join(" and ")),
        hint: Some("remove one of them, or let one import it from the other".to_owned()),
    }
}

impl ProvidedComponents {
    /// The workload of the components, which starts when it is first asked for.
    pub(super) async fn running(&self, host: &Arc<Inner>) -> Result<&Arc<Running>, StartError> {
        let start = async {
            let compiled = start::compile_own(host, self.workload.clone()).await?;
            let running = Arc::new(start::open(host, compiled).await?);
            running.start_services(&running.declared_services()).await;
            Ok(running)
        };
        self.running.get_or_try_init(|| start).await.map_err(|error| StartError::Provided(Box::new(error)))
    }

    /// Stops the workload of the components, when no other one is left.
    pub(super) async fn stop(&self, deadline: tokio::time::Instant) {
        if let Some(running) = self.running.get() {
            running.stop(deadline).await;
        }
    }
}
