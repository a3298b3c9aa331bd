//! What a store holds: one resource table for all of a unit, and each component's own state, made when it is first used.

use std::any::{Any, TypeId};
use std::sync::Arc;

use wasmtime::component::{HasData, ResourceTable};
use wasmtime_wasi::clocks::{WasiClocksCtx, WasiClocksCtxView};
use wasmtime_wasi::filesystem::{WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::random::WasiRandomCtx;
use wasmtime_wasi::sockets::{WasiSocketsCtx, WasiSocketsCtxView};
use workload::Name;

use crate::wasi::grants::Grants;

/// How many components of one unit can have grants: the getters of so many slots are made when Wharf is compiled.
pub const SLOTS: usize = 128;

/// The data of a store: one instance of one unit.
pub struct Ctx {
    table: ResourceTable,
    unit: Arc<[Arc<ComponentGrants>]>,
    scopes: Vec<State>,
    clocks: Option<WasiClocksCtx>,
    random: Option<WasiRandomCtx>,
    filesystem: WasiFilesystemCtx,
    sockets: WasiSocketsCtx,
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
    /// The handles of the whole unit: siblings pass them to each other.
    pub table: &'a mut ResourceTable,
    /// The component's own state in this instance.
    pub state: &'a mut State,
    /// What the component was granted.
    pub grants: &'a ComponentGrants,
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

    /// What a plugin's `bind` made of type `T` for this component.
    ///
    /// # Panics
    /// When no plugin bound a `T`: the view that asks belongs to another plugin than the one that linked it.
    pub fn binding<T: Send + Sync + 'static>(&self) -> &T {
        let found = self.bindings.iter().find(|(id, _)| *id == TypeId::of::<T>());
        #[allow(clippy::expect_used)]
        let binding = found.and_then(|(_, any)| any.downcast_ref()).expect("a plugin's view reads its own binding");
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
    pub(crate) fn new(unit: Arc<[Arc<ComponentGrants>]>) -> Self {
        Self {
            table: ResourceTable::new(),
            unit,
            scopes: Vec::new(),
            clocks: None,
            random: None,
            filesystem: WasiFilesystemCtx::default(),
            sockets: WasiSocketsCtx::default(),
        }
    }

    /// One component's part: its slot is its place in the unit, and the entry's is the last.
    ///
    /// # Panics
    /// When the unit has no such slot.
    pub fn scope(&mut self, slot: usize) -> Scope<'_> {
        if self.scopes.len() <= slot {
            self.scopes.resize_with(slot + 1, State::default);
        }
        Scope { table: &mut self.table, state: &mut self.scopes[slot], grants: &self.unit[slot] }
    }

    /// The slot of the unit's entry.
    pub fn entry_slot(&self) -> usize {
        self.unit.len() - 1
    }

    /// The handles of the whole unit.
    pub fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    pub(crate) fn clocks(&mut self) -> WasiClocksCtxView<'_> {
        WasiClocksCtxView { ctx: self.clocks.get_or_insert_default(), table: &mut self.table }
    }

    pub(crate) fn random(&mut self) -> &mut WasiRandomCtx {
        self.random.get_or_insert_default()
    }

    /// For operations on handles that some component opened by its own grant; it grants nothing itself.
    pub(crate) fn filesystem(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: &mut self.filesystem, table: &mut self.table }
    }

    /// For operations on handles that some component opened by its own grant; it grants nothing itself.
    pub(crate) fn sockets(&mut self) -> WasiSocketsCtxView<'_> {
        WasiSocketsCtxView { ctx: &mut self.sockets, table: &mut self.table }
    }
}
