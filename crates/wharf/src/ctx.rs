//! What a store holds: one resource table for all of a unit, and each component's own state, made when it is first used.

use std::any::{Any, TypeId};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use wasmtime::ResourceLimiter;
use wasmtime::component::{HasData, ResourceTable};
use wasmtime_wasi::clocks::{WasiClocksCtx, WasiClocksCtxView};
use wasmtime_wasi::filesystem::{WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::random::WasiRandomCtx;
use wasmtime_wasi::sockets::{WasiSocketsCtx, WasiSocketsCtxView};
use workload::Name;

use crate::limits::{Guard, Limit};
use crate::meter::Meter;
use crate::plugin::Plugin;
use crate::pool::Place;
use crate::wasi::grants::Grants;
use crate::wasi::p1;
use crate::wasi::sockets::{Held, SocketsOf};
use crate::wasi::{files, lookup};

/// How many components of one unit can have grants: the getters of so many slots are made when Wharf is compiled.
pub const SLOTS: usize = 128;

/// How many handles an instance can have at most: resources of the host and of its own components, streams and futures.
const MAX_HANDLES: usize = 1 << 16;
/// How many it can have however little memory it may use.
const MIN_HANDLES: usize = 1 << 10;
/// How much memory an instance may use for each handle that it can have, in bytes.
const MEMORY_PER_HANDLE: u64 = 512;

/// How many handles an instance can have that may use so much memory.
pub(crate) fn max_handles(memory: u64) -> usize {
    usize::try_from(memory / MEMORY_PER_HANDLE).unwrap_or(MAX_HANDLES).clamp(MIN_HANDLES, MAX_HANDLES)
}

/// The data of a store: one instance of one unit.
pub struct Ctx {
    /// The first to go: ports are given back before the table closes their sockets.
    held: Held,
    table: ResourceTable,
    unit: Arc<Unit>,
    meter: Option<Arc<Meter>>,
    /// Bytes of linear memory and tables that the instance has.
    memory: u64,
    audit: Audit,
    opening: Option<Arc<()>>,
    scopes: Vec<State>,
    clocks: Option<WasiClocksCtx>,
    random: Option<WasiRandomCtx>,
    filesystem: WasiFilesystemCtx,
    sockets: WasiSocketsCtx,
    preview1: Option<Box<WasiP1Ctx>>,
    /// The last to go: by then the instance holds nothing.
    _place: Option<Place>,
}

/// What all instances of a unit share: what its components were granted, and its limits.
pub struct Unit {
    pub(crate) components: Vec<Arc<ComponentGrants>>,
    /// Those of the host, which know the size of their resources.
    pub(crate) plugins: Vec<Arc<dyn Plugin>>,
    pub(crate) guard: Arc<Guard>,
}

/// What a component was granted, made once for all its instances.
pub struct ComponentGrants {
    pub(crate) workload: Arc<str>,
    pub(crate) component: Name,
    pub(crate) wasi: Grants,
    pub(crate) bindings: Vec<(TypeId, Arc<dyn Any + Send + Sync>)>,
}

/// One component's part of a [`Ctx`], as the host functions that it calls see it.
pub struct Scope<'a> {
    /// What is kept of the sockets of the whole unit.
    pub(crate) held: &'a mut Held,
    /// The handles of the whole unit: siblings pass them to each other.
    pub table: &'a mut ResourceTable,
    /// The component's own state in this instance.
    pub state: &'a mut State,
    /// What the component was granted.
    pub grants: &'a ComponentGrants,
    /// The limits of the unit.
    pub guard: &'a Arc<Guard>,
}

/// The state that host functions keep for one component of one instance, by type. Nothing is made before it is asked for.
#[derive(Default)]
pub struct State(Vec<(TypeId, Box<dyn Any + Send>)>);

