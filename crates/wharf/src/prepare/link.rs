//! Compiled unit → a pre-instantiated unit.
//!
//! Takes a fused unit, its compiled code, its slots and the host's plugins; gives a [`wasmtime::component::InstancePre`] in
//! which every import has its function. Never makes an instance, and opens nothing.

use wasmtime::component::{Component, InstancePre, Linker, types::ComponentItem};
use workload::resolution::ResolvedImport;
use workload::{InterfaceName, Resolution};

use super::fuse::Fused;
use super::slots::{Plugins, UnitSlots};
use crate::engine::compile::Modules;
use crate::plugin::Link;
use crate::store::{MAX_SLOTS, StoreData};

/// Why a unit could not be linked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The unit has more components and additional bindings than a host has slots for.
    #[error("the unit needs {0} slots (components and additional bindings); the limit is {MAX_SLOTS}")]
    TooManyComponents(usize),
    /// An import does not match what the host provides.
    #[error("import `{import}` of `{component}` does not match what the host provides: {detail}")]
    Import {
        /// The component.
        component: String,
        /// The import, by its own name.
        import: String,
        /// The engine's error.
        detail: String,
    },
    /// The engine rejects the unit.
    #[error("the engine rejects the unit: {0}")]
    Rejected(String),
}

/// Links a unit.
///
/// # Errors
/// Every [`LinkError`], one for each import that does not match.
pub(crate) fn link(
    fused: &Fused,
    slots: &UnitSlots,
    resolution: &Resolution,
    (component, modules): (&Component, &Modules),
    plugins: &Plugins,
) -> Result<InstancePre<StoreData>, Vec<LinkError>> {
    if slots.slots.len() > MAX_SLOTS {
        return Err(vec![LinkError::TooManyComponents(slots.slots.len())]);
    }
    let mut errors = Vec::new();
    let engine = component.engine();
    let mut linker = Linker::<StoreData>::new(engine);
    for (name, module) in modules {
        if let Some(module) = module.get() {
            linker.root().module(name, module).map_err(|error| vec![rejected(fused, &error)])?;
        }
    }
    let ty = component.component_type();
    for (name, item) in ty.imports(engine) {
        if !matches!(item.ty, ComponentItem::ComponentInstance(_)) {
            continue;
        }
        // An import that only carries types has no provider.
        let Some((index, import)) = importer(name, fused, resolution, plugins) else { continue };
        let (Some(key), Some(interface)) = (plugins.binding(import), &import.interface) else { continue };
        let mut link = Link {
            linker: &mut linker,
            import: name,
            interface,
            label: import.label.as_deref(),
            slot: slots.of(index, &key),
        };
        if let Err(error) = plugins.0[key.plugin].link(&mut link) {
            let (component, import) = (fused.components[index].to_string(), import.import.clone());
            errors.push(LinkError::Import { component, import, detail: format!("{error:#}") });
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    linker.instantiate_pre(component).map_err(|error| vec![rejected(fused, &error)])
}

/// The component whose import this is, by its index, and the import. The components of a unit share an import that grants
/// nothing: it is linked for the first of them.
fn importer<'r>(
    name: &str,
    fused: &Fused,
    resolution: &'r Resolution,
    plugins: &Plugins,
) -> Option<(usize, &'r ResolvedImport)> {
    let of = |index: usize| &resolution.components[&fused.components[index]];
    if let Some(scoped) = fused.scoped.get(name) {
        let import = of(scoped.slot).iter().find(|import| import.import == scoped.import)?;
        return Some((scoped.slot, import));
    }
    let wanted = InterfaceName::parse(name);
    // The encoder merges the versions of an interface that components import, so their names may differ.
    let is_meant = |import: &&ResolvedImport| {
        let same = || wanted.as_ref().zip(import.interface.as_ref()).is_some_and(|(w, i)| w.may_serve(i));
        !import.provider.is_grant() && (import.import == name || (import.label.is_none() && same()))
    };
    let provided = |import: &&ResolvedImport| is_meant(import) && plugins.binding(import).is_some();
    (0..fused.components.len()).find_map(|index| Some((index, of(index).iter().find(provided)?)))
}

/// The engine's error, about the component's own import where it names one.
fn rejected(fused: &Fused, error: &wasmtime::Error) -> LinkError {
    let text = format!("{error:#}");
    let named = |name: &str| text.contains(&format!("`{name}`"));
    match fused.scoped.iter().find(|(name, _)| named(name)) {
        Some((name, scoped)) => LinkError::Import {
            component: fused.components[scoped.slot].to_string(),
            import: scoped.import.clone(),
            detail: text.replace(name, &scoped.import),
        },
        None => LinkError::Rejected(text),
    }
}
