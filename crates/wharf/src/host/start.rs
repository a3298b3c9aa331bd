//! `Workload` → [`Compiled`] → [`Running`], along the whole line: load, resolve, fuse, compile, link, grant.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use tracing::Instrument as _;
use wasmtime_wasi::p3::bindings::CommandIndices;
use wharf_api::{ApiError, Diagnostic, ErrorCode};
use workload::manifest::Component;
use workload::{Name, Problem, Severity, Workload};

use super::Inner;
use super::plan::{Owner, Plan, plan};
use super::provided::lifecycle;
use super::running::Running;
use super::trigger::TriggerError;
use crate::engine::compile::CompileError;
use crate::limits::LimitTracker;
use crate::prepare::fuse::{FuseError, Fused, fuse};
use crate::prepare::grant::{GrantError, grant};
use crate::prepare::link::{LinkError, link};
use crate::prepare::load::{LoadError, LoadedCode};
use crate::prepare::slots::UnitSlots;
use crate::run::entry::{Code, CompiledCode, Entry};
use crate::run::policy::Policy;
use crate::run::tracker::CallTracker;
use crate::store::{ComponentContext, ResourceSize, Unit};
use crate::wasi::p1;

/// Why a workload does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A workload of this id is running, starting or stopping.
    #[error("workload `{id}` is already running")]
    AlreadyRunning {
        /// The id.
        id: String,
    },
    /// No workload of this id is running, so there is none to replace.
    #[error("no workload `{id}` is running")]
    NotRunning {
        /// The id.
        id: String,
    },
    /// The workload is not valid, or cannot be loaded or resolved: every error, and the warnings.
    #[error("invalid workload: {}", summary(unloaded, problems))]
    Invalid {
        /// The components that could not be loaded.
        unloaded: Vec<LoadError>,
        /// The other problems, warnings among them.
        problems: Vec<Problem>,
    },
    /// A plugin refuses the workload or a component.
    #[error(transparent)]
    Plugin(GrantError),
    /// The components cannot be fused.
    #[error(transparent)]
    Fuse(#[from] FuseError),
    /// The engine cannot compile a unit.
    #[error("`{entry}`: {error}")]
    Compile {
        /// The unit's entry.
        entry: Name,
        /// Why.
        #[source]
        error: CompileError,
    },
    /// An import does not match what the host provides.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A trigger refuses the workload.
    #[error("trigger `{trigger}` refuses the workload: {error}")]
    Trigger {
        /// The trigger.
        trigger: String,
        /// Why.
        #[source]
        error: TriggerError,
    },
    /// A component that the host provides refuses the workload.
    #[error("the host's component `{component}` refuses the workload: {message}")]
    Refused {
        /// The component's name on the host.
        component: Name,
        /// Why.
        message: String,
    },
    /// The components that the host provides do not start. Places are those of the host's own workload.
    #[error("the host's own components do not start: {0}")]
    Provided(#[source] Box<StartError>),
    /// Several of these errors.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<StartError>),
    /// The workload was stopped before it had started.
    #[error("workload `{id}` was stopped before it started")]
    Stopped {
        /// The id.
        id: String,
    },
    /// The host is shutting down.
    #[error("the host is shutting down")]
    ShuttingDown,
    /// A thread that worked for the start ended early.
    #[error("the start was interrupted")]
    Interrupted,
}

fn summary(unloaded: &[LoadError], problems: &[Problem]) -> String {
    let loads = unloaded.iter().map(ToString::to_string);
    let errors = problems.iter().filter(|p| p.severity() == Severity::Error).map(ToString::to_string);
    loads.chain(errors).collect::<Vec<_>>().join("; ")
}

impl StartError {
    /// Combines errors into one. `None` if there are none.
    pub(super) fn several(errors: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut all = Vec::new();
        for error in errors {
            match error {
                Self::Several(errors) => all.extend(errors),
                error => all.push(error),
            }
        }
        if all.len() > 1 { Some(Self::Several(all)) } else { all.pop() }
    }

    /// The errors of [`Several`](Self::Several), or this one alone.
    pub fn each(&self) -> &[Self] {
        match self {
            Self::Several(errors) => errors,
            one => std::slice::from_ref(one),
        }
    }

    /// Its place in the manifest, as a dotted path; `None` when it concerns no single part, or several.
    pub fn place(&self) -> Option<String> {
        match self {
            Self::Plugin(error) => error.place(),
            Self::Fuse(error) => Some(format!("components.{}", error.entry)),
            Self::Compile { entry, .. } => Some(format!("components.{entry}")),
            Self::Link(LinkError::Import { component, .. }) => Some(format!("components.{component}")),
            Self::Trigger { error, .. } => error.place().map(str::to_owned),
            _ => None,
        }
    }

    /// What to do about it, where the error itself does not say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::AlreadyRunning { .. } => Some("stop it first, update it, or give this one another name".into()),
            Self::NotRunning { .. } => Some("start it instead".into()),
            Self::Provided(_) => {
                Some("the host's operator has to correct it: `provided` in the host's configuration".into())
            }
            Self::Plugin(error) => error.error.advice().map(str::to_owned),
            Self::Trigger { error, .. } => error.advice().map(str::to_owned),
            _ => None,
        }
    }
}

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        let code = match &error.each()[0] {
            StartError::AlreadyRunning { .. } => ErrorCode::AlreadyRunning,
            StartError::NotRunning { .. } => ErrorCode::NotRunning,
            StartError::Invalid { unloaded, problems } => {
                let loads = unloaded
                    .iter()
                    .map(|error| Diagnostic::error(error.to_string()).at(error.place()).with_hint(error.hint()));
                let api = Self::new(ErrorCode::Invalid, "invalid workload").with_diagnostics(loads);
                return api.with_diagnostics(problems);
            }
            StartError::Plugin(_) | StartError::Trigger { .. } | StartError::Refused { .. } => ErrorCode::Refused,
            StartError::ShuttingDown => ErrorCode::ShuttingDown,
            _ => ErrorCode::Failed,
        };
        // The messages of this crate include those of their sources.
        let api = Self::new(code, error.to_string());
        let located: Vec<_> = error.each().iter().filter(|e| e.place().is_some() || e.hint().is_some()).collect();
        let diagnostics = located.into_iter().map(|error| {
            let mut diagnostic = Diagnostic::error(error.to_string());
            diagnostic.place = error.place();
            diagnostic.hint = error.hint();
            diagnostic
        });
        api.with_diagnostics(diagnostics)
    }
}