impl State {
    /// The state of type `T`, made by `make` when it is first asked for.
    #[allow(clippy::missing_panics_doc, reason = "what is stored under a type's id is of that type")]
    pub fn get_or_insert_with<T: Send + 'static>(&mut self, make: impl FnOnce() -> T) -> &mut T {
        let id = TypeId::of::<T>();
        let index = self.0.iter().position(|(other, _)| *other == id).unwrap_or_else(|| {
            self.0.push((id, Box::new(make())));
            self.0.len() - 1
        });
        #[allow(clippy::expect_used)]
        self.0[index].1.downcast_mut().expect("stored under the id of its own type")
    }
}

impl ComponentGrants {
    /// The workload's id, `namespace/name`.
    pub fn workload(&self) -> &str {
        &self.workload
    }

    /// The component's name.
    pub fn component(&self) -> &Name {
        &self.component
    }

    /// What WASI gives to the component.
    pub fn wasi(&self) -> &Grants {
        &self.wasi
    }

    /// What a plugin's `bind` made of type `T` for this component, if it bound to it.
    pub fn find_binding<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.bindings.iter().find(|(id, _)| *id == TypeId::of::<T>()).and_then(|(_, any)| any.downcast_ref())
    }

    /// What a plugin's `bind` made of type `T` for this component.
    ///
    /// # Panics
    /// When no plugin bound a `T`: the view that asks belongs to another plugin than the one that linked it.
    pub fn binding<T: Send + Sync + 'static>(&self) -> &T {
        #[allow(clippy::expect_used)]
        let binding = self.find_binding().expect("a plugin's view reads its own binding");
        binding
    }
}

/// How a host function reaches its data: a type that a plugin declares for each set of bindings, which makes the
/// bindings' `Data` out of the calling component's [`Scope`].
///
/// ```
/// use wasmtime::component::HasData;
/// use wharf::{Scope, View};
///
/// struct Greeting(String);
/// struct Greeter;
///
/// impl HasData for Greeter {
///     type Data<'a> = &'a Greeting;
/// }
///
/// impl View for Greeter {
///     type Of = Greeter;
///     fn view(scope: Scope<'_>) -> &Greeting {
///         scope.grants.binding()
///     }
/// }
/// ```
pub trait View: 'static {
    /// The bindings that the data is for.
    type Of: HasData;

    /// The data of the component that calls.
    fn view(scope: Scope<'_>) -> <Self::Of as HasData>::Data<'_>;
}

/// What generated bindings take to reach their data. It is a plain function, so the slot is part of its type.
pub type Getter<V> = for<'a> fn(&'a mut Ctx) -> <<V as View>::Of as HasData>::Data<'a>;

fn get<V: View, const SLOT: usize>(ctx: &mut Ctx) -> <V::Of as HasData>::Data<'_> {
    V::view(ctx.scope(SLOT))
}

/// The getters of every slot for one view.
struct Getters<V>(std::marker::PhantomData<V>);

