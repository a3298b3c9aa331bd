//! Entry → instances: which calls are let in, and how an instance is made or found for each.

mod calls;
pub mod shared;

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre};
use workload::Name;

pub use calls::{Busy, CallGuard};
pub(crate) use calls::{Calls, Gate, NoPlace, Place};

use crate::aside::Aside;
use crate::compile::Compiled;
use crate::ctx::{ComponentGrants, Ctx, Unit, max_handles};
use crate::driven::Driven;
use crate::dump::Dumps;
use crate::limits::{Guard, Limits};
use crate::meter::{Ended, Meter, slice_over};
use crate::policy::Policy;

/// A unit that is ready to run: what calls are made through.
pub struct Entry {
    pub(crate) name: Name,
    /// Of a [`Program`] an empty component, which has nothing to call.
    pub(crate) pre: InstancePre<Ctx>,
    pub(crate) program: Option<Program>,
    pub(crate) unit: Arc<Unit>,
    pub(crate) policy: Policy,
    pub(crate) calls: Arc<Calls>,
    pub(crate) gate: Gate,
    pub(crate) aside: Arc<Aside>,
    pub(crate) dumps: Option<Arc<Dumps>>,
    /// Keeps the code from being compiled again for the next workload that has it.
    pub(crate) compiled: Compiled,
    pub(crate) kept: Kept,
}

/// A core module of WASI 0.1 that runs as it is.
pub(crate) struct Program {
    pub(crate) pre: wasmtime::InstancePre<Ctx>,
    /// Keeps the code from being compiled again for the next workload that has it.
    pub(crate) _compiled: Compiled<wasmtime::Module>,
}

/// The instances that wait for a call.
#[derive(Default)]
pub(crate) struct Kept {
    /// The last that was put here is the first that is taken: the others get older, and go.
    ready: Mutex<Vec<Ready>>,
    /// Instances that serve calls, and take more.
    open: Mutex<Vec<Arc<shared::Shared>>>,
    refilling: AtomicBool,
    reaping: AtomicBool,
}

struct Ready {
    instance: Instantiated,
    since: Instant,
}

/// An instance of a unit, with the store that it lives in.
pub struct Instantiated {
    /// The store.
    pub store: Store<Ctx>,
    /// The instance.
    pub instance: Instance,
    /// What a caller keeps with the instance from one call to the next, such as its typed exports.
    pub kept: Option<Arc<dyn Any + Send + Sync>>,
    served: u32,
}

impl Entry {
    /// The entry component's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The pre-instantiated unit, for bindings that start from one.
    pub fn pre(&self) -> &InstancePre<Ctx> {
        &self.pre
    }

    /// The unit's compiled code.
    pub fn component(&self) -> Option<&Component> {
        self.compiled.get()
    }

    /// What the entry component was granted.
    pub fn grants(&self) -> &ComponentGrants {
        // A unit has its entry, and the entry is its last component.
        &self.unit.components[self.unit.components.len() - 1]
    }

    /// The unit's limits, and what was refused for them.
    pub fn guard(&self) -> &Arc<Guard> {
        &self.unit.guard
    }

    /// The unit's limits.
    pub fn limits(&self) -> &Limits {
        self.unit.guard.limits()
    }

    /// How the unit's instances are made and kept.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// How many instances wait for a call.
    pub fn ready(&self) -> usize {
        self.lock().len()
    }

    /// A store for one instance of this unit, within its limits. It is to be driven by [`drive`](Self::drive).
    ///
    /// # Errors
    /// When the workload has as many instances as the host's ceilings let it have.
    pub fn store(&self, meter: &Arc<Meter>) -> wasmtime::Result<Store<Ctx>> {
        let place = self.calls.place()?;
        let mut store = Store::new(self.pre.engine(), Ctx::new(self.unit.clone(), place));
        store.data_mut().metered_by(Some(meter.clone()));
        store.limiter(|ctx| ctx);
        let memory = self.limits().memory;
        store.set_max_component_handles(max_handles(memory));
        // What a call hands over in one go is copied before anything else is asked.
        store.set_hostcall_fuel(usize::try_from(memory).unwrap_or(usize::MAX).min(store.hostcall_fuel()));
        store.epoch_deadline_callback(slice_over);
        store.set_epoch_deadline(1);
        Ok(store)
    }

    /// A new count of a call's time, by the unit's limits.
    pub fn meter(&self) -> Arc<Meter> {
        Meter::new(&self.unit.guard, &self.calls)
    }

    /// A count of time without limits but those of the manifest: for what runs as long as it runs.
    pub(crate) fn untimed(&self, declared: &workload::manifest::Limits) -> Arc<Meter> {
        let limits = self.limits().clone().untimed(declared);
        Arc::new(Meter::limited(&self.unit.guard, &self.calls, limits.time, limits.cpu))
    }