/// A workload that is compiled.
pub(super) struct Compiled {
    workload: Workload,
    plan: Plan,
    units: Vec<PreparedUnit>,
    /// The code of each unit.
    code: Vec<CompiledCode>,
}

struct PreparedUnit {
    entry: Name,
    slots: UnitSlots,
    code: UnitCode,
}

/// The code of a unit before it is compiled.
enum UnitCode {
    Component(Fused),
    /// A program of WASI 0.1 that no other component is fused with.
    Program(Arc<[u8]>),
}

/// Takes a workload along the line until it is compiled.
pub(super) async fn compile(host: &Arc<Inner>, workload: Workload) -> Result<Compiled, StartError> {
    compile_by(host, prepare(host, workload, Owner::User).await?).await
}

/// The same for the workload of the components that the host provides.
pub(super) async fn compile_own(host: &Arc<Inner>, workload: Workload) -> Result<Compiled, StartError> {
    compile_by(host, prepare(host, workload, Owner::Host).await?).await
}

/// Takes the workload of the components that the host provides along the line until it is resolved.
pub(super) async fn prepare_own(host: &Arc<Inner>, workload: Workload) -> Result<(Workload, Plan), StartError> {
    let (workload, plan, _) = prepare(host, workload, Owner::Host).await?;
    Ok((workload, plan))
}

async fn compile_by(
    host: &Arc<Inner>,
    (workload, plan, units): (Workload, Plan, Vec<PreparedUnit>),
) -> Result<Compiled, StartError> {
    let compiling = units.iter().map(|unit| compile_unit(host, &workload, unit));
    let code = all(join_all(compiling).await)?;
    Ok(Compiled { workload, plan, units, code })
}

impl Compiled {
    /// Whether a running version is declared in the same words and has the same code.
    pub(super) fn is_version(&self, running: &Running) -> bool {
        let same = |(unit, code): (&PreparedUnit, &CompiledCode)| {
            running.entry(unit.entry.as_str()).is_some_and(|entry| entry.runs(code))
        };
        self.workload == *running.workload()
            && self.units.len() == running.entries().count()
            && self.units.iter().zip(&self.code).all(same)
    }
}

/// Takes a compiled workload to the end of the line, up to its services and triggers.
pub(super) async fn open(host: &Arc<Inner>, compiled: Compiled) -> Result<Running, StartError> {
    let Compiled { workload, plan, units, code } = compiled;
    let id = workload.id();
    let link = |(unit, code)| link_unit(host, &id, &plan, unit, code);
    let linked = all(units.iter().zip(code).map(link))?;
    // Before the workload's own plugins open, which would have to be closed again.
    let provided = match host.provided.get().filter(|_| !plan.resolution.provided.is_empty()) {
        Some(provided) => Some(Box::pin(provided.running(host)).await?),
        None => None,
    };
    let slots: Vec<&UnitSlots> = units.iter().map(|unit| &unit.slots).collect();
    let (resolution, types) = (&plan.resolution, &plan.loaded.types);
    let span = tracing::debug_span!("grant", workload = id);
    let operation = host.operations.token();
    let granted = grant(&workload, resolution, types, &host.plugins, &slots, operation).instrument(span).await;
    let refused = |errors: Vec<GrantError>| {
        StartError::several(errors.into_iter().map(StartError::Plugin)).unwrap_or(StartError::Interrupted)
    };
    let grants = granted.map_err(refused)?;
    // The host's own components are not bound by what it lets manifests have.
    let calls = Arc::new(CallTracker::new(host.ceilings.instances.filter(|_| !workload.is_of_host())));
    let provided = match provided {
        Some(running) => Some(running.grants().await),
        None => None,
    };
    let mut entries = BTreeMap::new();
    for (unit, code) in units.into_iter().zip(linked) {
        let slots = grants.contexts(&unit.slots, &resolution.provided, provided.as_deref(), &host.plugins);
        let entry = entry(host, &workload, &unit, code, slots, &calls);
        entry.refill();
        entries.insert(unit.entry, entry);
    }
    drop(provided);
    Ok(Running::new(workload, entries, calls, lifecycle::uses(resolution), plan.problems, grants))
}

