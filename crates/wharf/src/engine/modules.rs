//! Fused component → its large core modules, and what is left of it, so that a module that does not change is not compiled again.
//!
//! The component model lets a component import core modules. Each large module of a nested component is replaced by an alias of a module
//! that the outermost component imports; everything else, and every index, stays as it is. The engine compiles the parts by themselves,
//! and its linker puts them together.

use std::collections::BTreeMap;

use wasm_encoder::{
    Alias, ComponentAliasSection, ComponentImportSection, ComponentOuterAliasKind, ComponentSection as _,
    ComponentTypeRef, CoreTypeSection, ModuleType, RawSection,
};
use wasmparser::types::{CoreTypeId, EntityType, Types, TypesRef};
use wasmparser::{BinaryReader, CompositeInnerType, Parser, ValidPayload, Validator, WasmFeatures};

/// Below this size a module is not worth a compilation of its own, in bytes.
const MIN_BYTES: usize = 256 << 10;
/// The magic number, the version and the layer of a component.
const HEADER: usize = 8;
/// The sections of a component that matter here.
const CORE_MODULE: u8 = 1;
const CORE_TYPE: u8 = 3;
const COMPONENT: u8 = 4;

/// A component whose large modules are imports.
pub(super) struct Split {
    /// What is left of the component.
    pub(super) shell: Vec<u8>,
    /// The modules, by the name of their import, which is made from their content.
    pub(super) modules: BTreeMap<String, Vec<u8>>,
}

/// Splits a fused component. `None` if it has no large modules, or is of a shape in which indices would move: it is compiled whole.
pub(super) fn split(component: &[u8]) -> Option<Split> {
    let mut modules = Modules::default();
    let rest = modules.rewrite(component, 0)?;
    if modules.names.is_empty() {
        return None;
    }
    let mut shell = component[..HEADER].to_vec();
    modules.types.append_to_component(&mut shell);
    modules.imports.append_to_component(&mut shell);
    shell.extend(rest);
    Some(Split { shell, modules: modules.found })
}

#[derive(Default)]
struct Modules {
    types: CoreTypeSection,
    imports: ComponentImportSection,
    /// In the order of their imports.
    names: Vec<String>,
    found: BTreeMap<String, Vec<u8>>,
}

impl Modules {
    /// The sections of a component after its header, with aliases in the place of large modules. `depth` is the number of components around it.
    fn rewrite(&mut self, component: &[u8], depth: u32) -> Option<Vec<u8>> {
        let mut reader = BinaryReader::new(component, 0);
        reader.read_bytes(HEADER).ok()?;
        let mut sections = Vec::new();
        while !reader.eof() {
            let id = reader.read_u8().ok()?;
            let size = reader.read_var_u32().ok()?;
            let data = reader.read_bytes(size as usize).ok()?;
            match id {
                // The imports would move the indices of these.
                CORE_MODULE | CORE_TYPE if depth == 0 => return None,
                CORE_MODULE if data.len() >= MIN_BYTES => match self.import(data) {
                    Some(index) => {
                        let kind = ComponentOuterAliasKind::CoreModule;
                        let mut section = ComponentAliasSection::new();
                        section.alias(Alias::Outer { kind, count: depth, index });
                        section.append_to_component(&mut sections);
                    }
                    None => RawSection { id, data }.append_to_component(&mut sections),
                },
                COMPONENT => {
                    let mut nested = data.get(..HEADER)?.to_vec();
                    nested.extend(self.rewrite(data, depth + 1)?);
                    RawSection { id, data: &nested }.append_to_component(&mut sections);
                }
                _ => RawSection { id, data }.append_to_component(&mut sections),
            }
        }
        Some(sections)
    }

    /// The index of a module among the imports. `None` if the type of an import cannot describe the module.
    fn import(&mut self, module: &[u8]) -> Option<u32> {
        let name = format!("module-x{}", blake3::hash(module).to_hex());
        if let Some(index) = self.names.iter().position(|known| *known == name) {
            return u32::try_from(index).ok();
        }
        let ty = module_type(module)?;
        let index = u32::try_from(self.names.len()).ok()?;
        self.types.ty().module(&ty);
        self.imports.import(name.as_str(), ComponentTypeRef::Module(index));
        self.names.push(name.clone());
        self.found.insert(name, module.to_vec());
        Some(index)
    }
}

/// The type of a module. `None` if it is not valid, or uses a type that refers to others.
fn module_type(module: &[u8]) -> Option<ModuleType> {
    let types = types(module)?;
    let types = types.as_ref();
    let mut ty = Encoder { types, ty: ModuleType::new(), functions: BTreeMap::new() };
    for (module, name, item) in types.core_imports()? {
        let item = ty.entity(item)?;
        ty.ty.import(module, name, item);
    }
    for (name, item) in types.core_exports()? {
        let item = ty.entity(item)?;
        ty.ty.export(name, item);
    }
    Some(ty.ty)
}

/// The types of a module. The bodies of its functions are left to the engine.
fn types(module: &[u8]) -> Option<Types> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    for payload in Parser::new(0).parse_all(module) {
        if let ValidPayload::End(types) = validator.payload(&payload.ok()?).ok()? {
            return Some(types);
        }
    }
    None
}

struct Encoder<'a> {
    types: TypesRef<'a>,
    ty: ModuleType,
    /// The indices of the function types that are encoded.
    functions: BTreeMap<CoreTypeId, u32>,
}

impl Encoder<'_> {
    fn entity(&mut self, entity: EntityType) -> Option<wasm_encoder::EntityType> {
        Some(match entity {
            EntityType::Func(id) => wasm_encoder::EntityType::Function(self.function(id)?),
            EntityType::Table(ty) => wasm_encoder::EntityType::Table(ty.try_into().ok()?),
            EntityType::Memory(ty) => wasm_encoder::EntityType::Memory(ty.into()),
            EntityType::Global(ty) => wasm_encoder::EntityType::Global(ty.try_into().ok()?),
            EntityType::FuncExact(_) | EntityType::Tag(_) => return None,
        })
    }

    fn function(&mut self, id: CoreTypeId) -> Option<u32> {
        if let Some(index) = self.functions.get(&id) {
            return Some(*index);
        }
        let ty = &self.types[id];
        let CompositeInnerType::Func(function) = &ty.composite_type.inner else { return None };
        let values = |values: &[wasmparser::ValType]| -> Option<Vec<wasm_encoder::ValType>> {
            values.iter().map(|ty| (*ty).try_into().ok()).collect()
        };
        let (params, results) = (values(function.params())?, values(function.results())?);
        let index = self.ty.type_count();
        self.ty.ty().function(params, results);
        self.functions.insert(id, index);
        Some(index)
    }
}
