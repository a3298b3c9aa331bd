//! [WASI 0.1](https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md) for programs that run as core modules, without
//! the adapter.

use std::sync::Arc;

use wasmtime::{InstancePre, Linker, Module};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder, WasiView as _};

use super::grants::Grants;
use super::unit;
use crate::limits::LimitTracker;
use crate::store::{ComponentContext, StoreData};

/// The resources of a module that are not files: its standard streams, and temporary resources of a call.
const OTHER_ENTRIES: usize = 16;

/// Builds the context of a module from the grants of its component.
pub(super) fn open(component: &ComponentContext, tracker: &Arc<LimitTracker>) -> WasiP1Ctx {
    let grants = Grants::of(component);
    let mut builder = WasiCtxBuilder::new();
    grants.stdio.open(component, tracker, &mut builder);
    let mut opened = builder.envs(&grants.env).args(&grants.args).build_p1();
    let view = opened.ctx();
    *view.ctx.filesystem() = grants.filesystem.clone();
    // The table needs no room for sockets: the host passes none to a module, and WASI 0.1 cannot open one.
    view.table.set_max_capacity(tracker.limits().files as usize + OTHER_ENTRIES);
    opened
}

/// Links the imports of a module.
///
/// # Errors
/// An error when the module imports a function that WASI 0.1 does not have.
pub(crate) fn link(engine: &wasmtime::Engine, module: &Module) -> wasmtime::Result<InstancePre<StoreData>> {
    let mut linker = Linker::<StoreData>::new(engine);
    p1::add_to_linker_async(&mut linker, unit::preview1)?;
    // wasmtime's `proc_exit` rejects exit codes of 126 and above.
    linker.allow_shadowing(true);
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", |code: i32| Err::<(), _>(I32Exit(code).into()))?;
    linker.instantiate_pre(module)
}
