//! The data of a store: a resource table for the whole unit, typed slots for the unit and for each component, and the limits.
//!
//! It knows neither WASI nor any other plugin: they keep their state in [`Slots`], and reach it through a [`View`].

mod audit;
mod slots;
mod view;

use std::any::{Any, TypeId};
use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};
use workload::Name;

use crate::limits::{Limit, LimitTracker, Limits};
use audit::{Audit, HANDLE};

pub(crate) use audit::Charge;
pub use slots::Slots;
pub(crate) use view::getter;
pub use view::{Getter, View};

/// The number of slots of a unit: one for each component, and one for each additional binding of a component that is bound to
/// the same interface more than once. Getters for this many are compiled in.
pub const MAX_SLOTS: usize = 128;

/// The largest number of handles of an instance: resources of the host and of its own components, streams and futures.
const MAX_HANDLES: usize = 1 << 16;
/// The number of handles that every instance may have, however small its memory limit is.
const MIN_HANDLES: usize = 1 << 10;
/// The memory for each handle, in bytes.
const MEMORY_PER_HANDLE: u64 = 512;

/// The number of handles for an instance with this memory limit, in bytes.
pub(crate) fn max_handles(memory: u64) -> usize {
    usize::try_from(memory / MEMORY_PER_HANDLE).unwrap_or(MAX_HANDLES).clamp(MIN_HANDLES, MAX_HANDLES)
}

/// The data of a store, which holds one instance of one unit.
pub struct StoreData {
    /// Dropped before the table: sockets release their ports before the table closes them.
    unit_slots: Slots,
    table: ResourceTable,
    unit: Arc<Unit>,
    timekeeper: Option<Arc<dyn Timekeeper>>,
    /// Bytes of linear memory and tables.
    memory: u64,
    audit: Audit,
    slots: Vec<Slots>,
    /// Dropped last: by then the instance holds nothing.
    _reservation: Option<Box<dyn Any + Send + Sync>>,
}

/// The properties that all instances of a unit share.
pub(crate) struct Unit {
    /// The component of each slot: first the unit's components in their order, the entry last, then those of additional bindings.
    pub(crate) slots: Vec<Arc<ComponentContext>>,
    /// The number of components.
    pub(crate) components: usize,
    pub(crate) sizes: Arc<dyn ResourceSize>,
    pub(crate) tracker: Arc<LimitTracker>,
}

/// The value that a plugin bound to a component.
pub(crate) type Binding = Arc<dyn Any + Send + Sync>;

/// Measures resources that a plugin keeps in the table.
pub(crate) trait ResourceSize: Send + Sync {
    /// The bytes behind a resource beyond its handle; 0 if it is of another kind.
    fn resource_size(&self, resource: &(dyn Any + Send), limits: &Limits) -> usize;
}

/// Accounts for the time of the call that uses a store, and ends it.
pub(crate) trait Timekeeper: Send + Sync {
    /// The number of the call, or of the instance that serves several.
    fn id(&self) -> u64;
    /// Decides at the end of a time slice how the guest goes on.
    fn tick(&self) -> UpdateDeadline;
    /// Ends the call: the host keeps more memory for the instance than its limit allows.
    fn out_of_memory(&self);
    /// Whether the call was ended by a limit or by its workload's end.
    fn is_interrupted(&self) -> bool;
}

/// A component of a running workload: its identity, and the values that plugins bound to it. An additional binding of a
/// component has a context of its own, without the values of the bindings that it could be confused with.
pub struct ComponentContext {
    pub(crate) workload: Arc<str>,
    pub(crate) component: Name,
    pub(crate) bindings: Vec<(TypeId, Binding)>,
}

impl ComponentContext {
    /// The workload's id, `namespace/name`.
    pub fn workload(&self) -> &str {
        &self.workload
    }

    /// The component's name.
    pub fn component(&self) -> &Name {
        &self.component
    }

    /// The value of type `T` that a plugin bound to this component, if there is one.
    pub fn binding<T: Send + Sync + 'static>(&self) -> Option<&T> {
        let found = self.bindings.iter().find(|(id, _)| *id == TypeId::of::<T>());
        found.and_then(|(_, binding)| binding.downcast_ref())
    }
}

/// The part of a [`StoreData`] that belongs to the calling component.
pub struct Scope<'a> {
    /// State that all components of the unit share.
    pub unit: &'a mut Slots,
    /// The handles of the whole unit: siblings pass them to each other.
    pub table: &'a mut ResourceTable,
    /// The component's own state in this instance.
    pub state: &'a mut Slots,
    /// The component, with the values that plugins bound to it.
    pub component: &'a ComponentContext,
    /// The limits of the unit, and how often each was reached.
    pub tracker: &'a Arc<LimitTracker>,
    /// The number of the call in this process, or that of the instance if it serves several calls at a time; 0 while it is made ahead
    /// of its call.
    pub call: u64,
}

impl<'a> Scope<'a> {
    /// The value of type `T` that the plugin bound for the import that is called, if there is one.
    pub fn find_binding<T: Send + Sync + 'static>(&self) -> Option<&'a T> {
        self.component.binding()
    }

    /// The value of type `T` that the plugin bound for the import that is called.
    ///
    /// # Panics
    /// When no plugin bound a `T`: the view belongs to another plugin than the one that linked it.
    pub fn binding<T: Send + Sync + 'static>(&self) -> &'a T {
        #[allow(clippy::expect_used, reason = "a plugin's view reads the plugin's own binding")]
        self.find_binding().expect("a plugin's view reads the plugin's own binding")
    }
}

