//! `wasi:random` within an instance's memory: the host makes the bytes before the component has room for them.

use wasmtime::StoreContextMut;
use wasmtime_wasi::p2::bindings::random as p2;
use wasmtime_wasi::p3::bindings::random as p3;
use wasmtime_wasi::random::WasiRandom;

use crate::ctx::Ctx;
use crate::plugin::Link;

/// Whether an instance has room for so many bytes at all.
fn check(ctx: &Ctx, length: u64) -> wasmtime::Result<()> {
    let memory = ctx.guard().limits().memory;
    wasmtime::ensure!(length <= memory, "{length} random bytes do not fit into the `memory` of {memory} bytes");
    Ok(())
}

pub(super) fn link_p2(link: &mut Link<'_>) -> wasmtime::Result<()> {
    p2::random::add_to_linker_instance::<Ctx, WasiRandom>(&mut link.instance()?, Ctx::random)?;
    link.again(|instance| {
        instance.func_wrap("get-random-bytes", |mut store: StoreContextMut<'_, Ctx>, (length,): (u64,)| {
            check(store.data(), length)?;
            Ok((p2::random::Host::get_random_bytes(store.data_mut().random(), length)?,))
        })
    })
}

pub(super) fn link_insecure_p2(link: &mut Link<'_>) -> wasmtime::Result<()> {
    p2::insecure::add_to_linker_instance::<Ctx, WasiRandom>(&mut link.instance()?, Ctx::random)?;
    link.again(|instance| {
        instance.func_wrap("get-insecure-random-bytes", |mut store: StoreContextMut<'_, Ctx>, (length,): (u64,)| {
            check(store.data(), length)?;
            Ok((p2::insecure::Host::get_insecure_random_bytes(store.data_mut().random(), length)?,))
        })
    })
}

/// In WASI 0.3 there may be fewer bytes than were asked for.
fn most(ctx: &Ctx, length: u64) -> u64 {
    length.min(ctx.guard().limits().memory)
}

pub(super) fn link_p3(link: &mut Link<'_>) -> wasmtime::Result<()> {
    p3::random::add_to_linker_instance::<Ctx, WasiRandom>(&mut link.instance()?, Ctx::random)?;
    link.again(|instance| {
        instance.func_wrap("get-random-bytes", |mut store: StoreContextMut<'_, Ctx>, (length,): (u64,)| {
            let length = most(store.data(), length);
            Ok((p3::random::Host::get_random_bytes(store.data_mut().random(), length)?,))
        })
    })
}

pub(super) fn link_insecure_p3(link: &mut Link<'_>) -> wasmtime::Result<()> {
    p3::insecure::add_to_linker_instance::<Ctx, WasiRandom>(&mut link.instance()?, Ctx::random)?;
    link.again(|instance| {
        instance.func_wrap("get-insecure-random-bytes", |mut store: StoreContextMut<'_, Ctx>, (length,): (u64,)| {
            let length = most(store.data(), length);
            Ok((p3::insecure::Host::get_insecure_random_bytes(store.data_mut().random(), length)?,))
        })
    })
}
