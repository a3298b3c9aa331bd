//! Compiled code + grants → an entry.
//!
//! Takes a fused unit, its compiled code, its components' grants and the host's plugins; gives a
//! [`wasmtime::component::InstancePre`] in which every import has its function. Never makes an instance.

use std::sync::Arc;

use wasmtime::component::{Component, InstancePre, Linker, types::ComponentItem};
use workload::InterfaceName;

use crate::ctx::{Ctx, SLOTS};
use crate::fuse::Fused;
use crate::plugin::{Link, Plugin};
use crate::wasi::table;

/// Why a unit could not be linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The unit has more components than a host can tell apart.
    #[error("this unit has {0} components; the most whose grants can be told apart is {SLOTS}")]
    TooManyComponents(usize),
    /// What the host provides does not fit an import.
    #[error("`{import}`, which `{component}` imports, does not fit what the host provides: {detail}")]
    Import {
        /// The component.
        component: String,
        /// The import, by its own name.
        import: String,
        /// What the engine says.
        detail: String,
    },
    /// The engine refuses the whole.
    #[error("the engine refuses this unit: {0}")]
    Refused(String),
}

/// Links a unit.
///
/// # Errors
/// [`LinkError`] when an import does not fit.
pub fn link(
    fused: &Fused,
    component: &Component,
    engine: &wasmtime::Engine,
    plugins: &[Arc<dyn Plugin>],
) -> Result<InstancePre<Ctx>, LinkError> {
    if fused.components.len() > SLOTS {
        return Err(LinkError::TooManyComponents(fused.components.len()));
    }
    let named = |plugin: &'_ Arc<dyn Plugin>| -> Vec<InterfaceName> {
        plugin.interfaces().into_iter().filter_map(|provided| InterfaceName::parse(provided.name)).collect()
    };
    let plugins: Vec<_> = plugins.iter().map(|plugin| (plugin, named(plugin))).collect();
    let mut linker = Linker::<Ctx>::new(engine);
    let ty = component.component_type();
    for (name, item) in ty.imports(engine) {
        if !matches!(item.ty, ComponentItem::ComponentInstance(_)) {
            continue;
        }
        let scoped = fused.scoped.get(name);
        let import = scoped.map_or(name, |scoped| scoped.import.as_str());
        let Some(interface) = InterfaceName::parse(import) else { continue };
        // A shared import is linked for one of those that import it; WASI's shared interfaces ask nobody's scope.
        let importer = || fused.shared.iter().find(|(shared, _)| shared.may_serve(&interface)).map(|(_, slot)| *slot);
        let slot = scoped.map(|scoped| scoped.slot).or_else(importer).unwrap_or(fused.components.len() - 1);
        let link = Link { linker: &mut linker, import: name, interface: &interface, slot };
        link_one(link, &plugins).map_err(|error| LinkError::Import {
            component: fused.components[slot].to_string(),
            import: import.to_owned(),
            detail: format!("{error:#}"),
        })?;
    }
    linker.instantiate_pre(component).map_err(|error| refused(fused, &error))
}

fn link_one(mut link: Link<'_>, plugins: &[(&Arc<dyn Plugin>, Vec<InterfaceName>)]) -> wasmtime::Result<()> {
    let serves = |(_, provided): &&(_, Vec<InterfaceName>)| provided.iter().any(|name| name.may_serve(link.interface));
    if let Some((plugin, _)) = plugins.iter().find(serves) {
        return plugin.link(&mut link);
    }
    match table::find(link.interface) {
        Some(row) => (row.link)(&mut link),
        // An interface of types alone needs no functions; anything else was refused when the workload was resolved.
        None => Ok(()),
    }
}

/// The engine's message, said of the component's own import where it names one.
fn refused(fused: &Fused, error: &wasmtime::Error) -> LinkError {
    let text = format!("{error:#}");
    let named = |name: &str| text.contains(&format!("`{name}`"));
    match fused.scoped.iter().find(|(name, _)| named(name)) {
        Some((name, scoped)) => LinkError::Import {
            component: fused.components[scoped.slot].to_string(),
            import: scoped.import.clone(),
            detail: text.replace(name, &scoped.import),
        },
        None => LinkError::Refused(text),
    }
}
