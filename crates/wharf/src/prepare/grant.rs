//! Linked units → open plugins.
//!
//! Takes a workload that is resolved and linked, and the host's plugins; opens each plugin that the workload uses, and binds
//! it to its components: [`Grants`]. [`Grants::release`] undoes both in the reverse order. Never calls a component.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument as _;
use workload::manifest::Link;
use workload::resolution::{ProvidedComponent, ResolvedImport};
use workload::{ComponentType, Name, Resolution, Workload};

use super::slots::{BindingKey, Plugins, UnitSlots, bindings};
use crate::plugin::{
    Binding, BoundComponent, BoundImport, Health, OpenWorkload, Opening, PlannedImport, Plugin, PluginError,
};
use crate::store::ComponentContext;
use crate::wasi;

/// How long a plugin may take to unbind from a component, or to close.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a plugin may take to report its health.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

type Value = Option<Arc<dyn Any + Send + Sync>>;

/// The plugins that are open for a workload, and bound to its components.
pub(crate) struct Grants {
    workload: Arc<str>,
    opened: Vec<Arc<Opened>>,
    bound: Vec<Bound>,
    /// Held until a start that was cancelled has released what it opened.
    operation: Option<TaskTrackerToken>,
}

/// A plugin that is open for a workload.
pub(crate) struct Opened {
    workload: Arc<str>,
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

/// The component of a workload that calls a component of the host, bound to the latter.
pub(crate) struct Caller {
    pub(crate) workload: Arc<str>,
    pub(crate) component: Name,
}

/// Why a plugin did not open or bind.
#[derive(Debug, thiserror::Error)]
#[error("{}{error}", self.refusal())]
#[non_exhaustive]
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
    /// The beginning of the message. WASI is no plugin to the author of a manifest.
    fn refusal(&self) -> String {
        match &self.component {
            _ if self.plugin == wasi::NAME => String::new(),
            Some(component) => format!("plugin `{}` refuses `{component}`: ", self.plugin),
            None => format!("plugin `{}` refuses the workload: ", self.plugin),
        }
    }

    /// Its place in the manifest, as a dotted path; `None` if the plugin gave none for the workload.
    pub fn place(&self) -> Option<String> {
        match (&self.component, self.error.place()) {
            (Some(component), Some(place)) => Some(format!("components.{component}.{place}")),
            (Some(component), None) => Some(format!("components.{component}")),
            (None, place) => place.map(str::to_owned),
        }
    }
}

/// The refusals of a plugin, each as an error of its own.
fn refusals(plugin: &str, component: Option<&Name>, refusal: PluginError) -> Vec<GrantError> {
    let error = |error| GrantError { plugin: plugin.to_owned(), component: component.cloned(), error };
    refusal.into_each().into_iter().map(error).collect()
}

/// Opens and binds the plugins of a workload.
///
/// # Errors
/// Every [`GrantError`], after what was opened is closed again.
pub(crate) async fn grant(
    workload: &Workload,
    resolution: &Resolution,
    types: &BTreeMap<Name, ComponentType>,
    plugins: &Plugins,
    units: &[&UnitSlots],
    operation: TaskTrackerToken,
) -> Result<Grants, Vec<GrantError>> {
    let mut errors = wrong_targets(resolution, plugins);
    let workload_id = workload.id().into();
    let mut grants =
        Grants { workload: workload_id, opened: Vec::new(), bound: Vec::new(), operation: Some(operation) };
    grants.open_and_bind(workload, resolution, types, plugins, &mut errors).await;
    errors.extend(grants.conflict(units));
    if !errors.is_empty() {
        grants.release().await;
        return Err(errors);
    }
    // From here on the workload is stopped by the host, which waits for it.
    grants.operation = None;
    Ok(grants)
}

/// The links that name a part of a plugin without parts.
fn wrong_targets(resolution: &Resolution, plugins: &Plugins) -> Vec<GrantError> {
    let mut errors = Vec::new();
    for (name, imports) in &resolution.components {
        for key in imports.iter().filter_map(|import| plugins.binding(import)) {
            let (plugin, Some(target)) = (&plugins.0[key.plugin], key.target) else { continue };
            if !plugin.has_targets() {
                let (plugin, message) = (plugin.name().to_owned(), format!("it has no part `{target}` to link to"));
                let error = PluginError::new(message).hint(format!("link to `{plugin}` alone"));
                errors.push(GrantError { plugin, component: Some(name.clone()), error });
            }
        }
    }
    errors
}