    /// Drives work on this unit's instances within its limits. Dropped, it ends, and the instances with it.
    pub fn drive<T: Send + 'static>(
        &self,
        meter: Arc<Meter>,
        work: impl Future<Output = wasmtime::Result<T>> + Send + 'static,
    ) -> Driven<T> {
        Driven::new(self.aside.clone(), meter, work)
    }

    /// What came of a call, after the core dump of one that trapped was written, if somebody asked for core dumps.
    pub fn dumped<T>(&self, store: &mut Store<Ctx>, result: wasmtime::Result<T>) -> wasmtime::Result<T> {
        if let (Err(error), Some(dumps)) = (&result, &self.dumps) {
            dumps.keep(store, error);
        }
        result
    }

    /// An instance for a call: one that is ready, or a new one.
    ///
    /// # Errors
    /// When the pool is empty or the component's start-up traps.
    pub async fn instance(self: &Arc<Self>, meter: &Arc<Meter>) -> wasmtime::Result<Instantiated> {
        if self.policy != Policy::Fresh
            && let Some(mut ready) = self.take_ready()
        {
            ready.store.data_mut().metered_by(Some(meter.clone()));
            ready.store.set_epoch_deadline(1);
            return Ok(ready);
        }
        self.make(meter).await
    }

    /// A new instance, for calls through bindings that a program drives by itself. The limits of time hold only for what is
    /// driven by [`drive`](Self::drive), with the meter that the instance was made with.
    ///
    /// # Errors
    /// When the pool is empty or the component's start-up traps.
    pub async fn instantiate(&self) -> wasmtime::Result<Instantiated> {
        self.make(&self.meter()).await
    }

    async fn make(&self, meter: &Arc<Meter>) -> wasmtime::Result<Instantiated> {
        let mut store = self.store(meter)?;
        let instance = self.pre.instantiate_async(&mut store).await?;
        Ok(Instantiated { store, instance, kept: None, served: 0 })
    }

    fn take_ready(self: &Arc<Self>) -> Option<Instantiated> {
        let ready = self.lock().pop();
        self.refill();
        ready.map(|ready| ready.instance)
    }

    /// Gives an instance back whose call went well. It is kept if the policy says so.
    pub fn give_back(self: &Arc<Self>, mut instance: Instantiated) {
        instance.served += 1;
        if self.policy.keeps(instance.served) && !self.calls.stopped() {
            self.put(instance);
            self.reap();
        }
    }

    fn put(&self, mut instance: Instantiated) {
        instance.store.data_mut().metered_by(None);
        self.lock().push(Ready { instance, since: Instant::now() });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Ready>> {
        self.kept.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the instances that are missing, in a task of its own.
    pub(crate) fn refill(self: &Arc<Self>) {
        if self.policy.missing(self.ready()) == 0 || self.kept.refilling.swap(true, Ordering::AcqRel) {
            return;
        }
        let entry = Arc::downgrade(self);
        tokio::spawn(async move { while make_one(&entry).await {} });
    }

    /// Lets go of the instances that had nothing to do for too long, in a task of its own, while there are any.
    fn reap(self: &Arc<Self>) {
        let Some(idle) = self.policy.idle() else { return };
        if self.kept.reaping.swap(true, Ordering::AcqRel) {
            return;
        }
        let entry = Arc::downgrade(self);
        tokio::spawn(async move {
            // Half of it, so that nothing is kept much longer than it may be.
            let round = (idle / 2).max(Duration::from_millis(1));
            loop {
                tokio::time::sleep(round).await;
                let Some(entry) = entry.upgrade() else { return };
                let old: Vec<Ready> = {
                    let mut ready = entry.lock();
                    let young = ready.iter().position(|ready| ready.since.elapsed() < idle).unwrap_or(ready.len());
                    let old = ready.drain(..young).collect();
                    if ready.is_empty() {
                        entry.kept.reaping.store(false, Ordering::Release);
                    }
                    old
                };
                drop(old);
                if !entry.kept.reaping.load(Ordering::Acquire) {
                    return;
                }
            }
        });
    }

    /// Lets go of all instances that wait: the workload has stopped.
    pub(crate) fn clear(&self) {
        let ready = std::mem::take(&mut *self.lock());
        drop(ready);
    }

    /// Lets a call in, now or when others are done. The call is under way until what this returns is dropped.
    ///
    /// # Errors
    /// [`Busy`] when as many wait as may, or it waited too long, or the workload has stopped.
    pub async fn admit(self: &Arc<Self>) -> Result<CallGuard, Busy> {
        calls::admit(self).await
    }
}

/// Makes one of the instances that are missing; says whether to go on.
async fn make_one(entry: &Weak<Entry>) -> bool {
    let Some(entry) = entry.upgrade() else { return false };
    let stop = |entry: &Entry| {
        entry.kept.refilling.store(false, Ordering::Release);
        // One may have been taken since it was counted.
        entry.policy.missing(entry.ready()) > 0 && !entry.kept.refilling.swap(true, Ordering::AcqRel)
    };
    if entry.calls.stopped() {
        entry.kept.refilling.store(false, Ordering::Release);
        return false;
    }
    if entry.policy.missing(entry.ready()) == 0 {
        return stop(&entry);
    }
    let meter = entry.meter();
    let making = {
        let (entry, meter) = (entry.clone(), meter.clone());
        async move { entry.make(&meter).await }
    };
    match entry.drive(meter, making).await {
        Ok(instance) => {
            entry.put(instance);
            true
        }
        Err(error) => {
            // The next call tries again, and makes its own if it must. That there is no room was said with the limit.
            if !matches!(error, Ended::NoInstance) {
                tracing::warn!(component = %entry.name, %error, "an instance could not be made ahead of need");
            }
            entry.kept.refilling.store(false, Ordering::Release);
            false
        }
    }
}
