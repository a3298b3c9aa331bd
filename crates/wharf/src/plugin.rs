//! Plugins: Rust types that provide WIT interfaces to components.
//!
//! A plugin lives in stages. [`open`](Plugin::open) makes what it keeps for a workload, such as a connection pool;
//! [`bind`](Plugin::bind) makes what it keeps for one component; [`link`](Plugin::link) adds functions to a linker, and these
//! reach both through a [`View`]. [`unbind`](Plugin::unbind) and [`close`](Plugin::close) undo the first two, in the reverse
//! order, whenever a workload stops or does not start. WASI itself is a plugin ([`wasi`](crate::wasi)).

mod error;
mod planning;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use wasmtime::component::{Linker, LinkerInstance};
use workload::manifest::{Component, Settings, SettingsKey};
use workload::{InterfaceName, Name, Workload};

use crate::limits::Limits;
use crate::store::{Getter, StoreData, View, getter};

pub use error::PluginError;
pub use planning::{Grant, PlannedImport, Planning};

/// A Rust type that provides WIT interfaces to components.
///
/// Only [`name`](Self::name), [`interfaces`](Self::interfaces) and [`link`](Self::link) are required. `examples/embed` is a
/// whole program with a plugin of its own, in one short file.
///
/// ```
/// use wharf::wasmtime::{self, StoreContextMut};
/// use wharf::{Engine, Host, Link, Plugin, Provided, StoreData};
///
/// /// Provides the answer.
/// struct Answer;
///
/// impl Plugin for Answer {
///     fn name(&self) -> &'static str {
///         "answer"
///     }
///
///     fn interfaces(&self) -> Vec<Provided> {
///         vec![Provided::grant("acme:deep/thought@1.0.0")]
///     }
///
///     fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
///         link.instance()?.func_wrap("answer", |_: StoreContextMut<'_, StoreData>, (): ()| Ok((42_u32,)))
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let host = Host::builder(Engine::builder().pooling(false).build()?).plugin(Answer).build()?;
/// assert!(host.interfaces().iter().any(|interface| interface.plugin.as_deref() == Some("answer")));
/// # Ok(())
/// # }
/// ```
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Wharf plugin",
    note = "implement `wharf::Plugin` for it: `name`, `interfaces` and `link`; `open` and `bind` if it keeps state"
)]
pub trait Plugin: Any + Send + Sync {
    /// The plugin's name in messages, plans and links, such as `http`. Names are unique on a host.
    fn name(&self) -> &str;

    /// The interfaces that it provides. Two plugins may provide the same one: a link in the manifest then chooses.
    fn interfaces(&self) -> Vec<Provided>;

    /// The keys of the manifest that the plugin owns, apart from the components' `config`, which guests can read.
    fn settings(&self) -> Vec<SettingsKey> {
        Vec::new()
    }

    /// Checks what a workload declares for the plugin, and describes what it grants, without opening anything. `wharf plan` shows
    /// both, and a workload with a problem does not start. It is called whether or not the workload uses the plugin.
    fn plan(&self, planning: &mut Planning<'_>) {
        let _ = planning;
    }

    /// Opens the plugin for a workload that uses it, and keeps a [value](Opening::insert) for as long as the workload runs.
    /// The workload was resolved, compiled and linked before, so that nothing is opened for one that cannot start.
    ///
    /// A start that is stopped drops the future of [`open`](Self::open) or [`bind`](Self::bind): what it did so far is not closed
    /// or unbound. An author sees the refusals of all plugins at once, so that the others are opened and bound although one has
    /// refused; [`PluginError::and`] combines several of one plugin.
    ///
    /// # Errors
    /// [`PluginError`] when the plugin cannot serve the workload, which then does not start.
    async fn open(&self, opening: &mut Opening<'_>) -> Result<(), PluginError> {
        let _ = opening;
        Ok(())
    }