/// The part of a [`StoreData`] that all components of the unit share.
pub(crate) struct UnitScope<'a> {
    pub(crate) state: &'a mut Slots,
    pub(crate) table: &'a mut ResourceTable,
    /// The component that is called from outside.
    pub(crate) entry: &'a ComponentContext,
    pub(crate) tracker: &'a Arc<LimitTracker>,
}

impl StoreData {
    pub(crate) fn new(unit: Arc<Unit>, reservation: Option<Box<dyn Any + Send + Sync>>) -> Self {
        let memory = unit.tracker.limits().memory;
        let mut table = ResourceTable::new();
        table.set_max_capacity(max_handles(memory));
        Self {
            unit_slots: Slots::default(),
            table,
            unit,
            timekeeper: None,
            memory: 0,
            audit: Audit::new(memory),
            slots: Vec::new(),
            _reservation: reservation,
        }
    }

    /// The part of one component, by its slot.
    ///
    /// # Panics
    /// When the unit has no such slot.
    pub fn scope(&mut self, slot: usize) -> Scope<'_> {
        self.count_call();
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Slots::default);
        }
        let Unit { slots, tracker, .. } = &*self.unit;
        let call = self.timekeeper.as_ref().map_or(0, |timekeeper| timekeeper.id());
        Scope {
            unit: &mut self.unit_slots,
            table: &mut self.table,
            state: &mut self.slots[slot],
            component: &slots[slot],
            tracker,
            call,
        }
    }

    /// The part that all components share.
    pub(crate) fn unit(&mut self) -> UnitScope<'_> {
        self.count_call();
        UnitScope {
            state: &mut self.unit_slots,
            table: &mut self.table,
            entry: &self.unit.slots[self.unit.components - 1],
            tracker: &self.unit.tracker,
        }
    }

    /// The slot of the unit's entry component.
    pub fn entry_slot(&self) -> usize {
        self.unit.components - 1
    }

    /// The handles of the whole unit.
    pub fn table(&mut self) -> &mut ResourceTable {
        self.count_call();
        &mut self.table
    }

    /// State that all components of the unit share.
    pub(crate) fn unit_state(&mut self) -> &mut Slots {
        &mut self.unit_slots
    }

    /// The limits of the unit, and how often each was reached.
    pub fn tracker(&self) -> &Arc<LimitTracker> {
        &self.unit.tracker
    }

    /// Counts a host call, which may keep memory for the instance.
    fn count_call(&mut self) {
        if self.audit.is_due() {
            self.audit();
        }
    }

    /// Counts bytes that the host keeps for the instance from now on, which the next audit finds.
    pub(crate) fn count_kept(&mut self, bytes: usize) {
        if self.audit.is_due_after(bytes) {
            self.audit();
        }
    }

    /// Counts memory that the host keeps for the instance outside the resource table.
    pub(crate) fn charge(&mut self) -> Charge {
        self.audit.charge()
    }

    /// Measures the memory that the host keeps for the instance, and ends the call if it exceeds the limit together with the
    /// instance's own.
    fn audit(&mut self) {
        let Self { table, unit, .. } = self;
        let limits = unit.tracker.limits();
        let (mut count, mut bytes) = (0, 0);
        for resource in table.iter_mut() {
            count += 1;
            bytes += HANDLE + unit.sizes.resource_size(&*resource, limits);
        }
        let available = limits.memory.saturating_sub(self.memory);
        self.audit.record(count, bytes, available);
        if self.audit.held > available
            && let Some(timekeeper) = &self.timekeeper
        {
            timekeeper.out_of_memory();
        }
    }

    /// Charges the time that the instance uses from now on to a call, or to none.
    pub(crate) fn set_timekeeper(&mut self, timekeeper: Option<Arc<dyn Timekeeper>>) {
        self.timekeeper = timekeeper;
    }

    /// Whether the call that uses the instance was ended by a limit or by its workload's end.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.timekeeper.as_ref().is_some_and(|timekeeper| timekeeper.is_interrupted())
    }

    /// Grows the memory by this many bytes if the limit allows.
    fn grow(&mut self, bytes: usize) -> bool {
        let grown = self.memory.saturating_add(bytes as u64);
        let allowed = grown.saturating_add(self.audit.held) <= self.unit.tracker.limits().memory;
        if allowed {
            self.memory = grown;
        } else {
            self.unit.tracker.refuse(Limit::Memory);
        }
        allowed
    }
}

/// The engine's question at the end of a guest's time slice.
#[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "the engine's signature")]
pub(crate) fn end_of_slice(store: StoreContextMut<'_, StoreData>) -> wasmtime::Result<UpdateDeadline> {
    let timekeeper = store.data().timekeeper.as_ref();
    Ok(timekeeper.map_or(UpdateDeadline::Continue(1), |timekeeper| timekeeper.tick()))
}

/// Holds all memories and tables of an instance to one limit, together with the memory that the host keeps for it. They never
/// shrink, and are freed with the store.
impl ResourceLimiter for StoreData {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Growing beyond the memory's own maximum fails without being counted as a refusal.
        let allowed = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(allowed && self.grow(desired.saturating_sub(current)))
    }
    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(allowed && self.grow(desired.saturating_sub(current).saturating_mul(size_of::<usize>())))
    }
}
