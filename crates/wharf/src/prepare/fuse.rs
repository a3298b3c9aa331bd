//! Unit → one component.
//!
//! Takes a unit of a resolution and its components' code; gives a [`Fused`]: one component in which calls between siblings are
//! the engine's own adapters, and each import that grants something is renamed to its component's. The same input gives the
//! same bytes. Never compiles, links or runs anything.

mod scope;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use wac_graph::{CompositionGraph, EncodeOptions, NodeId, PackageId};
use wac_types::{ItemKind, Package, WorldId};
use workload::resolution::ResolvedImport;
use workload::{Name, Resolution, Unit};

use super::load::LoadedCode;

pub use scope::ScopedImport;

/// A fused unit, and the owner of each renamed import.
#[derive(Clone, Debug)]
pub struct Fused {
    /// The component.
    pub bytes: Arc<[u8]>,
    /// The unit's components, in the order of their slots.
    pub components: Vec<Name>,
    /// The imports that belong to one component alone, by their name in the fused component.
    pub scoped: BTreeMap<String, ScopedImport>,
}

/// Why a unit could not be fused.
#[derive(Debug, thiserror::Error)]
#[error("cannot fuse the unit of `{entry}`: {detail}")]
pub struct FuseError {
    /// The unit's entry.
    pub entry: Name,
    /// The encoder's error.
    pub detail: String,
}

/// Fuses a unit. A unit of one component is that component as it is.
///
/// # Errors
/// [`FuseError`] when the encoder refuses the unit.
pub fn fuse(unit: &Unit, resolution: &Resolution, code: &BTreeMap<Name, LoadedCode>) -> Result<Fused, FuseError> {
    fuse_by(Fuser::default(), unit, resolution, code)
}

/// Fuses a unit whose components share all grants: no import is renamed.
pub(super) fn fuse_flat(
    unit: &Unit,
    resolution: &Resolution,
    code: &BTreeMap<Name, LoadedCode>,
) -> Result<Fused, FuseError> {
    fuse_by(Fuser { flat: true, ..Fuser::default() }, unit, resolution, code)
}

fn fuse_by(
    fuser: Fuser,
    unit: &Unit,
    resolution: &Resolution,
    code: &BTreeMap<Name, LoadedCode>,
) -> Result<Fused, FuseError> {
    let refuse = |detail: String| FuseError { entry: unit.entry.clone(), detail };
    if let [only] = unit.components.as_slice() {
        return Ok(Fused {
            bytes: code[only].component().clone(),
            components: unit.components.clone(),
            scoped: scope::unchanged(&resolution.components[only]),
        });
    }
    // wac-graph panics on input that breaks its invariants; a component must not crash the host.
    catch_unwind(AssertUnwindSafe(|| fuser.fuse(unit, resolution, code)))
        .unwrap_or_else(|_| Err("its types are of a shape that the encoder does not support".to_owned()))
        .map_err(refuse)
}

#[derive(Default)]
struct Fuser {
    graph: CompositionGraph,
    instances: BTreeMap<Name, NodeId>,
    scoped: BTreeMap<String, ScopedImport>,
    /// No import is renamed.
    flat: bool,
}

impl Fuser {
    fn fuse(
        mut self,
        unit: &Unit,
        resolution: &Resolution,
        code: &BTreeMap<Name, LoadedCode>,
    ) -> Result<Fused, String> {
        for (slot, name) in unit.components.iter().enumerate() {
            self.add(slot, name, &resolution.components[name], code[name].component())?;
        }
        self.export(&unit.entry)?;
        // The engine validates what it compiles, and the cache holds only what was compiled.
        let options = EncodeOptions { define_components: true, validate: false, processor: None };
        let bytes = self.graph.encode(options).map_err(|error| chain(&error))?;
        let components = unit.components.clone();
        Ok(Fused { bytes: bytes.into(), components, scoped: self.scoped })
    }

    /// Adds a component with its siblings' exports and its own imports as arguments. Shared imports stay implicit, and the
    /// encoder merges them.
    fn add(&mut self, slot: usize, name: &Name, imports: &[ResolvedImport], bytes: &[u8]) -> Result<(), String> {
        let package = Package::from_bytes(name.as_str(), None, bytes, self.graph.types_mut());
        let package = package.map_err(|error| format!("{error:#}"))?;
        let world = package.ty();
        let package = self.graph.register_package(package).map_err(|error| chain(&error))?;
        let renamed = if self.flat {
            BTreeMap::new()
        } else {
            scope::rename(self.graph.types_mut(), world, slot, name, imports, &mut self.scoped)
        };
        let instance = self.graph.instantiate(package);
        self.graph.set_node_name(instance, name.as_str());
        for import in imports {
            let argument = match (import.provider.component(), renamed.get(import.import.as_str())) {
                (Some((component, export)), _) => {
                    let sibling = self.instances[component];
                    self.graph.alias_instance_export(sibling, export).map_err(|error| chain(&error))?
                }
                (_, Some((name, kind))) => self.graph.import(name.clone(), *kind).map_err(|error| chain(&error))?,
                (_, None) => continue,
            };
            self.graph.set_instantiation_argument(instance, &import.import, argument).map_err(|error| chain(&error))?;
        }
        self.instances.insert(name.clone(), instance);
        Ok(())
    }

    /// Re-exports the entry's exports.
    fn export(&mut self, entry: &Name) -> Result<(), String> {
        let instance = self.instances[entry];
        for name in exports_of(&self.graph, instance) {
            let alias = self.graph.alias_instance_export(instance, &name).map_err(|error| chain(&error))?;
            self.graph.export(alias, name).map_err(|error| chain(&error))?;
        }
        Ok(())
    }
}

/// The functions and instances that a component exports; its types go along with those.
fn exports_of(graph: &CompositionGraph, instance: NodeId) -> Vec<String> {
    let package: Option<PackageId> = graph[instance].package();
    let world: Option<WorldId> = package.map(|package| graph[package].ty());
    let exports = world.map(|world| graph.types()[world].exports.iter());
    let runs = exports.into_iter().flatten().filter(|(_, k)| matches!(k, ItemKind::Func(_) | ItemKind::Instance(_)));
    runs.map(|(name, _)| name.clone()).collect()
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
