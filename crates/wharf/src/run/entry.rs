//! Entry: a unit that is ready to run, through which its calls are made.

use std::sync::Arc;

use wasmtime::component::{Component, InstancePre};
use wasmtime::{Module, Store};
use workload::Name;

use super::admission::{self, AdmissionError, CallPermit, ConcurrencyLimit};
use super::meter::Meter;
use super::policy::Policy;
use super::pool::InstancePool;
use super::service::ServiceInstance;
use super::tracker::CallTracker;
use crate::engine::Engine;
use crate::engine::background::BackgroundPool;
use crate::engine::compile::{Compiled, Modules};
use crate::engine::core_dump::CoreDumps;
use crate::limits::{LimitTracker, Limits};
use crate::store::{ComponentContext, StoreData, Unit, end_of_slice, max_handles};

/// A unit that is ready to run: a component with all that it imports, fused, compiled and linked.
pub struct Entry {
    name: Name,
    pub(super) code: Code,
    pub(super) unit: Arc<Unit>,
    pub(super) policy: Policy,
    pub(super) calls: Arc<CallTracker>,
    pub(super) concurrency: ConcurrencyLimit,
    pub(super) background: Arc<BackgroundPool>,
    pub(super) core_dumps: Option<Arc<CoreDumps>>,
    pub(super) pool: InstancePool,
    /// The instance of a service that takes calls.
    pub(super) service: Option<ServiceInstance>,
}

/// The compiled and linked code of a unit. Holding the compiled code keeps it from being compiled again for another workload.
pub(crate) enum Code {
    /// A component.
    Component {
        /// With its imports.
        pre: InstancePre<StoreData>,
        /// The compiled component.
        compiled: Compiled,
        /// What it imports. Held, so that other workloads find them.
        #[allow(dead_code, reason = "held for its lifetime")]
        modules: Modules,
    },
    /// A core module that is a program of WASI 0.1.
    Program {
        /// With its imports.
        pre: wasmtime::InstancePre<StoreData>,
        /// The compiled module.
        compiled: Compiled<Module>,
    },
}

/// The compiled code of a unit, before it is linked.
#[derive(Clone)]
pub(crate) enum CompiledCode {
    /// A component, and the modules that it imports, whose names are made from their content.
    Component(Compiled, Modules),
    /// A core module that is a program of WASI 0.1.
    Program(Compiled<Module>),
}

impl Entry {
    pub(crate) fn new(
        engine: &Engine,
        name: Name,
        code: Code,
        unit: Arc<Unit>,
        policy: Policy,
        calls: Arc<CallTracker>,
    ) -> Arc<Self> {
        let concurrency = unit.tracker.limits().concurrency;
        let concurrency = concurrency.min(policy.max_concurrent().unwrap_or(u32::MAX));
        Arc::new(Self {
            name,
            code,
            policy,
            calls,
            concurrency: ConcurrencyLimit::new(concurrency),
            unit,
            background: engine.background().clone(),
            core_dumps: engine.core_dumps().cloned(),
            pool: InstancePool::new(policy),
            service: (policy == Policy::Service).then(ServiceInstance::default),
        })
    }

    /// The entry component's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The pre-instantiated unit, for generated bindings that start from one; `None` for a program of WASI 0.1.
    pub fn pre(&self) -> Option<&InstancePre<StoreData>> {
        match &self.code {
            Code::Component { pre, .. } => Some(pre),
            Code::Program { .. } => None,
        }
    }

    /// The unit's compiled component; `None` for a program of WASI 0.1.
    pub fn component(&self) -> Option<&Component> {
        match &self.code {
            Code::Component { compiled, .. } => compiled.get(),
            Code::Program { .. } => None,
        }
    }

    /// Whether the unit runs this code. The same bytes are compiled once, so that their code is the same value.
    pub(crate) fn runs(&self, code: &CompiledCode) -> bool {
        match (&self.code, code) {
            (Code::Component { compiled, .. }, CompiledCode::Component(code, _)) => Arc::ptr_eq(compiled, code),
            (Code::Program { compiled, .. }, CompiledCode::Program(code)) => Arc::ptr_eq(compiled, code),
            _ => false,
        }
    }

    /// The components of the unit.
    pub(crate) fn components(&self) -> impl Iterator<Item = &Name> {
        self.unit.slots[..self.unit.components].iter().map(|slot| &slot.component)
    }

    /// The entry component, with the values that plugins bound to it.
    pub fn context(&self) -> &ComponentContext {
        // The entry is a unit's last component.
        &self.unit.slots[self.unit.components - 1]
    }

    /// The unit's limits, and how often each was reached.
    pub fn tracker(&self) -> &Arc<LimitTracker> {
        &self.unit.tracker
    }

    /// The unit's limits.
    pub fn limits(&self) -> &Limits {
        self.unit.tracker.limits()
    }

    /// How the unit's instances are made and kept.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The number of instances that are ready for a call.
    pub fn ready(&self) -> usize {
        self.pool.ready()
    }

    /// Admits a call, now or when others have ended. The call counts until the permit is dropped.
    ///
    /// # Errors
    /// [`AdmissionError`] when the queue is full, the call waited too long, or the workload has stopped.
    pub async fn admit(self: &Arc<Self>) -> Result<CallPermit, AdmissionError> {
        admission::admit(self).await
    }

    /// A meter for one call, with the unit's limits.
    pub fn meter(&self) -> Arc<Meter> {
        Meter::new(&self.unit.tracker, &self.calls)
    }

    /// A meter for a command or a service, which is limited in time by its manifest alone.
    pub(crate) fn untimed_meter(&self, declared: &workload::manifest::Limits) -> Arc<Meter> {
        let limits = self.limits().clone().without_default_times(declared);
        Arc::new(Meter::with_limits(&self.unit.tracker, &self.calls, limits.time, limits.cpu))
    }

    /// A store for one instance of this unit, with its limits.
    pub(super) fn store(&self, meter: &Arc<Meter>) -> wasmtime::Result<Store<StoreData>> {
        let reservation = self.calls.reserve_instance()?.map(|reservation| Box::new(reservation) as _);
        let engine = match &self.code {
            Code::Component { pre, .. } => pre.engine(),
            Code::Program { pre, .. } => pre.module().engine(),
        };
        let mut store = Store::new(engine, StoreData::new(self.unit.clone(), reservation));
        store.data_mut().set_timekeeper(Some(meter.clone()));
        store.limiter(|data| data);
        let memory = self.limits().memory;
        store.set_max_component_handles(max_handles(memory));
        // The engine copies the arguments of a host call before any other limit is checked.
        store.set_hostcall_fuel(usize::try_from(memory).unwrap_or(usize::MAX).min(store.hostcall_fuel()));
        store.epoch_deadline_callback(end_of_slice);
        store.set_epoch_deadline(1);
        Ok(store)
    }
}