impl Grants {
    /// Opens and binds every plugin that does not refuse, so that all refusals come at once.
    async fn open_and_bind(
        &mut self,
        workload: &Workload,
        resolution: &Resolution,
        types: &BTreeMap<Name, ComponentType>,
        plugins: &Plugins,
        errors: &mut Vec<GrantError>,
    ) {
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
                errors.extend(self.open(workload, plugin, index, &components).await);
            }
        }
        // The host's own components have grants of their own.
        for (name, imports) in resolution.components.iter().filter(|(name, _)| workload.components.contains_key(*name))
        {
            let mut keys: Vec<BindingKey> = bindings(imports, plugins).into_iter().map(|(key, _)| key).collect();
            // A plugin that binds to every component binds first, so that the others find its value.
            for (plugin, _) in plugins.0.iter().enumerate().filter(|(_, plugin)| plugin.binds_every_component()) {
                keys.retain(|key| key.plugin != plugin);
                keys.insert(0, BindingKey { plugin, target: None });
            }
            // A part that the plugin does not have was reported.
            keys.retain(|key| key.target.is_none() || plugins.0[key.plugin].has_targets());
            keys.retain(|key| self.opened.iter().any(|opened| opened.index == key.plugin));
            for key in keys {
                let bound = bound_imports(imports, &types[name], &key, plugins);
                errors.extend(self.bind(workload, name, bound, key, plugins).await);
            }
        }
    }

    async fn open(
        &mut self,
        workload: &Workload,
        plugin: &Arc<dyn Plugin>,
        index: usize,
        components: &[Name],
    ) -> Vec<GrantError> {
        let mut opening = Opening { workload, components, value: None };
        let span = tracing::debug_span!("open", workload = &*self.workload, plugin = plugin.name());
        let opened = plugin.open(&mut opening).instrument(span).await;
        let value = opening.value;
        if let Err(refusal) = opened {
            return refusals(plugin.name(), None, refusal);
        }
        let workload = self.workload.clone();
        self.opened.push(Arc::new(Opened { workload, plugin: plugin.clone(), index, value }));
        Vec::new()
    }

    async fn bind(
        &mut self,
        workload: &Workload,
        name: &Name,
        imports: Vec<BoundImport>,
        key: BindingKey,
        plugins: &Plugins,
    ) -> Vec<GrantError> {
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
        if let Err(refusal) = bound {
            return refusals(plugin.name(), Some(name), refusal);
        }
        self.bound.push(Bound { plugin: plugin.clone(), component: name.clone(), key, value });
        Vec::new()
    }

    /// Two plugins that bound values of one Rust type to a component, under which a view would find the wrong one.
    fn conflict(&self, units: &[&UnitSlots]) -> Option<GrantError> {
        let own_slot = |bound: &Bound| units.iter().any(|unit| unit.is_additional(&bound.component, &bound.key));
        let type_of = |bound: &Bound| bound.value.as_ref().map(|value| (**value).type_id());
        for (i, bound) in self.bound.iter().enumerate().filter(|(_, bound)| bound.value.is_some() && !own_slot(bound)) {
            let same = |other: &&Bound| {
                other.component == bound.component && type_of(other) == type_of(bound) && !own_slot(other)
            };
            if let Some(other) = self.bound[..i].iter().find(same) {
                let message = format!("plugin `{}` binds a value of the same Rust type", other.plugin.name());
                let error = PluginError::new(message).hint("each plugin must bind values of a type of its own");
                let (plugin, component) = (bound.plugin.name().to_owned(), Some(bound.component.clone()));
                return Some(GrantError { plugin, component, error });
            }
        }
        None
    }

    /// The component of each slot of a unit, with the values that its imports find. `host` has the grants of the host's own components,
    /// of which the workload's have none.
    pub(crate) fn contexts(
        &self,
        unit: &UnitSlots,
        provided: &BTreeMap<Name, ProvidedComponent>,
        host: Option<&Grants>,
        plugins: &Plugins,
    ) -> Vec<Arc<ComponentContext>> {
        let context = |(name, additional): &(Name, Option<BindingKey>)| {
            let (grants, component, caller) = match provided.get(name).zip(host) {
                Some((provided, host)) => (host, &provided.component, provided.caller.as_ref()),
                None => (self, name, None),
            };
            let of_component = grants.bound.iter().filter(|bound| bound.component == *component);
            // An additional binding must not find the value of one that it could be confused with.
            let visible = of_component.filter(|bound| match additional {
                None => !unit.is_additional(name, &bound.key),
                Some(key) => bound.key == *key || plugins.0[bound.key.plugin].binds_every_component(),
            });
            let values = visible.filter_map(|bound| bound.value.clone());
            let mut bindings: Vec<_> = values.map(|value| ((*value).type_id(), value)).collect();
            if let Some(caller) = caller {
                let caller = Caller { workload: self.workload.clone(), component: caller.clone() };
                bindings.push((TypeId::of::<Caller>(), Arc::new(caller)));
            }
            Arc::new(ComponentContext { workload: grants.workload.clone(), component: component.clone(), bindings })
        };
        unit.slots.iter().map(context).collect()
    }

    /// The plugins that are open, for reports of their health.
    pub(crate) fn opened(&self) -> Vec<Arc<Opened>> {
        self.opened.clone()
    }

    /// Unbinds and closes the plugins, the last one first.
    pub(crate) async fn release(&mut self) {
        let (bound, opened) = (std::mem::take(&mut self.bound), std::mem::take(&mut self.opened));
        release(self.workload.clone(), bound, opened).await;
    }
}

