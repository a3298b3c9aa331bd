//! Linked units → open plugins.
//!
//! Takes a workload that is resolved and linked, and the host's plugins; opens each plugin that the workload uses, and binds
//! it to its components: [`Grants`]. [`Grants::release`] undoes both in the reverse order. Never calls a component.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::Instrument as _;
use workload::{ComponentType, Name, Resolution, Workload};

use super::slots::{BindingKey, Plugins, UnitSlots, bindings};
use crate::plugin::{Binding, BoundComponent, BoundImport, Health, OpenWorkload, Opening, Plugin, PluginError};
use crate::store::{ComponentContext, SlotBinding};

type Value = Option<Arc<dyn Any + Send + Sync>>;

/// The plugins that are open for a workload, and bound to its components.
pub(crate) struct Grants {
    workload: Arc<str>,
    opened: Vec<Opened>,
    bound: Vec<Bound>,
}

struct Opened {
    plugin: Arc<dyn Plugin>,
    index: usize,
    value: Value,
}

struct Bound {
    plugin: Arc<dyn Plugin>,
    component: Name,
    key: BindingKey,
    value: Value,
}

/// Why a plugin did not open or bind.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{plugin}` refuses {}: {error}", component.as_ref().map_or("the workload".to_owned(), |name| format!("`{name}`")))]
pub struct GrantError {
    /// The plugin.
    pub plugin: String,
    /// The component, if the plugin refuses one.
    pub component: Option<Name>,
    /// Why.
    #[source]
    pub error: PluginError,
}

impl GrantError {
    /// Its place in the manifest, as a dotted path; empty if the plugin gave none for the workload.
    pub fn place(&self) -> String {
        match (&self.component, self.error.place()) {
            (Some(component), Some(place)) => format!("components.{component}.{place}"),
            (Some(component), None) => format!("components.{component}"),
            (None, place) => place.unwrap_or_default().to_owned(),
        }
    }
}

/// Opens and binds the plugins of a workload.
pub(crate) async fn grant(
    workload: &Workload,
    resolution: &Resolution,
    types: &BTreeMap<Name, ComponentType>,
    plugins: &Plugins,
    units: &[&UnitSlots],
) -> Result<Grants, GrantError> {
    let mut grants = Grants { workload: workload.id().into(), opened: Vec::new(), bound: Vec::new() };
    match grants.open_and_bind(workload, resolution, types, plugins).await {
        Ok(()) => match grants.conflict(units) {
            None => Ok(grants),
            Some(error) => {
                grants.release().await;
                Err(error)
            }
        },
        Err(error) => {
            grants.release().await;
            Err(error)
        }
    }
}

impl Grants {
    async fn open_and_bind(
        &mut self,
        workload: &Workload,
        resolution: &Resolution,
        types: &BTreeMap<Name, ComponentType>,
        plugins: &Plugins,
    ) -> Result<(), GrantError> {
        let used = |index: usize| -> Vec<Name> {
            let uses = |name: &&Name| {
                let imports = &resolution.components[*name];
                imports.iter().any(|import| plugins.binding(import).is_some_and(|key| key.plugin == index))
            };
            workload.components.keys().filter(uses).cloned().collect()
        };
        for (index, plugin) in plugins.0.iter().enumerate() {
            let components = used(index);
            if !components.is_empty() || plugin.binds_every_component() {
                self.open(workload, plugin, index, &components).await?;
            }
        }
        for (name, imports) in &resolution.components {
            let mut keys: Vec<BindingKey> = bindings(imports, plugins).into_iter().map(|(key, _)| key).collect();
            // A plugin that binds to every component binds first, so that the others find its value.
            for (plugin, _) in plugins.0.iter().enumerate().filter(|(_, plugin)| plugin.binds_every_component()) {
                keys.retain(|key| key.plugin != plugin);
                keys.insert(0, BindingKey { plugin, target: None });
            }
            for key in keys {
                self.bind(workload, name, bound_imports(imports, &types[name], &key, plugins), key, plugins).await?;
            }
        }
        Ok(())
    }

    async fn open(
        &mut self,
        workload: &Workload,
        plugin: &Arc<dyn Plugin>,
        index: usize,
        components: &[Name],
    ) -> Result<(), GrantError> {
        let mut opening = Opening { workload, components, value: None };
        let span = tracing::debug_span!("open", workload = &*self.workload, plugin = plugin.name());
        let opened = plugin.open(&mut opening).instrument(span).await;
        let value = opening.value;
        let refused = |error| GrantError { plugin: plugin.name().to_owned(), component: None, error };
        opened.map_err(refused)?;
        self.opened.push(Opened { plugin: plugin.clone(), index, value });
        Ok(())
    }

