//! WASI 0.1 core module → component.
//!
//! Takes the bytes of a core module; returns those of a component that imports WASI 0.2, through the adapter for the kind of
//! module. For a module that targets another kind of host, the error names that host. Bytes that are no core module pass
//! unchanged.

use std::collections::BTreeSet;
use std::error::Error;

use wasi_preview1_component_adapter_provider as adapters;
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use crate::guest_log::bounded;

/// The module name of the imports of
/// [WASI 0.1](https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md): `wasi_snapshot_preview1`.
const PREVIEW1: &str = adapters::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;

/// Why a core module cannot be adapted to a component.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdaptError {
    /// The module is not valid WebAssembly.
    #[error("the core module is not valid: {0}")]
    Invalid(#[source] Box<dyn Error + Send + Sync>),
    /// The module targets another kind of host.
    #[error("the core module targets {made_for}: it imports {}; {advice}", imports.join(", "))]
    Foreign {
        /// The kind of host.
        made_for: &'static str,
        /// The first imports of that host's functions, and the number of the others.
        imports: Vec<String>,
        /// How to build the module for this host.
        advice: &'static str,
    },
    /// The module has no function that a component could export.
    #[error(
        "the core module has no `_start` and embeds no world, so there is nothing to call; build a program (not a library) \
         for `wasm32-wasip1`, or embed a world with `wasm-tools component embed`"
    )]
    NoEntry,
    /// The adapter rejects the module, for example because it imports a function that WASI 0.1 does not have.
    #[error("cannot adapt the core module: {}", with_sources(.0.as_ref()))]
    Rejected(#[source] Box<dyn Error + Send + Sync>),
}

/// The message of an error, followed by those of its sources.
fn with_sources(error: &dyn Error) -> String {
    let sources = std::iter::successors(error.source(), |&source| source.source());
    sources.fold(error.to_string(), |message, source| format!("{message}: {source}"))
}

/// The kind of a module, which decides the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A program: its `_start` becomes `wasi:cli/run`.
    Command,
    /// A library: it exports what its world declares.
    Reactor,
    /// An HTTP handler that uses no files. Its adapter imports no filesystem.
    Proxy,
}

/// An adapted core module.
#[derive(Clone, Debug)]
pub struct Adapted {
    /// The component.
    pub component: Vec<u8>,
    /// Whether the module is a program that imports WASI 0.1 alone. Such a module can also run without the adapter.
    pub is_program: bool,
}

/// Adapts a core module to a component. Returns `None` for bytes that are not a core module.
///
/// ```
/// use wharf::prepare::adapt::{AdaptError, adapt};
///
/// assert!(matches!(adapt(b"#!/bin/sh"), Ok(None)));
/// assert!(matches!(adapt(b"\0asm\x01\0\0\0"), Err(AdaptError::NoEntry)));
/// ```
///
/// # Errors
/// [`AdaptError`] when a core module is not valid, or does not target WASI 0.1.
pub fn adapt(bytes: &[u8]) -> Result<Option<Adapted>, AdaptError> {
    if !Parser::is_core_wasm(bytes) {
        return Ok(None);
    }
    let module = Module::read(bytes).map_err(|error| AdaptError::Invalid(error.into()))?;
    if let Some(foreign) = module.foreign() {
        return Err(foreign);
    }
    let kind = module.kind().ok_or(AdaptError::NoEntry)?;
    let adapter = match kind {
        Kind::Command => adapters::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        Kind::Reactor => adapters::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
        Kind::Proxy => adapters::WASI_SNAPSHOT_PREVIEW1_PROXY_ADAPTER,
    };
    // The engine validates the component when it compiles it.
    let encoder = ComponentEncoder::default().validate(false).merge_imports_based_on_semver(true);
    let component = encoder
        .module(bytes)
        .and_then(|encoder| encoder.adapter(PREVIEW1, adapter))
        .and_then(|mut encoder| encoder.encode());
    let component = component.map_err(|error| AdaptError::Rejected(error.into()))?;
    Ok(Some(Adapted { component, is_program: kind == Kind::Command && !module.has_world }))
}

