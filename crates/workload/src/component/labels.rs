//! The interfaces that labels implement.
//!
//! A component can import an interface several times under plain names, each with `(implements "ns:pkg/iface@1.0.0")`.
//! `wac-types` drops that attribute, so this module reads it from the bytes. See the component model's `Explainer.md`,
//! "Import and Export Definitions".

use std::collections::HashMap;

use wasmparser::{Chunk, ComponentExternName, Parser, Payload, WasmFeatures};

use crate::interface::InterfaceName;

/// The implemented interface of each label.
#[derive(Debug, Default)]
pub(super) struct Labels {
    pub(super) imports: HashMap<String, InterfaceName>,
    pub(super) exports: HashMap<String, InterfaceName>,
}

impl Labels {
    /// Reads the labels of a component that has been validated. Bytes that do not parse have none.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut labels = Self::default();
        let mut parser = Parser::new(0);
        parser.set_features(WasmFeatures::all());
        let mut rest = bytes;
        while let Ok(Chunk::Parsed { consumed, payload }) = parser.parse(rest, true) {
            let mut next = consumed;
            match payload {
                Payload::ComponentImportSection(section) => {
                    let names = section.into_iter().flatten().map(|import| import.name);
                    labels.imports.extend(names.filter_map(implemented));
                }
                Payload::ComponentExportSection(section) => {
                    let names = section.into_iter().flatten().map(|export| export.name);
                    labels.exports.extend(names.filter_map(implemented));
                }
                // What is nested in the component has labels of its own; the parser leaves it to be skipped.
                Payload::ModuleSection { unchecked_range: nested, .. }
                | Payload::ComponentSection { unchecked_range: nested, .. } => {
                    next += nested.len();
                }
                Payload::End(_) => break,
                _ => {}
            }
            let Some(after) = rest.get(next..) else { break };
            rest = after;
        }
        labels
    }
}

fn implemented(name: ComponentExternName<'_>) -> Option<(String, InterfaceName)> {
    Some((name.name.to_owned(), InterfaceName::parse(name.implements?)?))
}
