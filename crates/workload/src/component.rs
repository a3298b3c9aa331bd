//! Bytes → what a component imports and exports, as data.
//!
//! Takes a component's bytes; returns a [`ComponentType`]. Never compiles or runs anything.

mod labels;

use std::panic::{AssertUnwindSafe, catch_unwind};

use wac_types::{ItemKind, Package, Type, Types, WorldId};

use crate::interface::InterfaceName;
use labels::Labels;

/// The largest component that is read, in bytes.
pub const MAX_BYTES: usize = 512 * 1024 * 1024;

/// What a component imports and exports.
#[derive(Debug)]
pub struct ComponentType {
    pub(crate) types: Types,
    imports: Vec<Extern>,
    exports: Vec<Extern>,
}

/// An import or an export.
#[derive(Clone, Debug)]
pub struct Extern {
    /// The name as the component spells it.
    pub name: String,
    /// The name again, if it is a label: a plain name with an interface that it implements.
    pub label: Option<String>,
    /// The interface: the one that the label implements, or the one that the name itself is.
    pub interface: Option<InterfaceName>,
    pub(crate) kind: ItemKind,
}

/// Why bytes cannot be hosted as a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComponentError {
    /// The input is empty.
    #[error("the file is empty")]
    Empty,
    /// The input exceeds [`MAX_BYTES`].
    #[error("a component of {0} bytes exceeds the maximum of {MAX_BYTES} bytes")]
    TooLarge(usize),
    /// A core module.
    #[error(
        "expected a component, found a core WebAssembly module; \
         build it for `wasm32-wasip2`, or convert it with `wasm-tools component new`"
    )]
    CoreModule,
    /// WebAssembly's text format.
    #[error("expected a binary component, found WebAssembly text; convert it with `wasm-tools parse`")]
    Text,
    /// Not WebAssembly at all.
    #[error("not a WebAssembly file: it does not start with `\\0asm`")]
    NotWasm,
    /// A component that does not validate.
    #[error("invalid component: {0}")]
    Invalid(String),
}

impl ComponentType {
    /// Reads a component's type.
    ///
    /// # Errors
    /// [`ComponentError`] if the bytes are not a valid component.
    pub fn parse(bytes: &[u8]) -> Result<Self, ComponentError> {
        check_kind(bytes)?;
        // wac-types panics on a few types that it does not support; a guest's bytes must not abort the host.
        let parsed = catch_unwind(AssertUnwindSafe(|| {
            let mut types = Types::new();
            let package = Package::from_bytes("component", None, bytes, &mut types);
            package.map(|package| (package.ty(), types))
        }));
        match parsed {
            Ok(Ok((world, types))) => Ok(Self::new(world, types, &Labels::read(bytes))),
            Ok(Err(error)) => Err(ComponentError::Invalid(format!("{error:#}"))),
            Err(_) => Err(ComponentError::Invalid("it contains an unsupported type".into())),
        }
    }

    fn new(world: WorldId, types: Types, labels: &Labels) -> Self {
        let item = |name: &String, kind: &ItemKind, label: Option<&InterfaceName>| Extern {
            name: name.clone(),
            label: label.map(|_| name.clone()),
            interface: label.cloned().or_else(|| InterfaceName::parse(name)),
            kind: *kind,
        };
        let world = &types[world];
        let imports = world.imports.iter().map(|(name, kind)| item(name, kind, labels.imports.get(name))).collect();
        let exports = world.exports.iter().map(|(name, kind)| item(name, kind, labels.exports.get(name))).collect();
        Self { types, imports, exports }
    }

    /// The imports, in the component's order.
    pub fn imports(&self) -> &[Extern] {
        &self.imports
    }

    /// The exports, in the component's order.
    pub fn exports(&self) -> &[Extern] {
        &self.exports
    }

    /// The functions of an import that is an interface; none if it is another item.
    pub fn import_functions(&self, import: &str) -> Vec<String> {
        self.functions(self.imports.iter().find(|item| item.name == import))
    }

    /// The functions of an export that is an interface; none if it is another item.
    pub fn export_functions(&self, export: &str) -> Vec<String> {
        self.functions(self.exports.iter().find(|item| item.name == export))
    }

    /// The names of the functions that it exports outside of any interface.
    pub fn plain_functions(&self) -> impl Iterator<Item = &str> {
        let functions = self.exports.iter().filter(|item| matches!(item.kind, ItemKind::Func(_)));
        functions.map(|item| item.name.as_str())
    }

    fn functions(&self, item: Option<&Extern>) -> Vec<String> {
        let Some(ItemKind::Instance(id)) = item.map(|item| item.kind) else { return Vec::new() };
        let functions = self.types[id].exports.iter().filter(|(_, kind)| matches!(kind, ItemKind::Func(_)));
        functions.map(|(name, _)| name.clone()).collect()
    }

    /// Whether an import needs no provider, because it contains only types: no resource and no function.
    pub(crate) fn types_only(&self, item: &Extern) -> bool {
        let plain = |kind: &ItemKind| matches!(kind, ItemKind::Type(ty) if !matches!(ty, Type::Resource(_)));
        match item.kind {
            ItemKind::Instance(id) => self.types[id].exports.values().all(plain),
            kind => plain(&kind),
        }
    }
}

fn check_kind(bytes: &[u8]) -> Result<(), ComponentError> {
    const MAGIC: &[u8] = b"\0asm";
    if bytes.is_empty() {
        return Err(ComponentError::Empty);
    }
    if bytes.len() > MAX_BYTES {
        return Err(ComponentError::TooLarge(bytes.len()));
    }
    if !bytes.starts_with(MAGIC) {
        let text = bytes.trim_ascii_start();
        let wat = text.starts_with(b"(component") || text.starts_with(b"(module") || text.starts_with(b";;");
        return Err(if wat { ComponentError::Text } else { ComponentError::NotWasm });
    }
    // A module's version is 1 in layer 0; a component's layer is 1.
    match bytes.get(4..8) {
        Some([1, 0, 0, 0]) => Err(ComponentError::CoreModule),
        Some([_, _, 1, 0]) => Ok(()),
        Some(_) => Err(ComponentError::Invalid("unknown version of the binary format".into())),
        None => Err(ComponentError::Invalid("truncated header".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_invalid_input_has_its_own_error() {
        let error = |bytes: &[u8]| ComponentType::parse(bytes).unwrap_err();
        assert_eq!(error(b""), ComponentError::Empty);
        assert_eq!(error(b"#!/bin/sh\n"), ComponentError::NotWasm);
        assert_eq!(error(b"  (component)"), ComponentError::Text);
        assert_eq!(error(&wat::parse_str("(module)").unwrap()), ComponentError::CoreModule);
        assert!(matches!(error(b"\0asm"), ComponentError::Invalid(_)));
        let whole = wat::parse_str(r#"(component (import "a:b/c" (instance (export "f" (func)))))"#).unwrap();
        assert!(ComponentType::parse(&whole).is_ok());
        for cut in 0..whole.len() {
            // A cut between two sections leaves a valid component, any other cut does not. Neither may panic.
            let _ = ComponentType::parse(&whole[..cut]);
        }
        assert!(matches!(error(&whole[..whole.len() - 1]), ComponentError::Invalid(_)));
    }
}
