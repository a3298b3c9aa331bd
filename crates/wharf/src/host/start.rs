//! `Workload` → [`Running`], along the whole line: load, resolve, fuse, compile, link.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use workload::manifest::Volume;
use workload::{Name, Problem, Severity, Workload};

use super::{Inner, Plan, Running};
use crate::compile::CompileError;
use crate::ctx::{ComponentGrants, Unit};
use crate::fuse::{FuseError, Fused, fuse};
use crate::limits::Guard;
use crate::link::{LinkError, link};
use crate::load::{LoadError, load};
use crate::plugin::{Binding, PluginError};
use crate::policy::Policy;
use crate::pool::{Calls, Entry, Gate, Kept, Program};
use crate::wasi::grants::{Grants, VolumeError};
use crate::wasi::lookup::Lookups;
use crate::wasi::loopback::Loopback;
use crate::wasi::p1;

/// Why a workload does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A workload of this id runs already, or is starting or stopping.
    #[error("a workload `{id}` runs here already; stop it first, or give this one another name")]
    Running {
        /// The id.
        id: String,
    },
    /// There is no workload of this id to replace.
    #[error("no workload `{id}` runs here that could be replaced; start it instead")]
    NotRunning {
        /// The id.
        id: String,
    },
    /// It cannot be resolved; everything that stands in its way.
    #[error("the workload cannot run: {}", summary(unloaded, problems))]
    Unresolved {
        /// The components that could not be loaded.
        unloaded: Vec<LoadError>,
        /// The other problems, warnings among them.
        problems: Vec<Problem>,
    },
    /// A volume cannot be opened.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A folder for an ephemeral volume cannot be made.
    #[error("the ephemeral volume `{volume}` cannot be made: {error}")]
    Ephemeral {
        /// The volume.
        volume: Name,
        /// What the system says.
        error: std::io::Error,
    },
    /// A plugin refuses a component.
    #[error("the plugin `{plugin}` refuses `{component}`: {error}")]
    Plugin {
        /// The plugin.
        plugin: &'static str,
        /// The component.
        component: Name,
        /// Why.
        error: PluginError,
    },
    /// The components cannot be fused.
    #[error(transparent)]
    Fuse(#[from] FuseError),
    /// The engine cannot compile it.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// An import does not fit what the host provides.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A trigger cannot serve it.
    #[error("the trigger `{trigger}` cannot serve this workload: {detail}")]
    Trigger {
        /// The trigger.
        trigger: &'static str,
        /// Why.
        detail: String,
    },
    /// A thread that worked for it ended early.
    #[error("starting was interrupted")]
    Interrupted,
}

fn summary(unloaded: &[LoadError], problems: &[Problem]) -> String {
    let loads = unloaded.iter().map(ToString::to_string);
    let errors = problems.iter().filter(|p| p.severity() == Severity::Error).map(ToString::to_string);
    loads.chain(errors).collect::<Vec<_>>().join("; ")
}

pub(super) async fn start(host: &Arc<Inner>, workload: Workload) -> Result<Running, StartError> {
    let inner = host.clone();
    // Files, hashing, type checks and fusing would all keep an async thread from its other work.
    let prepared = tokio::task::spawn_blocking(move || prepare(&inner, workload)).await;
    let prepared = prepared.map_err(|_| StartError::Interrupted)??;
    let compiler = host.engine.compiler();
    let compiled = prepared.units.iter().map(|unit| compiler.compile(unit.bytes.clone()));
    let compiled = futures_util::future::try_join_all(compiled).await?;
    let calls = Arc::new(Calls::new(host.ceilings.instances));
    let id: Arc<str> = prepared.workload.id().into();
    let mut entries = BTreeMap::new();
    for (fused, compiled) in prepared.units.iter().zip(compiled) {
        let Some(name) = fused.components.last().cloned() else { continue };
        let program = match prepared.programs.get(&name) {
            Some(bytes) => Some(program(host, bytes).await?),
            None => None,
        };
        let component = compiled.get().ok_or(StartError::Interrupted)?;
        let pre = link(fused, component, host.engine.wasmtime(), &host.plugins)?;
        let components = fused.components.iter().map(|name| prepared.grants[name].clone()).collect();
        let declared = &prepared.workload.components[&name];
        let limits = host.limits.with(&declared.limits);
        let gate = Gate::new(limits.concurrency);
        let guard = Arc::new(Guard::new(id.clone(), name.clone(), limits, host.dedicated));
        let entry = Arc::new(Entry {
            name: name.clone(),
            pre,
            program,
            unit: Arc::new(Unit { components, plugins: host.plugins.clone(), guard }),
            policy: Policy::of(&declared.instances),
            calls: calls.clone(),
            gate,
            aside: host.engine.aside().clone(),
            dumps: host.engine.dumps().cloned(),
            compiled,
            kept: Kept::default(),
        });
        if entry.program.is_none() {
            entry.refill();
        }
        entries.insert(name, entry);
    }
    let Prepared { workload, warnings, volumes, .. } = prepared;
    Ok(Running {
        workload,
        entries,
        calls,
        started: Instant::now(),
        warnings,
        services: tokio::sync::Mutex::default(),
        _volumes: volumes,
    })
}