/// The parts of a module that decide how it is adapted.
#[derive(Default)]
struct Module<'a> {
    imports: Vec<(&'a str, &'a str)>,
    exports: BTreeSet<&'a str>,
    has_world: bool,
}

impl<'a> Module<'a> {
    fn read(bytes: &'a [u8]) -> wasmparser::Result<Self> {
        let mut module = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        module.imports.push((import.module, import.name));
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        module.exports.insert(export?.name);
                    }
                }
                Payload::CustomSection(section) => module.has_world |= section.name().starts_with("component-type"),
                _ => {}
            }
        }
        Ok(module)
    }

    fn kind(&self) -> Option<Kind> {
        if self.exports.contains("_start") {
            return Some(Kind::Command);
        }
        if !self.has_world {
            return None;
        }
        let http = self.exports.iter().any(|name| name.starts_with("wasi:http/incoming-handler@0.2."));
        let files = self.imports.iter().any(|(module, name)| *module == PREVIEW1 && name.starts_with("path_"));
        Some(if http && !files { Kind::Proxy } else { Kind::Reactor })
    }

    /// Returns an error that names the module's host, if that is not one of WASI 0.1.
    fn foreign(&self) -> Option<AdaptError> {
        let known = FOREIGN.iter().find_map(|foreign| {
            let found: Vec<_> = self.imports.iter().filter(|import| (foreign.imports)(import)).collect();
            (!found.is_empty()).then_some((foreign.made_for, foreign.advice, found))
        });
        let (made_for, advice, found) = known.or_else(|| {
            let unknown = |(module, _): &&(&str, &str)| *module != PREVIEW1 && *module != MAIN;
            let found: Vec<_> = self.imports.iter().filter(unknown).collect();
            (!self.has_world && !found.is_empty()).then_some(("a host with its own functions", EMBED, found))
        })?;
        let shown = found
            .iter()
            .take(3)
            .map(|(module, name)| format!("`{}`'s `{}`", bounded(module, MAX_SHOWN), bounded(name, MAX_SHOWN)));
        let more = (found.len() > 3).then(|| format!("and {} more", found.len() - 3));
        Some(AdaptError::Foreign { made_for, imports: shown.chain(more).collect(), advice })
    }
}

/// A kind of host, recognised by what its modules import.
struct Foreign {
    imports: fn(&(&str, &str)) -> bool,
    made_for: &'static str,
    advice: &'static str,
}

/// The maximum length of a module's names in messages, in bytes.
const MAX_SHOWN: usize = 128;

/// The module name under which an adapter imports the main module's functions, by the convention of `wit-component`.
const MAIN: &str = "__main_module__";

const EMBED: &str = "declare these functions in the component's world with `wasm-tools component embed`";

/// Functions that WASIX adds to WASI 0.1: the ones that programs commonly import.
const WASIX_ONLY: [&str; 5] = ["sock_open", "sock_connect", "sock_bind", "sock_listen", "proc_fork"];

