//! Bytes → what a component imports and exports, as data.
//!
//! Takes a component's bytes; gives a [`ComponentType`]. Never compiles or runs anything.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wac_types::{ItemKind, Package, Type, Types, WorldId};

use crate::interface::InterfaceName;

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
    /// Its name, as it stands in the component.
    pub name: String,
    /// The name taken apart, when it names an interface.
    pub interface: Option<InterfaceName>,
    pub(crate) kind: ItemKind,
}

/// Why bytes are not a component that can be hosted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComponentError {
    /// There are no bytes.
    #[error("the file is empty")]
    Empty,
    /// There are more bytes than are read.
    #[error("{0} bytes; the most that is read is {MAX_BYTES}")]
    TooLarge(usize),
    /// WebAssembly, but a core module.
    #[error(
        "this is a core WebAssembly module, not a component; \
         build for `wasm32-wasip2`, or make a component of it with `wasm-tools component new`"
    )]
    CoreModule,
    /// WebAssembly's text format.
    #[error("this is WebAssembly text; make it binary with `wasm-tools parse`")]
    Text,
    /// Not WebAssembly at all.
    #[error("this is not WebAssembly (it does not start with `\\0asm`)")]
    NotWasm,
    /// A component, but not a valid one.
    #[error("this component is damaged or not valid: {0}")]
    Invalid(String),
}

impl ComponentType {
    /// Reads a component's type.
    ///
    /// # Errors
    /// [`ComponentError`] when the bytes are no valid component.
    pub fn parse(bytes: &[u8]) -> Result<Self, ComponentError> {
        check_kind(bytes)?;
        // wac-types panics on a few shapes that it does not know; what a guest's author wrote must not end the host.
        let parsed = catch_unwind(AssertUnwindSafe(|| {
            let mut types = Types::new();
            let package = Package::from_bytes("component", None, bytes, &mut types);
            package.map(|package| (package.ty(), types))
        }));
        match parsed {
            Ok(Ok((world, types))) => Ok(Self::new(world, types)),
            Ok(Err(error)) => Err(ComponentError::Invalid(format!("{error:#}"))),
            Err(_) => Err(ComponentError::Invalid("it has a type that is not supported".into())),
        }
    }

    fn new(world: WorldId, types: Types) -> Self {
        let externs = |items: &mut dyn Iterator<Item = (&String, &ItemKind)>| {
            items
                .map(|(name, kind)| Extern { name: name.clone(), interface: InterfaceName::parse(name), kind: *kind })
                .collect()
        };
        let imports = externs(&mut types[world].imports.iter());
        let exports = externs(&mut types[world].exports.iter());
        Self { types, imports, exports }
    }

    /// What it imports, in its own order.
    pub fn imports(&self) -> &[Extern] {
        &self.imports
    }

    /// What it exports, in its own order.
    pub fn exports(&self) -> &[Extern] {
        &self.exports
    }

    /// Whether an import needs nobody to provide it: it names types, and no resource or function.
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
        Some(_) => Err(ComponentError::Invalid("an unknown version of the binary format".into())),
        None => Err(ComponentError::Invalid("it ends within its first eight bytes".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_component_is_told_apart() {
        let error = |bytes: &[u8]| ComponentType::parse(bytes).unwrap_err();
        assert_eq!(error(b""), ComponentError::Empty);
        assert_eq!(error(b"#!/bin/sh\n"), ComponentError::NotWasm);
        assert_eq!(error(b"  (component)"), ComponentError::Text);
        assert_eq!(error(&wat::parse_str("(module)").unwrap()), ComponentError::CoreModule);
        assert!(matches!(error(b"\0asm"), ComponentError::Invalid(_)));
        let whole = wat::parse_str(r#"(component (import "a:b/c" (instance (export "f" (func)))))"#).unwrap();
        assert!(ComponentType::parse(&whole).is_ok());
        for cut in 0..whole.len() {
            // Cut between two sections it is still whole; anywhere else it is not. Neither may panic.
            let _ = ComponentType::parse(&whole[..cut]);
        }
        assert!(matches!(error(&whole[..whole.len() - 1]), ComponentError::Invalid(_)));
    }
}
