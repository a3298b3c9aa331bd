//! Slots: which binding each import of a unit reaches.
//!
//! Takes a unit of a resolution and the host's plugins; gives the unit's [`UnitSlots`]. A component has a slot for all its
//! bindings, unless two of them could be confused: those of two plugins of one Rust type, of two targets of one plugin, or of
//! two plugins that provide the same interface under different labels. Each of these beyond the first has a slot of its own.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use workload::resolution::{Provider, ResolvedImport};
use workload::{InterfaceName, Name, Resolution, Unit};

use crate::limits::Limits;
use crate::plugin::Plugin;
use crate::store::ResourceSize;
use crate::wasi;

/// The plugins of a host.
pub(crate) struct Plugins(pub(crate) Vec<Arc<dyn Plugin>>);

impl ResourceSize for Plugins {
    fn resource_size(&self, resource: &(dyn Any + Send), limits: &Limits) -> usize {
        self.0.iter().map(|plugin| plugin.resource_size(resource, limits)).sum()
    }
}

/// A plugin, and the part of it that a link chose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BindingKey {
    /// The index of the plugin.
    pub(crate) plugin: usize,
    pub(crate) target: Option<String>,
}

impl Plugins {
    fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|plugin| plugin.name() == name)
    }

    /// The binding that satisfies an import; `None` for those of siblings, and of types alone.
    pub(crate) fn binding(&self, import: &ResolvedImport) -> Option<BindingKey> {
        let (plugin, target) = match &import.provider {
            Provider::Plugin { plugin, target, .. } => (plugin.as_str(), target.clone()),
            Provider::Wasi { .. } => (wasi::NAME, None),
            _ => return None,
        };
        Some(BindingKey { plugin: self.index(plugin)?, target })
    }

    fn type_of(&self, key: &BindingKey) -> TypeId {
        let plugin: &dyn Any = &*self.0[key.plugin];
        plugin.type_id()
    }
}

/// The slots of a unit: first its components in their order, then the additional bindings.
#[derive(Debug, Default)]
pub(crate) struct UnitSlots {
    components: usize,
    /// The component of each slot, and the one binding of an additional slot.
    pub(crate) slots: Vec<(Name, Option<BindingKey>)>,
    additional: HashMap<(usize, BindingKey), usize>,
}

impl UnitSlots {
    /// Assigns the slots of a unit.
    pub(crate) fn assign(unit: &Unit, resolution: &Resolution, plugins: &Plugins) -> Self {
        let mut this = Self {
            components: unit.components.len(),
            slots: unit.components.iter().map(|name| (name.clone(), None)).collect(),
            additional: HashMap::new(),
        };
        for (index, name) in unit.components.iter().enumerate() {
            // Plugins that bind to every component have its first slot, so that others find their values there.
            let (every, others): (Vec<_>, Vec<_>) = bindings(&resolution.components[name], plugins)
                .into_iter()
                .partition(|(key, _)| plugins.0[key.plugin].binds_every_component());
            let mut first: Vec<(BindingKey, Vec<&InterfaceName>)> = Vec::new();
            for (key, interfaces) in every.into_iter().chain(others) {
                let confusable = first.iter().any(|(other, provided)| {
                    plugins.type_of(other) == plugins.type_of(&key)
                        || interfaces.iter().any(|interface| provided.iter().any(|p| p.same_interface(interface)))
                });
                if confusable {
                    this.additional.insert((index, key.clone()), this.slots.len());
                    this.slots.push((name.clone(), Some(key)));
                } else {
                    first.push((key, interfaces));
                }
            }
        }
        this
    }

    /// The number of components.
    pub(crate) fn components(&self) -> usize {
        self.components
    }

    /// Whether a binding has a slot of its own.
    pub(crate) fn is_additional(&self, component: &Name, key: &BindingKey) -> bool {
        self.slots.iter().any(|(name, additional)| name == component && additional.as_ref() == Some(key))
    }

    /// The slot of a component's binding.
    pub(crate) fn of(&self, component: usize, key: &BindingKey) -> usize {
        self.additional.get(&(component, key.clone())).copied().unwrap_or(component)
    }
}

/// The bindings of a component, each with the interfaces that it serves.
pub(crate) fn bindings<'r>(
    imports: &'r [ResolvedImport],
    plugins: &Plugins,
) -> Vec<(BindingKey, Vec<&'r InterfaceName>)> {
    let mut bindings: Vec<(BindingKey, Vec<&InterfaceName>)> = Vec::new();
    for import in imports {
        let (Some(key), Some(interface)) = (plugins.binding(import), &import.interface) else { continue };
        match bindings.iter_mut().find(|(other, _)| *other == key) {
            Some((_, interfaces)) => interfaces.push(interface),
            None => bindings.push((key, vec![interface])),
        }
    }
    bindings
}
