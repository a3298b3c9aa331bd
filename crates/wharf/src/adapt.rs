//! WASI 0.1 core module → component.
//!
//! Takes a core module's bytes; gives a component's, which imports WASI 0.2 through the adapter that fits. Says of a module
//! that no adapter fits what it was made for. Leaves anything else alone.

use std::collections::BTreeSet;

use wasi_preview1_component_adapter_provider as adapters;
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use crate::guest_log::bounded;

/// The name under which modules import WASI 0.1 (`wasi_snapshot_preview1`, its `docs.md`).
const PREVIEW1: &str = adapters::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;

/// Why a core module could not be made a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdaptError {
    /// It is damaged.
    #[error("this core module is damaged or not valid: {0}")]
    Invalid(String),
    /// It was made for another kind of host.
    #[error("this core module was made for {made_for}: it imports {}. {advice}", imports.join(", "))]
    Foreign {
        /// The kind of host.
        made_for: &'static str,
        /// The first few imports that say so.
        imports: Vec<String>,
        /// How it can be built for this one.
        advice: &'static str,
    },
    /// It has no entry and exports nothing that a component could.
    #[error(
        "this core module has no `_start`, and says nothing of a component's world: there is nothing to call. \
         Build a program (not a library) for `wasm32-wasip1`, or give it a world with `wasm-tools component embed`"
    )]
    NoEntry,
    /// The adapter does not fit it.
    #[error("this core module cannot be made a component: {0}")]
    Refused(String),
}

/// What kind of program a module is, which decides the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It has a `_start`, which becomes `wasi:cli/run`.
    Command,
    /// It exports what its world says.
    Reactor,
    /// It answers HTTP and asks for no files: the adapter that asks for none either.
    Proxy,
}

/// What became of a core module.
#[derive(Clone, Debug)]
pub struct Adapted {
    /// The component.
    pub component: Vec<u8>,
    /// Whether the module is a program that needs nothing but WASI 0.1: it can run as it is, too.
    pub is_program: bool,
}

/// Makes a component of a core module; gives `None` for anything else.
///
/// # Errors
/// [`AdaptError`] when it is a core module that was not made for WASI 0.1, or is damaged.
pub fn adapt(bytes: &[u8]) -> Result<Option<Adapted>, AdaptError> {
    if !Parser::is_core_wasm(bytes) {
        return Ok(None);
    }
    let module = Module::read(bytes).map_err(|error| AdaptError::Invalid(error.to_string()))?;
    if let Some(foreign) = module.foreign() {
        return Err(foreign);
    }
    let kind = module.kind().ok_or(AdaptError::NoEntry)?;
    let adapter = match kind {
        Kind::Command => adapters::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        Kind::Reactor => adapters::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
        Kind::Proxy => adapters::WASI_SNAPSHOT_PREVIEW1_PROXY_ADAPTER,
    };
    // The engine validates what it compiles.
    let encoder = ComponentEncoder::default().validate(false).merge_imports_based_on_semver(true);
    let component = encoder
        .module(bytes)
        .and_then(|encoder| encoder.adapter(PREVIEW1, adapter))
        .and_then(|mut encoder| encoder.encode());
    let component = component.map_err(|error| AdaptError::Refused(format!("{error:#}")))?;
    Ok(Some(Adapted { component, is_program: kind == Kind::Command && !module.has_world }))
}

/// What of a module decides how it is adapted.
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

    /// What it was made for, when that is not WASI 0.1.
    fn foreign(&self) -> Option<AdaptError> {
        let known = FOREIGN.iter().find_map(|foreign| {
            let found: Vec<_> = self.imports.iter().filter(|import| (foreign.imports)(import)).collect();
            (!found.is_empty()).then_some((foreign.made_for, foreign.advice, found))
        });
        let (made_for, advice, found) = known.or_else(|| {
            let unknown = |(module, _): &&(&str, &str)| *module != PREVIEW1 && *module != MAIN;
            let found: Vec<_> = self.imports.iter().filter(unknown).collect();
            (!self.has_world && !found.is_empty()).then_some(("a host with functions of its own", EMBED, found))
        })?;
        let shown = found
            .iter()
            .take(3)
            .map(|(module, name)| format!("`{}`'s `{}`", bounded(module, MAX_SHOWN), bounded(name, MAX_SHOWN)));
        let more = (found.len() > 3).then(|| format!("and {} more", found.len() - 3));
        Some(AdaptError::Foreign { made_for, imports: shown.chain(more).collect(), advice })
    }
}