/// All results, or all errors.
fn all<T>(results: impl IntoIterator<Item = Result<T, StartError>>) -> Result<Vec<T>, StartError> {
    let (mut done, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(error) => errors.push(error),
        }
    }
    StartError::several(errors).map_or(Ok(done), Err)
}

async fn prepare(
    host: &Arc<Inner>,
    workload: Workload,
    owner: Owner,
) -> Result<(Workload, Plan, Vec<PreparedUnit>), StartError> {
    let inner = host.clone();
    plan(host, workload, owner, move |workload, plan| {
        if !plan.is_runnable() {
            return Err(StartError::Invalid { unloaded: plan.unloaded, problems: plan.problems });
        }
        let _span = tracing::debug_span!("fuse", workload = workload.id()).entered();
        let units = plan.resolution.units.iter().map(|unit| {
            let slots = UnitSlots::assign(unit, &plan.resolution, &inner.plugins);
            let code = match (unit.components.as_slice(), &plan.loaded.code[&unit.entry]) {
                ([_], LoadedCode::Program { module, .. }) => UnitCode::Program(module.clone()),
                _ => UnitCode::Component(fuse(unit, &plan.resolution, &plan.loaded.code)?),
            };
            Ok(PreparedUnit { entry: unit.entry.clone(), slots, code })
        });
        let units = all(units)?;
        Ok((workload, plan, units))
    })
    .await
}

async fn compile_unit(host: &Inner, workload: &Workload, unit: &PreparedUnit) -> Result<CompiledCode, StartError> {
    let compiler = host.engine.compiler();
    let span = tracing::debug_span!("compile", workload = workload.id(), component = %unit.entry);
    let compiled = async {
        match &unit.code {
            UnitCode::Component(fused) => {
                let (component, modules) = compiler.compile_unit(fused.bytes.clone()).await?;
                Ok(CompiledCode::Component(component, modules))
            }
            UnitCode::Program(module) => Ok(CompiledCode::Program(compiler.compile_module(module.clone()).await?)),
        }
    };
    compiled.instrument(span).await.map_err(|error| StartError::Compile { entry: unit.entry.clone(), error })
}

fn link_unit(host: &Inner, id: &str, plan: &Plan, unit: &PreparedUnit, code: CompiledCode) -> Result<Code, StartError> {
    let _span = tracing::debug_span!("link", workload = id, component = %unit.entry).entered();
    match (&unit.code, code) {
        (UnitCode::Component(fused), CompiledCode::Component(compiled, modules)) => {
            let component = compiled.get().ok_or(StartError::Interrupted)?;
            let linked = link(fused, &unit.slots, &plan.resolution, (component, &modules), &host.plugins);
            let pre = linked.map_err(|errors| {
                let errors = errors.into_iter().map(StartError::Link);
                StartError::several(errors).unwrap_or(StartError::Interrupted)
            })?;
            Ok(Code::Component { pre, compiled, modules })
        }
        (UnitCode::Program(_), CompiledCode::Program(compiled)) => {
            let module = compiled.get().ok_or(StartError::Interrupted)?;
            let rejected = |error| LinkError::Rejected(format!("{error:#}"));
            let pre = p1::link(host.engine.wasmtime(), module).map_err(rejected)?;
            Ok(Code::Program { pre, compiled })
        }
        // A unit's code is compiled as what it is.
        _ => Err(StartError::Interrupted),
    }
}

fn entry(
    host: &Inner,
    workload: &Workload,
    unit: &PreparedUnit,
    code: Code,
    slots: Vec<Arc<ComponentContext>>,
    calls: &Arc<CallTracker>,
) -> Arc<Entry> {
    let declared = &workload.components[&unit.entry];
    let limits = host.limits.overridden_by(&declared.limits);
    let tracker = Arc::new(LimitTracker::new(
        workload.id().into(),
        unit.entry.clone(),
        limits,
        host.dedicated,
        host.logs.of(&workload.id()),
    ));
    let sizes: Arc<dyn ResourceSize> = host.plugins.clone();
    let unit_data = Unit { slots, components: unit.slots.components(), sizes, tracker };
    let policy = policy(declared, &code);
    Entry::new(&host.engine, unit.entry.clone(), code, Arc::new(unit_data), policy, calls.clone())
}

/// The instance policy of a unit. A service whose instance can serve calls while it runs serves them all.
fn policy(declared: &Component, code: &Code) -> Policy {
    let serves_calls = |pre| CommandIndices::new(pre).is_ok();
    match code {
        Code::Component { pre, .. } if declared.service.is_some() && serves_calls(pre) => Policy::Service,
        _ => declared.instances.as_ref().map_or(Policy::Fresh, Policy::from_manifest),
    }
}