impl Opened {
    /// The plugin's name.
    pub(crate) fn plugin(&self) -> &str {
        self.plugin.name()
    }

    /// The plugin's health; unhealthy if it does not report in time.
    pub(crate) async fn health(&self) -> Health {
        let workload = OpenWorkload { id: &self.workload, value: &self.value };
        let health = tokio::time::timeout(HEALTH_TIMEOUT, self.plugin.health(&workload)).await;
        health.unwrap_or_else(|_| Health::Unhealthy(format!("no report within {HEALTH_TIMEOUT:?}")))
    }
}

/// Unbinds and closes plugins, the last one first.
async fn release(workload: Arc<str>, bound: Vec<Bound>, opened: Vec<Arc<Opened>>) {
    let late = |plugin: &str, what: &str| {
        tracing::warn!(%workload, plugin, "the plugin did not {what} within {RELEASE_TIMEOUT:?}");
    };
    for Bound { plugin, component, value, .. } in bound.into_iter().rev() {
        let component = BoundComponent { workload: &workload, name: &component, value: &value };
        let span = tracing::debug_span!("unbind", %workload, component = %component.name(), plugin = plugin.name());
        if tokio::time::timeout(RELEASE_TIMEOUT, plugin.unbind(&component).instrument(span)).await.is_err() {
            late(plugin.name(), "unbind");
        }
    }
    for opened in opened.into_iter().rev() {
        let (plugin, open) = (&opened.plugin, OpenWorkload { id: &workload, value: &opened.value });
        let span = tracing::debug_span!("close", %workload, plugin = plugin.name());
        if tokio::time::timeout(RELEASE_TIMEOUT, plugin.close(&open).instrument(span)).await.is_err() {
            late(plugin.name(), "close");
        }
    }
}

/// Releases the plugins in a task: the future that opened them was dropped, or the workload was not stopped.
impl Drop for Grants {
    fn drop(&mut self) {
        let (bound, opened) = (std::mem::take(&mut self.bound), std::mem::take(&mut self.opened));
        if bound.is_empty() && opened.is_empty() {
            return;
        }
        // A runtime that is shutting down drops the task, and the plugins' values with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (workload, operation) = (self.workload.clone(), self.operation.take());
            runtime.spawn(async move {
                let _operation = operation;
                release(workload, bound, opened).await;
            });
        }
    }
}

/// The imports that a binding serves.
fn bound_imports(
    imports: &[ResolvedImport],
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

/// The imports of each component that a plugin satisfies, with the part of it that a link chose.
pub(crate) fn planned_imports(
    workload: &Workload,
    resolution: &Resolution,
    types: &BTreeMap<Name, ComponentType>,
    plugins: &Plugins,
    plugin: usize,
) -> BTreeMap<Name, Vec<PlannedImport>> {
    let of = |name: &Name, imports: &[ResolvedImport]| {
        let mut planned = Vec::new();
        for (key, _) in bindings(imports, plugins).into_iter().filter(|(key, _)| key.plugin == plugin) {
            for import in bound_imports(imports, types.get(name)?, &key, plugins) {
                let chosen = |link: &Link| {
                    let is_import =
                        |text: &str| import.label.as_deref() == Some(text) || import.interface.is_named(text);
                    link.from == *name && link.to.target == key.target && is_import(&link.import)
                };
                let link = workload.links.iter().position(chosen).filter(|_| key.target.is_some());
                planned.push(PlannedImport { import, target: key.target.clone(), link });
            }
        }
        (!planned.is_empty()).then(|| (name.clone(), planned))
    };
    resolution.components.iter().filter_map(|(name, imports)| of(name, imports)).collect()
}