/// A core module that runs as it is, compiled and linked.
async fn program(host: &Inner, bytes: &Arc<[u8]>) -> Result<Program, StartError> {
    let compiled = host.engine.compiler().compile_module(bytes.clone()).await?;
    let module = compiled.get().ok_or(StartError::Interrupted)?;
    let refused = |error| StartError::Link(LinkError::Refused(format!("{error:#}")));
    let pre = p1::link(host.engine.wasmtime(), module).map_err(refused)?;
    Ok(Program { pre, _compiled: compiled })
}

/// A component in which there is nothing: what a program is seen as by whoever looks for functions to call.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

struct Prepared {
    workload: Workload,
    units: Vec<Fused>,
    /// The entries that are programs, each a unit by itself.
    programs: BTreeMap<Name, Arc<[u8]>>,
    grants: BTreeMap<Name, Arc<ComponentGrants>>,
    warnings: Vec<Problem>,
    volumes: Vec<tempfile::TempDir>,
}

impl Inner {
    pub(super) fn plan(&self, workload: &Workload) -> Plan {
        let (loaded, unloaded) = load(workload);
        let (resolution, mut problems) = workload::resolve(workload, &loaded.types, &self.interfaces);
        problems.extend(self.ceilings.problems(workload));
        Plan { loaded, resolution, unloaded, problems }
    }
}

fn prepare(host: &Inner, workload: Workload) -> Result<Prepared, StartError> {
    let plan = host.plan(&workload);
    if !plan.runs() {
        return Err(StartError::Unresolved { unloaded: plan.unloaded, problems: plan.problems });
    }
    let units = plan.resolution.units.iter().map(|unit| fuse(unit, &plan.resolution, &plan.loaded.bytes));
    let mut units = units.collect::<Result<Vec<_>, _>>()?;
    let mut programs = plan.loaded.programs.clone();
    programs.retain(|name, _| {
        let unit = units.iter_mut().find(|unit| unit.components.as_slice() == [name.clone()]);
        unit.map(|unit| *unit = Fused { bytes: EMPTY.into(), scoped: BTreeMap::new(), ..unit.clone() }).is_some()
    });
    let (folders, volumes) = folders(&workload)?;
    let places =
        Places { folders, loopback: Arc::default(), lookups: Lookups::new(host.ceilings.lookups.unwrap_or(LOOKUPS)) };
    let mut grants = BTreeMap::new();
    for name in workload.components.keys() {
        let grant = grant(host, &workload, name, &plan, &places)?;
        grants.insert(name.clone(), Arc::new(grant));
    }
    Ok(Prepared { workload, units, programs, grants, warnings: plan.problems, volumes })
}

/// What the components of a workload have in common.
struct Places {
    folders: BTreeMap<Name, PathBuf>,
    loopback: Arc<Loopback>,
    lookups: Lookups,
}

/// How many names a workload may look up at once, unless the host's ceilings say otherwise.
const LOOKUPS: u32 = 16;

/// Where each volume is on this host, and the folders that were made for the ephemeral ones.
fn folders(workload: &Workload) -> Result<(BTreeMap<Name, PathBuf>, Vec<tempfile::TempDir>), StartError> {
    let (mut folders, mut made) = (BTreeMap::new(), Vec::new());
    for (name, volume) in &workload.volumes {
        let path = match volume {
            Volume::Host { host } => host.clone(),
            Volume::Ephemeral { .. } => {
                let folder = tempfile::Builder::new().prefix("wharf-volume-").tempdir();
                let folder = folder.map_err(|error| StartError::Ephemeral { volume: name.clone(), error })?;
                let path = folder.path().to_owned();
                made.push(folder);
                path
            }
        };
        folders.insert(name.clone(), path);
    }
    Ok((folders, made))
}

fn grant(
    host: &Inner,
    workload: &Workload,
    name: &Name,
    plan: &Plan,
    places: &Places,
) -> Result<ComponentGrants, StartError> {
    let component = &workload.components[name];
    let folder =
        |mount: &workload::manifest::Mount| places.folders.get(&mount.volume).map(|path: &PathBuf| -> &Path { path });
    let wasi = Grants::open(name, component, host.stdio, host.dedicated, &places.loopback, &places.lookups, folder)?;
    let mut bindings = Vec::new();
    for plugin in &host.plugins {
        let uses = |provider: &workload::Provider| matches!(provider, workload::Provider::Plugin { plugin: name, .. } if name == plugin.name());
        if !plan.resolution.components[name].iter().any(|import| uses(&import.provider)) {
            continue;
        }
        let mut binding = Binding { workload, name, component, bindings: &mut bindings };
        let refused = |error| StartError::Plugin { plugin: plugin.name(), component: name.clone(), error };
        plugin.bind(&mut binding).map_err(refused)?;
    }
    Ok(ComponentGrants { workload: workload.id().into(), component: name.clone(), wasi, bindings })
}