    /// Binds to one component, and keeps a [value](Binding::insert) that the component's calls find in their
    /// [`Scope`](crate::Scope).
    ///
    /// # Errors
    /// [`PluginError`] when the plugin cannot serve the component; the workload then does not start.
    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let _ = binding;
        Ok(())
    }

    /// Whether the plugin also binds to components that import none of its interfaces, because other plugins read the value
    /// that it binds.
    fn binds_every_component(&self) -> bool {
        false
    }

    /// Whether the plugin has parts, such as stores, that a link may name: `to = "<plugin>:<part>"`. [`bind`](Self::bind) then
    /// checks [`Binding::target`]; a link that names a part of any other plugin is refused.
    fn has_targets(&self) -> bool {
        false
    }

    /// Adds the functions of one interface to a linker.
    ///
    /// # Errors
    /// Those of the generated `add_to_linker_instance`.
    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()>;

    /// The memory that the host keeps for one of the plugin's resources, in bytes beyond its handle; 0 for a resource of another
    /// plugin. It counts in the instance's limit `memory`. Called for every resource of an instance from time to time.
    fn resource_size(&self, resource: &(dyn Any + Send), limits: &Limits) -> usize {
        let _ = (resource, limits);
        0
    }

    /// The plugin's health for a workload, as the workload's status shows it. A plugin that does not report within 2 seconds is
    /// unhealthy.
    async fn health(&self, workload: &OpenWorkload<'_>) -> Health {
        let _ = workload;
        Health::Healthy
    }

    /// Unbinds from a component to which [`bind`](Self::bind) succeeded. Its calls have ended, unless one blocks in a host function.
    /// It is given 10 seconds.
    async fn unbind(&self, component: &BoundComponent<'_>) {
        let _ = component;
    }

    /// Closes the plugin for a workload for which [`open`](Self::open) succeeded, after it was unbound from all components. It is
    /// given 10 seconds; the kept value is dropped afterwards.
    async fn close(&self, workload: &OpenWorkload<'_>) {
        let _ = workload;
    }

    /// The host is shutting down, and no workload is left.
    async fn shutdown(&self) {}
}

/// An interface that a plugin provides.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provided {
    /// The interface's name with its version, such as `wasi:config/store@0.2.0-rc.1`.
    pub name: String,
    /// Whether the interface grants something, as almost all do: each component then has its own. One that grants nothing is
    /// shared by a unit's components, so that they can pass its handles to each other.
    pub grant: bool,
}

impl Provided {
    /// An interface that each component has its own of.
    pub fn grant(name: impl Into<String>) -> Self {
        Self { name: name.into(), grant: true }
    }

    /// An interface that a unit's components share. A unit imports it once, and its [`View`]s receive the scope of the first
    /// component that imports it.
    pub fn shared(name: impl Into<String>) -> Self {
        Self { name: name.into(), grant: false }
    }
}

/// The health of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// The plugin serves calls.
    Healthy,
    /// The plugin cannot serve calls for now; the text says why.
    Unhealthy(String),
}

/// A value that a plugin keeps.
type PluginValue = Option<Arc<dyn Any + Send + Sync>>;

fn downcast<T: Send + Sync + 'static>(kept: &PluginValue) -> Option<&T> {
    kept.as_ref().and_then(|value| value.downcast_ref())
}

/// Decodes the settings under a key.
fn decode<T: DeserializeOwned>(settings: &BTreeMap<String, Settings>, key: &str) -> Result<Option<T>, PluginError> {
    let decoded = settings.get(key).map(|settings| settings.decode_at(key)).transpose();
    decoded.map_err(|error| PluginError::from(error).below(key))
}

/// A workload that a plugin opens for.
pub struct Opening<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) components: &'a [Name],
    pub(crate) value: PluginValue,
}

impl Opening<'_> {
    /// The workload.
    pub fn workload(&self) -> &Workload {
        self.workload
    }

    /// The workload's settings under a key that the plugin [owns](Plugin::settings); `None` when the manifest has none.
    ///
    /// ```
    /// use wharf::{Opening, PluginError};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Cache {
    ///     url: String,
    /// }
    ///
    /// /// In [`Plugin::open`](wharf::Plugin::open): reads `[cache]`.
    /// fn open(opening: &mut Opening<'_>) -> Result<(), PluginError> {
    ///     if let Some(Cache { url }) = opening.settings("cache")? {
    ///         opening.insert(url);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`PluginError`] with the place, when the settings are not a `T`.
    pub fn settings<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, PluginError> {
        decode(&self.workload.settings, key)
    }

    /// The components that import from the plugin.
    pub fn components(&self) -> &[Name] {
        self.components
    }

    /// Keeps a value for the workload; [`Binding::opened`] and [`OpenWorkload::opened`] find it.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.value = Some(Arc::new(value));
    }
}

/// A workload that a plugin was opened for.
pub struct OpenWorkload<'a> {
    pub(crate) id: &'a str,
    pub(crate) value: &'a PluginValue,
}

impl OpenWorkload<'_> {
    /// The workload's id, `namespace/name`.
    pub fn id(&self) -> &str {
        self.id
    }

    /// The value that [`Plugin::open`] kept, if it is a `T`.
    pub fn opened<T: Send + Sync + 'static>(&self) -> Option<&T> {
        downcast(self.value)
    }
}

/// An import of a component that a plugin satisfies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BoundImport {
    /// The interface.
    pub interface: InterfaceName,
    /// The label under which the component imports it, if the import has one.
    pub label: Option<String>,
    /// The functions that the component imports of it.
    pub functions: Vec<String>,
}

