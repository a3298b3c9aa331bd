//! What a host is extended by: plugins that provide interfaces, and triggers that call components.

use std::any::{Any, TypeId};
use std::sync::Arc;

use async_trait::async_trait;
use wasmtime::component::{Linker, LinkerInstance};
use workload::manifest::Component;
use workload::{InterfaceName, Name, Workload};

use crate::ctx::{Ctx, Getter, View, getter};
use crate::host::Running;
use crate::limits::Limits;

/// A Rust type that provides WIT interfaces to components.
///
/// A plugin says what it provides, binds to each component that imports something of it (and checks the component's
/// configuration then, not at the first call), and links its functions through bindings that `bindgen!` generated. The
/// state that it keeps is per component: what [`bind`](Self::bind) makes is handed to every call through a
/// [`View`].
///
/// `examples/embed` is a whole program with a plugin of its own, in one short file.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Wharf plugin",
    note = "implement `wharf::Plugin` for it: `name`, `interfaces` and `link`; `bind` if it keeps state per component"
)]
pub trait Plugin: Send + Sync + 'static {
    /// A name for messages and plans, such as `http`.
    fn name(&self) -> &'static str;

    /// The interfaces that it provides.
    fn interfaces(&self) -> Vec<Provided>;

    /// Binds to one component. What is put into `binding` is what the component's calls find; an error keeps the
    /// workload from starting.
    ///
    /// # Errors
    /// When the component's configuration is not one that the plugin can serve.
    fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let _ = binding;
        Ok(())
    }

    /// How many bytes the host keeps for a resource of this plugin, beyond its handle: they count in the instance's limit
    /// `memory`. Asked for every resource of an instance now and then; 0 for what is not this plugin's.
    fn resource_size(&self, resource: &(dyn Any + Send), limits: &Limits) -> usize {
        let _ = (resource, limits);
        0
    }

    /// Adds the functions of one interface to a linker.
    ///
    /// # Errors
    /// Those of the generated `add_to_linker_instance`.
    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()>;
}

/// An interface that a plugin provides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provided {
    /// The interface's name with its version, such as `wasi:config/store@0.2.0-rc.1`.
    pub name: &'static str,
    /// Whether it grants something; almost all do. One that does not is shared by a unit's components, so that they can
    /// pass its handles to each other.
    pub grant: bool,
}

impl Provided {
    /// An interface of which each component has its own.
    pub const fn grant(name: &'static str) -> Self {
        Self { name, grant: true }
    }

    /// An interface whose handles siblings may pass to each other, and which grants nothing by itself. A unit imports it
    /// once, and a [`View`] of it is handed the scope of the first of the unit's components that import it.
    pub const fn shared(name: &'static str) -> Self {
        Self { name, grant: false }
    }
}

/// Why a plugin refuses a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PluginError(
    /// What is wrong, and what to do.
    pub String,
);

/// A component that a plugin binds to.
pub struct Binding<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) name: &'a Name,
    pub(crate) component: &'a Component,
    pub(crate) bindings: &'a mut Vec<(TypeId, Arc<dyn Any + Send + Sync>)>,
}

impl Binding<'_> {
    /// The workload that the component is part of.
    pub fn workload(&self) -> &Workload {
        self.workload
    }

    /// The component's name.
    pub fn name(&self) -> &Name {
        self.name
    }

    /// The component as it was declared: its configuration is here.
    pub fn component(&self) -> &Component {
        self.component
    }

    /// Keeps a value for every call of this component; a [`View`] finds it by its type, so the type is the plugin's own.
    ///
    /// # Errors
    /// When a value of this type was kept for this component already.
    pub fn keep<T: Send + Sync + 'static>(&mut self, value: T) -> Result<(), PluginError> {
        let id = TypeId::of::<T>();
        if self.bindings.iter().any(|(other, _)| *other == id) {
            return Err(PluginError(format!("two plugins keep a `{}` for one component", std::any::type_name::<T>())));
        }
        self.bindings.push((id, Arc::new(value)));
        Ok(())
    }
}

/// One import of a unit that a plugin links.
pub struct Link<'a> {
    pub(crate) linker: &'a mut Linker<Ctx>,
    pub(crate) import: &'a str,
    pub(crate) interface: &'a InterfaceName,
    pub(crate) slot: usize,
}

impl Link<'_> {
    /// The interface, as the component imports it.
    pub fn interface(&self) -> &InterfaceName {
        self.interface
    }

    /// Whether the interface is this one, without regard to its version: `wasi:http/types`.
    pub fn is(&self, unversioned: &str) -> bool {
        self.interface.unversioned() == unversioned
    }

    /// The linker's instance that the functions go into.
    ///
    /// # Errors
    /// When the linker has something else of this name.
    pub fn instance(&mut self) -> wasmtime::Result<LinkerInstance<'_, Ctx>> {
        self.linker.instance(self.import)
    }

    /// Links functions of this import once more, in the place of those that were linked before.
    ///
    /// # Errors
    /// When the linker refuses one of them.
    pub fn again(
        &mut self,
        functions: impl FnOnce(&mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()>,
    ) -> wasmtime::Result<()> {
        self.linker.allow_shadowing(true);
        let linked = self.linker.instance(self.import).and_then(|mut instance| functions(&mut instance));
        self.linker.allow_shadowing(false);
        linked
    }

    /// The getter for generated bindings: the data that `V` makes for the component whose import this is.
    pub fn getter<V: View>(&self) -> Getter<V> {
        getter::<V>(self.slot)
    }
}

/// Why a trigger could not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TriggerError(
    /// What is wrong, and what to do.
    pub String,
);

/// A Rust type that calls components: an HTTP server, a timer, a subscription.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Wharf trigger",
    note = "implement `wharf::Trigger` for it: `name`, `attach` and `detach`"
)]
pub trait Trigger: Send + Sync + 'static {
    /// A name for messages, such as `http`.
    fn name(&self) -> &'static str;

    /// Attaches to a workload that has just started. A trigger takes from [`Running::workload`] what is declared for it,
    /// and calls the components through [`Running::entry`]. Another trigger may still refuse the workload.
    ///
    /// # Errors
    /// When what is declared for it cannot be; the workload does not start.
    async fn attach(&self, workload: &Arc<Running>) -> Result<(), TriggerError>;

    /// Every trigger has attached, and the workload runs. What a trigger calls of its own accord it calls from here on.
    async fn started(&self, workload: &Arc<Running>) {
        let _ = workload;
    }

    /// Puts a new version of a workload in the place of the old one, in one step where it can: no call is to find neither.
    ///
    /// # Errors
    /// When what is declared for it cannot be; the old one stays attached.
    async fn replace(&self, old: &Arc<Running>, new: &Arc<Running>) -> Result<(), TriggerError> {
        self.detach(old).await;
        let attached = self.attach(new).await;
        if attached.is_err() {
            self.attach(old).await?;
        }
        attached
    }

    /// Detaches from a workload that is stopping: from here on no new call is made. Calls that are under way go on.
    async fn detach(&self, workload: &Arc<Running>);

    /// The host is shutting down: no new calls for anybody, and return when those under way are done.
    async fn shutdown(&self) {}
}