    async fn bind(
        &mut self,
        workload: &Workload,
        name: &Name,
        imports: Vec<BoundImport>,
        key: BindingKey,
        plugins: &Plugins,
    ) -> Result<(), GrantError> {
        let plugin = &plugins.0[key.plugin];
        let opened = self.opened.iter().find(|opened| opened.index == key.plugin).map_or(&None, |opened| &opened.value);
        let mut binding = Binding {
            workload,
            name,
            component: &workload.components[name],
            imports: &imports,
            target: key.target.as_deref(),
            opened,
            value: None,
        };
        let span = tracing::debug_span!("bind", workload = &*self.workload, component = %name, plugin = plugin.name());
        let bound = plugin.bind(&mut binding).instrument(span).await;
        let value = binding.value;
        let refused = |error| GrantError { plugin: plugin.name().to_owned(), component: Some(name.clone()), error };
        bound.map_err(refused)?;
        self.bound.push(Bound { plugin: plugin.clone(), component: name.clone(), key, value });
        Ok(())
    }

    /// Two plugins that bound values of one Rust type to a component, under which a view would find the wrong one.
    fn conflict(&self, units: &[&UnitSlots]) -> Option<GrantError> {
        let own_slot = |bound: &Bound| units.iter().any(|unit| unit.is_further(&bound.component, &bound.key));
        let type_of = |bound: &Bound| bound.value.as_ref().map(|value| (**value).type_id());
        for (i, bound) in self.bound.iter().enumerate().filter(|(_, bound)| bound.value.is_some() && !own_slot(bound)) {
            let same = |other: &&Bound| {
                other.component == bound.component && type_of(other) == type_of(bound) && !own_slot(other)
            };
            if let Some(other) = self.bound[..i].iter().find(same) {
                let message = format!("plugin `{}` binds a value of the same Rust type", other.plugin.name());
                let (plugin, component) = (bound.plugin.name().to_owned(), Some(bound.component.clone()));
                return Some(GrantError { plugin, component, error: PluginError::new(message) });
            }
        }
        None
    }

    /// The slots of a unit, with their components and bindings.
    pub(crate) fn slots(&self, slots: &UnitSlots) -> Vec<SlotBinding> {
        let of = |(name, key): &(Name, Option<BindingKey>)| SlotBinding {
            component: self.context(name, slots),
            extra: key.as_ref().and_then(|key| {
                self.bound.iter().find(|bound| bound.component == *name && bound.key == *key)?.value.clone()
            }),
        };
        slots.slots.iter().map(of).collect()
    }

    /// A component with the values bound to it, but for those in slots of their own.
    fn context(&self, name: &Name, slots: &UnitSlots) -> Arc<ComponentContext> {
        let shared = self.bound.iter().filter(|bound| bound.component == *name && !slots.is_further(name, &bound.key));
        let values = shared.filter_map(|bound| bound.value.clone());
        let bindings = values.map(|value| ((*value).type_id(), value)).collect();
        Arc::new(ComponentContext { workload: self.workload.clone(), component: name.clone(), bindings })
    }

    /// The health of each plugin that is open.
    pub(crate) async fn health(&self) -> Vec<(String, Health)> {
        let mut health = Vec::new();
        for Opened { plugin, value, .. } in &self.opened {
            let workload = OpenWorkload { id: &self.workload, value };
            health.push((plugin.name().to_owned(), plugin.health(&workload).await));
        }
        health
    }

    /// Unbinds and closes the plugins, the last one first.
    pub(crate) async fn release(&mut self) {
        release(&self.workload, &mut self.bound, &mut self.opened).await;
    }
}

/// Unbinds and closes plugins, the last one first. If it is cancelled, the others stay in the lists.
async fn release(workload: &str, bound: &mut Vec<Bound>, opened: &mut Vec<Opened>) {
    while let Some(Bound { plugin, component, value, .. }) = bound.pop() {
        plugin.unbind(&BoundComponent { workload, name: &component, value: &value }).await;
    }
    while let Some(Opened { plugin, value, .. }) = opened.pop() {
        plugin.close(&OpenWorkload { id: workload, value: &value }).await;
    }
}

/// Releases the plugins in a task: the future that opened them was dropped, or the workload was not stopped.
impl Drop for Grants {
    fn drop(&mut self) {
        let (mut bound, mut opened) = (std::mem::take(&mut self.bound), std::mem::take(&mut self.opened));
        if bound.is_empty() && opened.is_empty() {
            return;
        }
        // A runtime that is shutting down drops the task, and the plugins' values with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let workload = self.workload.clone();
            runtime.spawn(async move { release(&workload, &mut bound, &mut opened).await });
        }
    }
}

/// The imports that a binding serves.
fn bound_imports(
    imports: &[workload::resolution::ResolvedImport],
    ty: &ComponentType,
    key: &BindingKey,
    plugins: &Plugins,
) -> Vec<BoundImport> {
    let served = imports.iter().filter(|import| plugins.binding(import).as_ref() == Some(key));
    let bound = served.filter_map(|import| {
        let functions = ty.import_functions(&import.import);
        Some(BoundImport { interface: import.interface.clone()?, label: import.label.clone(), functions })
    });
    bound.collect()
}
