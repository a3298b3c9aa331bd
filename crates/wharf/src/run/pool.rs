//! Instances: made when a call needs one, ahead of need, or kept after a call, as the unit's [policy](super::policy) decides.

use std::any::{Any, TypeId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;
use wasmtime::component::Instance;

use super::entry::{Code, Entry};
use super::meter::Meter;
use super::policy::Policy;
use super::shared::SharedInstance;
use super::termination::Termination;
use crate::store::StoreData;

/// The instances of a unit that serve no call, or serve several.
#[derive(Default)]
pub(super) struct InstancePool {
    /// A permit for each instance that the unit may have, if their number is limited.
    places: Option<Arc<Semaphore>>,
    /// Notified when an instance is ready.
    returned: Notify,
    /// The instances that are ready. The last one added is the first one taken, so that the others get old and are retired.
    ready: Mutex<Vec<IdleInstance>>,
    /// The instances that serve calls and take more.
    pub(super) shared: Mutex<Vec<Arc<SharedInstance>>>,
    refilling: AtomicBool,
    retiring: AtomicBool,
}

struct IdleInstance {
    instance: Instantiated,
    since: Instant,
}

/// An instance of a unit, with its store.
pub struct Instantiated {
    /// The store.
    pub store: Store<StoreData>,
    pub(super) exports: Exports,
    pub(super) bindings: Option<Arc<Bindings>>,
    pub(super) served: u32,
    /// Given back after the store is dropped.
    _place: Option<OwnedSemaphorePermit>,
}

/// The instance of a unit's code.
#[derive(Clone, Copy)]
pub(super) enum Exports {
    Component(Instance),
    Program(wasmtime::Instance),
}

/// Typed exports of an instance, one value of each type: callers keep their generated bindings from one call to the next. Clones
/// share them.
#[derive(Clone)]
pub struct Bindings {
    instance: Instance,
    loaded: Arc<Mutex<Vec<(TypeId, Arc<dyn Any + Send + Sync>)>>>,
}

impl Bindings {
    pub(super) fn new(instance: Instance) -> Self {
        Self { instance, loaded: Arc::default() }
    }

    /// The instance that they are exports of.
    pub fn instance(&self) -> Instance {
        self.instance
    }

    /// The bindings of type `T`, loaded from the instance when they are first asked for.
    ///
    /// # Errors
    /// Those of `load`.
    #[allow(clippy::missing_panics_doc, reason = "a value stored under a type's id is of that type")]
    pub fn get_or_load<T: Send + Sync + 'static>(
        &self,
        load: impl FnOnce(&Instance) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<Arc<T>> {
        let id = TypeId::of::<T>();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = loaded.iter().find(|(other, _)| *other == id) {
            #[allow(clippy::expect_used, reason = "stored under the id of its own type")]
            return Ok(found.clone().downcast().expect("bindings are stored under their own type"));
        }
        let new = Arc::new(load(&self.instance)?);
        loaded.push((id, new.clone()));
        Ok(new)
    }
}

impl Instantiated {
    /// The instance of the unit's component.
    ///
    /// # Errors
    /// When the unit is a program of WASI 0.1, a core module.
    pub fn component(&self) -> wasmtime::Result<Instance> {
        match self.exports {
            Exports::Component(instance) => Ok(instance),
            Exports::Program(_) => wasmtime::bail!("a program of WASI 0.1 is not a component"),
        }
    }

    /// The instance of the unit's core module, if it is a program of WASI 0.1.
    pub(crate) fn program(&self) -> Option<wasmtime::Instance> {
        match self.exports {
            Exports::Program(instance) => Some(instance),
            Exports::Component(_) => None,
        }
    }

    /// Typed exports that are kept with the instance, loaded when they are first asked for.
    ///
    /// # Errors
    /// Those of `load`; and when the unit is a program of WASI 0.1.
    pub fn bindings<T: Send + Sync + 'static>(
        &mut self,
        load: impl FnOnce(&mut Store<StoreData>, &Instance) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<Arc<T>> {
        let bindings = self.all_bindings()?;
        bindings.get_or_load(|instance| load(&mut self.store, instance))
    }

    pub(super) fn all_bindings(&mut self) -> wasmtime::Result<Arc<Bindings>> {
        let component = self.component()?;
        Ok(self.bindings.get_or_insert_with(|| Arc::new(Bindings::new(component))).clone())
    }
}

impl InstancePool {
    pub(super) fn new(policy: Policy) -> Self {
        let places = |most: u32| Arc::new(Semaphore::new((most as usize).min(Semaphore::MAX_PERMITS)));
        Self { places: policy.most().map(places), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<IdleInstance>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ready(&self) -> usize {
        self.lock().len()
    }

    /// The number of calls that the next instance has served.
    pub(super) fn served(&self) -> u32 {
        self.lock().last().map_or(0, |next| next.instance.served)
    }
}

impl Entry {
    /// An instance for a call: one that is ready, or a new one.
    pub(super) async fn instance(self: &Arc<Self>, meter: &Arc<Meter>) -> wasmtime::Result<Instantiated> {
        if self.policy == Policy::Service {
            wasmtime::bail!("`{}` is a service, whose instance serves the calls that are submitted to it", self.name());
        }
        if self.policy != Policy::Fresh
            && let Some(mut ready) = self.take_ready()
        {
            ready.store.data_mut().set_timekeeper(Some(meter.clone()));
            ready.store.set_epoch_deadline(1);
            return Ok(ready);
        }
        match self.pool.places {
            None => self.make(meter, None).await,
            Some(ref places) => self.instance_or_place(meter, places).await,
        }
    }

    /// An instance for a call of a unit with a limited number of instances: one that is ready, or a new one, whichever is
    /// possible first.
    async fn instance_or_place(
        self: &Arc<Self>,
        meter: &Arc<Meter>,
        places: &Arc<Semaphore>,
    ) -> wasmtime::Result<Instantiated> {
        loop {
            let mut returned = std::pin::pin!(self.pool.returned.notified());
            // Registered before the pool is read, so that an instance that is returned in between is not missed.
            returned.as_mut().enable();
            if let Some(mut ready) = self.take_ready() {
                ready.store.data_mut().set_timekeeper(Some(meter.clone()));
                ready.store.set_epoch_deadline(1);
                return Ok(ready);
            }
            tokio::select! {
                place = places.clone().acquire_owned() => return self.make(meter, Some(place?)).await,
                () = returned => {}
            }
        }
    }

    /// A new instance that serves one call alone. An instance that is ready makes room for it.
    pub(super) async fn fresh(self: &Arc<Self>, meter: &Arc<Meter>) -> wasmtime::Result<Instantiated> {
        let Some(places) = &self.pool.places else { return self.make(meter, None).await };
        loop {
            let mut returned = std::pin::pin!(self.pool.returned.notified());
            returned.as_mut().enable();
            drop(self.take_ready());
            tokio::select! {
                place = places.clone().acquire_owned() => return self.make(meter, Some(place?)).await,
                () = returned => {}
            }
        }
    }

    /// A new instance.
    async fn make(&self, meter: &Arc<Meter>, place: Option<OwnedSemaphorePermit>) -> wasmtime::Result<Instantiated> {
        let mut store = self.store(meter)?;
        let exports = match &self.code {
            Code::Component { pre, .. } => Exports::Component(pre.instantiate_async(&mut store).await?),
            Code::Program { pre, .. } => Exports::Program(pre.instantiate_async(&mut store).await?),
        };
        Ok(Instantiated { store, exports, bindings: None, served: 0, _place: place })
    }

    fn take_ready(self: &Arc<Self>) -> Option<Instantiated> {
        let ready = self.pool.lock().pop();
        self.refill();
        ready.map(|ready| ready.instance)
    }

    /// Returns an instance whose call completed. It is kept if the policy says so.
    pub(super) fn give_back(self: &Arc<Self>, mut instance: Instantiated) {
        instance.served = instance.served.saturating_add(1);
        if self.policy.keeps_after(instance.served) && !self.calls.is_terminated() {
            self.keep(instance);
            self.retire_idle();
        }
    }

    fn keep(&self, mut instance: Instantiated) {
        instance.store.data_mut().set_timekeeper(None);
        self.pool.lock().push(IdleInstance { instance, since: Instant::now() });
        if self.pool.places.is_some() {
            self.pool.returned.notify_one();
        }
    }

    /// Makes the instances that the policy wants ready, in a task.
    pub(crate) fn refill(self: &Arc<Self>) {
        let is_program = matches!(self.code, Code::Program { .. });
        if is_program || self.policy.to_create(self.ready()) == 0 || self.pool.refilling.swap(true, Ordering::AcqRel) {
            return;
        }
        let entry = Arc::downgrade(self);
        tokio::spawn(async move { while make_ready(&entry).await {} });
    }

    /// Retires instances that have been idle for too long, in a task that runs while there are any.
    fn retire_idle(self: &Arc<Self>) {
        let Some(idle) = self.policy.idle_timeout() else { return };
        if self.pool.retiring.swap(true, Ordering::AcqRel) {
            return;
        }
        let entry = Arc::downgrade(self);
        tokio::spawn(async move {
            // Twice in that time, so that none is kept much longer.
            let interval = (idle / 2).max(Duration::from_millis(1));
            loop {
                tokio::time::sleep(interval).await;
                let Some(entry) = entry.upgrade() else { return };
                let retired: Vec<IdleInstance> = {
                    let mut ready = entry.pool.lock();
                    let recent = ready.iter().position(|ready| ready.since.elapsed() < idle).unwrap_or(ready.len());
                    let retired = ready.drain(..recent).collect();
                    if ready.is_empty() {
                        entry.pool.retiring.store(false, Ordering::Release);
                    }
                    retired
                };
                drop(retired);
                if !entry.pool.retiring.load(Ordering::Acquire) {
                    return;
                }
            }
        });
    }

    /// Drops all instances that are ready: the workload has stopped.
    pub(crate) fn clear(&self) {
        let ready = std::mem::take(&mut *self.pool.lock());
        drop(ready);
    }
}

/// Makes one instance ahead of need; returns whether to go on.
async fn make_ready(entry: &Weak<Entry>) -> bool {
    let Some(entry) = entry.upgrade() else { return false };
    if entry.calls.is_terminated() {
        entry.pool.refilling.store(false, Ordering::Release);
        return false;
    }
    if entry.policy.to_create(entry.ready()) == 0 {
        entry.pool.refilling.store(false, Ordering::Release);
        // A call may have taken one since they were counted.
        return entry.policy.to_create(entry.ready()) > 0 && !entry.pool.refilling.swap(true, Ordering::AcqRel);
    }
    let meter = entry.meter();
    let making = {
        let (entry, meter) = (entry.clone(), meter.clone());
        async move { entry.make(&meter, None).await }
    };
    match entry.execute(&meter, making).await {
        Ok(instance) => {
            entry.keep(instance);
            true
        }
        Err(error) => {
            // The next call tries again, and makes its own instance if it must. An empty pool was logged with its limit.
            if !matches!(error, Termination::NoInstance) {
                tracing::warn!(component = %entry.name(), %error, "cannot make an instance ahead of need");
            }
            entry.pool.refilling.store(false, Ordering::Release);
            false
        }
    }
}
