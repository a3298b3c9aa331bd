//! WASI's state in a store: what the components of a unit share, made when it is first used.
//!
//! Shared interfaces work on handles that a component opened by its own grant; their functions grant nothing themselves, so
//! these getters need no component.

use std::sync::Arc;

use wasmtime_wasi::clocks::{WasiClocksCtx, WasiClocksCtxView};
use wasmtime_wasi::filesystem::{WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::random::WasiRandomCtx;
use wasmtime_wasi::sockets::{WasiSocketsCtx, WasiSocketsCtxView};

use super::grants::Grants;
use super::p1;
use super::sockets::{SocketsView, UnitSockets};
use crate::store::{StoreData, UnitScope};

pub(super) fn clocks(data: &mut StoreData) -> WasiClocksCtxView<'_> {
    let UnitScope { state, table, .. } = data.unit();
    WasiClocksCtxView { ctx: state.get_or_insert_with(WasiClocksCtx::default), table }
}

pub(super) fn random(data: &mut StoreData) -> &mut WasiRandomCtx {
    data.unit().state.get_or_insert_with(WasiRandomCtx::default)
}

/// The file system of handles: without volumes, which were opened by then.
pub(super) fn filesystem(data: &mut StoreData) -> WasiFilesystemCtxView<'_> {
    struct Handles(WasiFilesystemCtx);
    let UnitScope { state, table, entry, .. } = data.unit();
    let Handles(ctx) = state.get_or_insert_with(|| Handles(Grants::of(entry).handles.clone()));
    WasiFilesystemCtxView { ctx, table }
}

/// The context of a core module, with the entry's grants.
pub(super) fn preview1(data: &mut StoreData) -> &mut WasiP1Ctx {
    let UnitScope { state, entry, tracker, .. } = data.unit();
    state.get_or_insert_with(|| p1::open(entry, tracker))
}

/// The engine's own sockets, for handles.
pub(super) fn sockets(data: &mut StoreData) -> WasiSocketsCtxView<'_> {
    struct Handles(WasiSocketsCtx);
    let UnitScope { state, table, .. } = data.unit();
    let Handles(ctx) = state.get_or_insert_with(|| Handles(WasiSocketsCtx::default()));
    WasiSocketsCtxView { ctx, table }
}

/// The sockets of handles with the workload's loopback, which all components of a unit share.
pub(super) fn workload_sockets(data: &mut StoreData) -> SocketsView<'_> {
    let UnitScope { state, table, entry, tracker } = data.unit();
    let UnitSockets { ctx, open } = state.get_or_insert_with(UnitSockets::default);
    SocketsView::of_handles(WasiSocketsCtxView { ctx, table }, Grants::of(entry).loopback(), open, tracker)
}

/// Cloned for each file that is being opened, and for each stream of one.
pub(super) fn opening(data: &mut StoreData) -> &Arc<()> {
    struct Opening(Arc<()>);
    &data.unit().state.get_or_insert_with(|| Opening(Arc::default())).0
}