/// A component that a plugin binds to.
///
/// A component is bound once for each [target](Self::target) of the plugin that its imports are linked to.
pub struct Binding<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) name: &'a Name,
    pub(crate) component: &'a Component,
    pub(crate) imports: &'a [BoundImport],
    pub(crate) target: Option<&'a str>,
    pub(crate) opened: &'a PluginValue,
    pub(crate) value: PluginValue,
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

    /// The component as it was declared.
    pub fn component(&self) -> &Component {
        self.component
    }

    /// The component's settings under a key that the plugin [owns](Plugin::settings); `None` when the manifest has none.
    ///
    /// # Errors
    /// [`PluginError`] with the place, when the settings are not a `T`.
    pub fn settings<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, PluginError> {
        decode(&self.component.settings, key)
    }

    /// The imports that this binding serves, with the functions that the component uses.
    pub fn imports(&self) -> &[BoundImport] {
        self.imports
    }

    /// The part of the plugin that a link chose, such as a store's name; `None` without a link that names one.
    pub fn target(&self) -> Option<&str> {
        self.target
    }

    /// The value that [`Plugin::open`] kept for the workload, if it is a `T`.
    pub fn opened<T: Send + Sync + 'static>(&self) -> Option<&T> {
        downcast(self.opened)
    }

    /// Keeps a value for every call of this component.
    ///
    /// ```
    /// use wharf::{Binding, PluginError};
    ///
    /// struct Greeting(String);
    ///
    /// /// In [`Plugin::bind`](wharf::Plugin::bind).
    /// fn bind(binding: &mut Binding<'_>) -> Result<(), PluginError> {
    ///     let name = binding.component().config.get("name").cloned();
    ///     let name = name.ok_or_else(|| PluginError::new("missing `name`").at("config").hint("add it"))?;
    ///     binding.insert(Greeting(format!("hello, {name}")));
    ///     Ok(())
    /// }
    /// ```
    ///
    /// [`Scope::binding`](crate::Scope::binding) finds it by its type, which is
    /// the plugin's own.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.value = Some(Arc::new(value));
    }
}

/// A component that a plugin is bound to.
pub struct BoundComponent<'a> {
    pub(crate) workload: &'a str,
    pub(crate) name: &'a Name,
    pub(crate) value: &'a PluginValue,
}

impl BoundComponent<'_> {
    /// The workload's id, `namespace/name`.
    pub fn workload(&self) -> &str {
        self.workload
    }

    /// The component's name.
    pub fn name(&self) -> &Name {
        self.name
    }

    /// The value that [`Plugin::bind`] kept, if it is a `T`.
    pub fn binding<T: Send + Sync + 'static>(&self) -> Option<&T> {
        downcast(self.value)
    }
}

/// One import of a unit that a plugin links.
pub struct Link<'a> {
    pub(crate) linker: &'a mut Linker<StoreData>,
    pub(crate) import: &'a str,
    pub(crate) interface: &'a InterfaceName,
    pub(crate) label: Option<&'a str>,
    pub(crate) slot: usize,
}

impl Link<'_> {
    /// The interface, as the component imports it.
    pub fn interface(&self) -> &InterfaceName {
        self.interface
    }

    /// The label under which the component imports the interface, if the import has one.
    pub fn label(&self) -> Option<&str> {
        self.label
    }

    /// Whether the interface has this name, whatever its version: `wasi:http/types`.
    pub fn is(&self, unversioned: &str) -> bool {
        self.interface.unversioned() == unversioned
    }

    /// The linker's instance that the functions are added to.
    ///
    /// # Errors
    /// When the linker has an item of another kind under this name.
    pub fn instance(&mut self) -> wasmtime::Result<LinkerInstance<'_, StoreData>> {
        self.linker.instance(self.import)
    }

    /// Replaces functions of this import that were linked before.
    ///
    /// ```
    /// use wharf::wasmtime::{self, StoreContextMut};
    /// use wharf::{Link, StoreData};
    ///
    /// fn link(link: &mut Link<'_>) -> wasmtime::Result<()> {
    ///     link.instance()?.func_wrap("level", |_: StoreContextMut<'_, StoreData>, (): ()| Ok((1_u32,)))?;
    ///     link.replace(|instance| instance.func_wrap("level", |_: StoreContextMut<'_, StoreData>, (): ()| Ok((2_u32,))))
    /// }
    /// ```
    ///
    /// # Errors
    /// When the linker refuses one of them.
    pub fn replace(
        &mut self,
        functions: impl FnOnce(&mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()>,
    ) -> wasmtime::Result<()> {
        self.linker.allow_shadowing(true);
        let linked = self.linker.instance(self.import).and_then(|mut instance| functions(&mut instance));
        self.linker.allow_shadowing(false);
        linked
    }

    /// The getter for generated bindings: the data that `V` makes for the component that imports the interface.
    pub fn getter<V: View>(&self) -> Getter<V> {
        getter::<V>(self.slot)
    }
}
