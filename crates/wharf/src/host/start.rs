//! `Workload` → [`Running`], along the whole line: load, resolve, fuse, compile, link, grant.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::Instrument as _;
use wharf_api::{ApiError, Diagnostic, ErrorCode};
use workload::{Name, Problem, Severity, Workload};

use super::Inner;
use super::plan::{Plan, plan};
use super::running::Running;
use super::trigger::TriggerError;
use crate::engine::compile::CompileError;
use crate::limits::LimitTracker;
use crate::prepare::fuse::{FuseError, Fused, fuse};
use crate::prepare::grant::{GrantError, Grants, grant};
use crate::prepare::link::{LinkError, link};
use crate::prepare::load::{LoadError, LoadedCode};
use crate::prepare::slots::UnitSlots;
use crate::run::entry::{Code, Entry};
use crate::run::policy::Policy;
use crate::run::tracker::CallTracker;
use crate::store::{ResourceSize, Unit};
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
    Plugin(#[from] GrantError),
    /// The components cannot be fused.
    #[error(transparent)]
    Fuse(#[from] FuseError),
    /// The engine cannot compile a component.
    #[error(transparent)]
    Compile(#[from] CompileError),
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
    /// Its place in the manifest, as a dotted path; `None` when it concerns no single part, or several.
    pub fn place(&self) -> Option<String> {
        match self {
            Self::Plugin(error) => error.place(),
            Self::Fuse(error) => Some(format!("components.{}", error.entry)),
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
            Self::Plugin(error) => error.error.advice().map(str::to_owned),
            Self::Trigger { error, .. } => error.advice().map(str::to_owned),
            _ => None,
        }
    }
}

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::AlreadyRunning { .. } => ErrorCode::AlreadyRunning,
            StartError::NotRunning { .. } => ErrorCode::NotRunning,
            StartError::Invalid { unloaded, problems } => {
                let loads = unloaded
                    .iter()
                    .map(|error| Diagnostic::error(error.to_string()).at(error.place()).with_hint(error.hint()));
                let api = Self::new(ErrorCode::Invalid, "invalid workload").with_diagnostics(loads);
                return api.with_diagnostics(problems);
            }
            StartError::Plugin(_) | StartError::Trigger { .. } => ErrorCode::Refused,
            StartError::ShuttingDown => ErrorCode::ShuttingDown,
            _ => ErrorCode::Failed,
        };
        // The messages of this crate include those of their sources.
        let api = Self::new(code, error.to_string());
        if error.place().is_none() && error.hint().is_none() {
            return api;
        }
        let mut diagnostic = Diagnostic::error(error.to_string());
        diagnostic.place = error.place();
        diagnostic.hint = error.hint();
        api.with_diagnostic(diagnostic)
    }
}

/// Starts a workload up to its services and triggers.
pub(super) async fn start(host: &Arc<Inner>, workload: Workload) -> Result<Running, StartError> {
    let prepared = prepare(host, workload).await?;
    let id = prepared.workload.id();
    let linking = prepared.units.iter().map(|unit| compile_and_link(host, &prepared, unit));
    let linked = futures_util::future::try_join_all(linking).await?;
    let Prepared { workload, plan, units } = prepared;
    let slots: Vec<&UnitSlots> = units.iter().map(|unit| &unit.slots).collect();
    let (resolution, types) = (&plan.resolution, &plan.loaded.types);
    let span = tracing::debug_span!("grant", workload = id);
    let grants = grant(&workload, resolution, types, &host.plugins, &slots).instrument(span).await?;
    let calls = Arc::new(CallTracker::new(host.ceilings.instances));
    let mut entries = BTreeMap::new();
    for (unit, code) in units.into_iter().zip(linked) {
        let entry = entry(host, &workload, &unit, code, &grants, &calls);
        entry.refill();
        entries.insert(unit.entry, entry);
    }
    Ok(Running::new(workload, entries, calls, plan.problems, grants))
}

/// A workload that is resolved and fused.
struct Prepared {
    workload: Workload,
    plan: Plan,
    units: Vec<PreparedUnit>,
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

async fn prepare(host: &Arc<Inner>, workload: Workload) -> Result<Prepared, StartError> {
    let inner = host.clone();
    plan(host, workload, move |workload, plan| {
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
        let units = units.collect::<Result<Vec<_>, FuseError>>()?;
        Ok(Prepared { workload, plan, units })
    })
    .await
}

async fn compile_and_link(host: &Inner, prepared: &Prepared, unit: &PreparedUnit) -> Result<Code, StartError> {
    let (compiler, id) = (host.engine.compiler(), prepared.workload.id());
    let compiling = tracing::debug_span!("compile", workload = id, component = %unit.entry);
    match &unit.code {
        UnitCode::Component(fused) => {
            let compiled = compiler.compile(fused.bytes.clone()).instrument(compiling).await?;
            let component = compiled.get().ok_or(StartError::Interrupted)?;
            let _span = tracing::debug_span!("link", workload = id, component = %unit.entry).entered();
            let pre = link(fused, &unit.slots, &prepared.plan.resolution, component, &host.plugins)?;
            Ok(Code::Component { pre, compiled })
        }
        UnitCode::Program(module) => {
            let compiled = compiler.compile_module(module.clone()).instrument(compiling).await?;
            let module = compiled.get().ok_or(StartError::Interrupted)?;
            let rejected = |error| LinkError::Rejected(format!("{error:#}"));
            let pre = p1::link(host.engine.wasmtime(), module).map_err(rejected)?;
            Ok(Code::Program { pre, _compiled: compiled })
        }
    }
}

fn entry(
    host: &Inner,
    workload: &Workload,
    unit: &PreparedUnit,
    code: Code,
    grants: &Grants,
    calls: &Arc<CallTracker>,
) -> Arc<Entry> {
    let declared = &workload.components[&unit.entry];
    let limits = host.limits.overridden_by(&declared.limits);
    let tracker = Arc::new(LimitTracker::new(workload.id().into(), unit.entry.clone(), limits, host.dedicated));
    let sizes: Arc<dyn ResourceSize> = host.plugins.clone();
    let slots = grants.contexts(&unit.slots, &host.plugins);
    let unit_data = Unit { slots, components: unit.slots.components(), sizes, tracker };
    let policy = Policy::from_manifest(&declared.instances);
    Entry::new(&host.engine, unit.entry.clone(), code, Arc::new(unit_data), policy, calls.clone())
}