/// A kind of host that modules are made for, told by what they import.
struct Foreign {
    imports: fn(&(&str, &str)) -> bool,
    made_for: &'static str,
    advice: &'static str,
}

/// How much of a name is shown, in bytes: it is the module's own, and can be anything.
const MAX_SHOWN: usize = 128;

/// What the component's own functions are imported under (wit-component's convention).
const MAIN: &str = "__main_module__";

const EMBED: &str = "A component names such functions in its world: see `wasm-tools component embed`";

/// The names that WASIX adds to WASI 0.1's module, of those that programs use first.
const WASIX_ONLY: [&str; 5] = ["sock_open", "sock_connect", "sock_bind", "sock_listen", "proc_fork"];

const FOREIGN: &[Foreign] = &[
    Foreign {
        imports: |(module, name)| module.starts_with("wasix_") || (*module == PREVIEW1 && WASIX_ONLY.contains(name)),
        made_for: "WASIX or another extension of WASI 0.1 (sockets, processes)",
        advice: "Build it for `wasm32-wasip2`, whose sockets are `wasi:sockets`",
    },
    Foreign {
        imports: |(module, name)| *module == "wasi" && *name == "thread-spawn",
        made_for: "wasi-threads, where instances share a memory",
        advice: "Components have no such threads: build it without `-pthread`, for `wasm32-wasip1` or `wasm32-wasip2`",
    },
    Foreign {
        imports: |(module, _)| *module == "wasi_unstable",
        made_for: "the first draft of WASI, before 0.1",
        advice: "Build it again with a compiler of 2020 or later, for `wasm32-wasip1` or `wasm32-wasip2`",
    },
    Foreign {
        imports: |(module, _)| module.starts_with("__wbindgen") || *module == "wbg",
        made_for: "a browser, by wasm-bindgen",
        advice: "Build it for `wasm32-wasip2`, without wasm-bindgen",
    },
    Foreign {
        imports: |(module, _)| *module == "gojs" || *module == "go",
        made_for: "a browser, by Go",
        advice: "Build it with GOOS=wasip1 in the place of GOOS=js",
    },
    Foreign {
        imports: |(module, name)| {
            (*module == "env" || *module == "a") && (name.starts_with("emscripten_") || name.starts_with("invoke_"))
        },
        made_for: "a browser, by Emscripten",
        advice: "Build it with wasi-sdk, or with `-sSTANDALONE_WASM`",
    },
    Foreign {
        imports: |(module, name)| *module == "env" && *name == "abort",
        made_for: "a browser, by AssemblyScript",
        advice: "Build it with the WASI shim: `--config ./node_modules/@assemblyscript/wasi-shim/asconfig.json`",
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
    fn what_is_no_module_passes() {
        for bytes in [&b""[..], b"#!/bin/sh", b"\0asm", &wat::parse_str("(component)").unwrap()] {
            assert!(adapt(bytes).unwrap().is_none());
        }
    }

    #[test]
    fn modules_of_other_hosts_are_told_what_they_need() {
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
        assert!(foreign(r#""env" "log""#).contains("of its own"));
        assert_eq!(adapted("(module (func (export \"add\")))"), Err(AdaptError::NoEntry));
    }

    #[test]
    fn a_damaged_module_is_no_panic() {
        let whole = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#).unwrap();
        for cut in 8..whole.len() {
            // Cut between two sections it is a smaller module, which may have no entry.
            assert!(adapt(&whole[..cut]).is_err());
        }
    }
}