impl<V: View> Getters<V> {
    const ALL: [Getter<V>; SLOTS] = seq_macro::seq!(N in 0..128 { [#(get::<V, N>,)*] });
}

/// The getter of a slot.
///
/// # Panics
/// When `slot` is not below [`SLOTS`], which [`link`](crate::link) checks first.
pub(crate) fn getter<V: View>(slot: usize) -> Getter<V> {
    Getters::<V>::ALL[slot]
}

impl Ctx {
    pub(crate) fn new(unit: Arc<Unit>, place: Option<Place>) -> Self {
        let filesystem = unit.components[unit.components.len() - 1].wasi.handles.clone();
        let mut table = ResourceTable::new();
        let memory = unit.guard.limits().memory;
        table.set_max_capacity(max_handles(memory));
        Self {
            held: Held::default(),
            table,
            unit,
            meter: None,
            memory: 0,
            audit: Audit::new(memory),
            opening: None,
            scopes: Vec::new(),
            clocks: None,
            random: None,
            filesystem,
            sockets: WasiSocketsCtx::default(),
            preview1: None,
            _place: place,
        }
    }

    /// One component's part: its slot is its place in the unit, and the entry's is the last.
    ///
    /// # Panics
    /// When the unit has no such slot.
    pub fn scope(&mut self, slot: usize) -> Scope<'_> {
        self.called();
        if self.scopes.len() <= slot {
            self.scopes.resize_with(slot + 1, State::default);
        }
        let Unit { components, guard, .. } = &*self.unit;
        let Self { held, table, scopes, .. } = self;
        Scope { held, table, state: &mut scopes[slot], grants: &components[slot], guard }
    }

    /// The slot of the unit's entry.
    pub fn entry_slot(&self) -> usize {
        self.unit.components.len() - 1
    }

    /// The handles of the whole unit.
    pub fn table(&mut self) -> &mut ResourceTable {
        self.called();
        &mut self.table
    }

    /// A host function was called, which may keep something for the instance.
    fn called(&mut self) {
        if self.audit.is_due() {
            self.audit();
        }
    }

    /// The host keeps so many more bytes for the instance, which the next audit finds.
    pub(crate) fn kept(&mut self, bytes: usize) {
        if self.audit.is_due_after(bytes) {
            self.audit();
        }
    }

    /// Counts what is kept for the instance outside of its handles.
    pub(crate) fn charge(&mut self) -> Charge {
        let charge = Charge::default();
        self.audit.charges.push(Arc::downgrade(&charge.0));
        charge
    }

    /// Counts what the host keeps for the instance, and ends it if that and its own memory are more than it may use.
    fn audit(&mut self) {
        let Self { table, unit, .. } = self;
        let mut count = 0;
        let mut bytes = 0;
        for resource in table.iter_mut() {
            count += 1;
            bytes += HANDLE + files::size(&*resource) + lookup::size(&*resource);
            bytes +=
                unit.plugins.iter().map(|plugin| plugin.resource_size(&*resource, unit.guard.limits())).sum::<usize>();
        }
        let room = self.unit.guard.limits().memory.saturating_sub(self.memory);
        self.audit.found(count, bytes, room);
        if self.memory.saturating_add(self.audit.held) > self.unit.guard.limits().memory
            && let Some(meter) = &self.meter
        {
            meter.out_of_memory();
        }
    }

    /// The limits of the unit.
    pub fn guard(&self) -> &Arc<Guard> {
        &self.unit.guard
    }

    /// Cloned for each file that is being opened.
    pub(crate) fn opening(&mut self) -> &Arc<()> {
        self.opening.get_or_insert_default()
    }

    /// Whose time the instance uses from now on.
    pub(crate) fn metered_by(&mut self, meter: Option<Arc<Meter>>) {
        self.meter = meter;
    }

    pub(crate) fn meter(&self) -> Option<&Meter> {
        self.meter.as_deref()
    }

    /// Whether memory may grow by so many bytes; it has grown if it may.
    fn grow(&mut self, bytes: usize) -> bool {
        let grown = self.memory.saturating_add(bytes as u64);
        let may = grown.saturating_add(self.audit.held) <= self.unit.guard.limits().memory;
        if may {
            self.memory = grown;
        } else {
            self.unit.guard.refuse(Limit::Memory);
        }
        may
    }

    pub(crate) fn clocks(&mut self) -> WasiClocksCtxView<'_> {
        WasiClocksCtxView { ctx: self.clocks.get_or_insert_default(), table: &mut self.table }
    }

    pub(crate) fn random(&mut self) -> &mut WasiRandomCtx {
        self.random.get_or_insert_default()
    }

    /// For operations on handles that some component opened by its own grant; it grants nothing itself.
    pub(crate) fn filesystem(&mut self) -> WasiFilesystemCtxView<'_> {
        self.called();
        WasiFilesystemCtxView { ctx: &mut self.filesystem, table: &mut self.table }
    }