const FOREIGN: &[Foreign] = &[
    Foreign {
        imports: |(module, name)| module.starts_with("wasix_") || (*module == PREVIEW1 && WASIX_ONLY.contains(name)),
        made_for: "WASIX or another extension of WASI 0.1 (sockets, processes)",
        advice: "build it for `wasm32-wasip2`, whose sockets are `wasi:sockets`",
    },
    Foreign {
        imports: |(module, name)| *module == "wasi" && *name == "thread-spawn",
        made_for: "wasi-threads, whose instances share a memory",
        advice: "components have no such threads, so build it without `-pthread` for `wasm32-wasip1` or `wasm32-wasip2`",
    },
    Foreign {
        imports: |(module, _)| *module == "wasi_unstable",
        made_for: "a draft of WASI before 0.1",
        advice: "build it with a compiler of 2020 or later for `wasm32-wasip1` or `wasm32-wasip2`",
    },
    Foreign {
        imports: |(module, _)| module.starts_with("__wbindgen") || *module == "wbg",
        made_for: "a browser, through wasm-bindgen",
        advice: "build it for `wasm32-wasip2` without wasm-bindgen",
    },
    Foreign {
        imports: |(module, _)| *module == "gojs" || *module == "go",
        made_for: "a browser, through Go",
        advice: "build it with `GOOS=wasip1` instead of `GOOS=js`",
    },
    Foreign {
        imports: |(module, name)| {
            (*module == "env" || *module == "a") && (name.starts_with("emscripten_") || name.starts_with("invoke_"))
        },
        made_for: "a browser, through Emscripten",
        advice: "build it with wasi-sdk or with `-sSTANDALONE_WASM`",
    },
    Foreign {
        imports: |(module, name)| *module == "env" && *name == "abort",
        made_for: "a browser, through AssemblyScript",
        advice: "build it with the WASI shim: `--config ./node_modules/@assemblyscript/wasi-shim/asconfig.json`",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(text: &str) -> Result<Vec<u8>, AdaptError> {
        adapt(&wat::parse_str(text).unwrap()).map(|adapted| adapted.unwrap().component)
    }

    #[test]
    fn a_command_becomes_a_component() {
        let text = r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
            (memory (export "memory") 1)
            (func (export "_start")))"#;
        let component = workload::ComponentType::parse(&adapted(text).unwrap()).unwrap();
        assert!(component.exports().iter().any(|export| export.name.starts_with("wasi:cli/run@0.2.")));
    }

    #[test]
    fn bytes_that_are_no_module_pass_unchanged() {
        for bytes in [&b""[..], b"#!/bin/sh", b"\0asm", &wat::parse_str("(component)").unwrap()] {
            assert!(adapt(bytes).unwrap().is_none());
        }
    }

    #[test]
    fn the_error_names_the_host_of_a_foreign_module() {
        let foreign =
            |import: &str| match adapted(&format!("(module (import {import} (func)) (func (export \"_start\")))")) {
                Err(AdaptError::Foreign { made_for, .. }) => made_for,
                other => panic!("{import}: {other:?}"),
            };
        assert!(foreign(r#""wasix_32v1" "callback_signal""#).contains("WASIX"));
        assert!(foreign(r#""wasi_snapshot_preview1" "sock_open""#).contains("WASIX"));
        assert!(foreign(r#""wasi" "thread-spawn""#).contains("threads"));
        assert!(foreign(r#""wasi_unstable" "fd_write""#).contains("draft"));
        assert!(foreign(r#""wbg" "__wbindgen_throw""#).contains("wasm-bindgen"));
        assert!(foreign(r#""gojs" "runtime.wasmExit""#).contains("Go"));
        assert!(foreign(r#""env" "emscripten_memcpy_js""#).contains("Emscripten"));
        assert!(foreign(r#""env" "abort""#).contains("AssemblyScript"));
        assert!(foreign(r#""env" "log""#).contains("its own functions"));
        assert!(matches!(adapted("(module (func (export \"add\")))"), Err(AdaptError::NoEntry)));
    }

    #[test]
    fn the_message_has_the_reasons_of_the_adapter() {
        let error = adapted(
            r#"(module (import "wasi_snapshot_preview1" "fd_fly" (func))
                (memory (export "memory") 1) (func (export "_start")))"#,
        );
        let error = error.unwrap_err();
        assert!(matches!(&error, AdaptError::Rejected(_)) && error.to_string().contains("fd_fly"), "{error}");
        assert!(error.source().is_some());
    }

    #[test]
    fn a_truncated_module_is_an_error() {
        let whole = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#).unwrap();
        for cut in 8..whole.len() {
            // Truncated between two sections, the module is valid, and has no entry.
            assert!(adapt(&whole[..cut]).is_err());
        }
    }
}
