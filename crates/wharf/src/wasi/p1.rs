//! WASI 0.1 for programs that run as the core modules that they are.

use wasmtime::{InstancePre, Linker, Module};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder, WasiView as _};

use crate::ctx::{Ctx, Scope};

/// Table entries that are no files of the guest: its standard streams, and what one call opens for itself.
const OTHER_ENTRIES: usize = 16;

/// What a module of WASI 0.1 sees of its grants.
pub(crate) fn open(scope: &Scope<'_>) -> WasiP1Ctx {
    let grants = scope.grants.wasi();
    let mut builder = WasiCtxBuilder::new();
    grants.stdio.open(&mut builder, scope.grants, scope.guard);
    let mut opened = builder.envs(&grants.env).args(&grants.args).build_p1();
    let view = opened.ctx();
    *view.ctx.filesystem() = grants.filesystem.clone();
    // No socket is handed to a module, and WASI 0.1 cannot open one.
    view.table.set_max_capacity(scope.guard.limits().files as usize + OTHER_ENTRIES);
    opened
}

/// Gives a module its imports.
pub(crate) fn link(engine: &wasmtime::Engine, module: &Module) -> wasmtime::Result<InstancePre<Ctx>> {
    let mut linker = Linker::<Ctx>::new(engine);
    p1::add_to_linker_async(&mut linker, Ctx::preview1)?;
    // The engine's own takes codes below 126 alone; a program's is its own affair.
    linker.allow_shadowing(true);
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", |code: i32| Err::<(), _>(I32Exit(code).into()))?;
    linker.instantiate_pre(module)
}