    /// What a core module sees of the entry's grants.
    pub(crate) fn preview1(&mut self) -> &mut WasiP1Ctx {
        let opened = self.preview1.take().unwrap_or_else(|| Box::new(p1::open(&self.scope(self.entry_slot()))));
        self.preview1.insert(opened)
    }

    /// As [`sockets`](Self::sockets), with the workload's loopback, which all components of a unit have in common.
    pub(crate) fn workload_sockets(&mut self) -> SocketsOf<'_> {
        self.called();
        let components = &self.unit.components;
        let loopback = components[components.len() - 1].wasi.loopback();
        let inner = WasiSocketsCtxView { ctx: &mut self.sockets, table: &mut self.table };
        SocketsOf::of_handles(inner, loopback, &mut self.held, &self.unit.guard)
    }

    /// For operations on handles that some component opened by its own grant; it grants nothing itself.
    pub(crate) fn sockets(&mut self) -> WasiSocketsCtxView<'_> {
        self.called();
        WasiSocketsCtxView { ctx: &mut self.sockets, table: &mut self.table }
    }
}

/// What a handle costs the host at least, in bytes.
const HANDLE: usize = 128;
/// How many calls of host functions, or bytes that they are known to keep, an audit comes after at the latest.
const CALLS: u32 = 32;
/// How many when there is little room left.
const FEW_CALLS: u32 = 4;
const BYTES: usize = 64 * 1024;

/// What the host keeps for an instance, found out now and then: each call of a host function adds little, and adding up
/// all handles costs more than most of them.
struct Audit {
    /// What the last one found, in bytes.
    held: u64,
    /// How many calls, and bytes, there may be until the next.
    calls: u32,
    bytes: usize,
    charges: Vec<Weak<AtomicUsize>>,
}

impl Audit {
    /// Of an instance that may use so much memory.
    fn new(memory: u64) -> Self {
        Self { held: 0, calls: soon(memory).min(CALLS), bytes: BYTES, charges: Vec::new() }
    }

    fn is_due(&mut self) -> bool {
        self.calls -= 1;
        self.calls == 0
    }

    fn is_due_after(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.bytes == 0
    }

    /// So many resources were found, of so many bytes, where there is room for `room`.
    fn found(&mut self, resources: usize, mut bytes: usize, room: u64) {
        self.charges.retain(|charge| charge.upgrade().inspect(|kept| bytes += kept.load(Ordering::Relaxed)).is_some());
        self.held = bytes as u64;
        // The more there are, the longer it took, and the less often it is done; but not so that what a call adds could be
        // far beyond the room that is left.
        let rarely = u32::try_from(resources / 4).unwrap_or(u32::MAX).max(CALLS);
        self.calls = rarely.min(soon(room.saturating_sub(self.held)));
        self.bytes = BYTES;
    }
}

/// How many calls may be made before what they keep could need so much room.
fn soon(room: u64) -> u32 {
    u32::try_from(room / BYTES as u64).unwrap_or(u32::MAX).max(FEW_CALLS)
}

/// What is kept for an instance outside of its handles, as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct Charge(Arc<AtomicUsize>);

impl Charge {
    pub(crate) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Holds all memories and tables of an instance to one limit together, with what the host keeps for it. They never shrink, and go with the store.
impl ResourceLimiter for Ctx {
    fn memory_growing(&mut self, current: usize, desired: usize, most: Option<usize>) -> wasmtime::Result<bool> {
        // What its own declaration forbids fails without being counted.
        let allowed = most.is_none_or(|most| desired <= most);
        Ok(allowed && self.grow(desired.saturating_sub(current)))
    }
    fn table_growing(&mut self, current: usize, desired: usize, most: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = most.is_none_or(|most| desired <= most);
        Ok(allowed && self.grow(desired.saturating_sub(current).saturating_mul(size_of::<usize>())))
    }
}
