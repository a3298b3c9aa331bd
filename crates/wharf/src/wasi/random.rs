//! [`wasi:random`](https://github.com/WebAssembly/wasi-random) within the memory limit: the host buffers random bytes before it
//! copies them to the component.

use wasmtime::StoreContextMut;
use wasmtime_wasi::p2::bindings::random as p2;
use wasmtime_wasi::p3::bindings::random as p3;
use wasmtime_wasi::random::WasiRandom;

use super::unit;
use crate::plugin::Link;
use crate::store::StoreData;

/// Fails when `length` bytes exceed the memory limit. WASI 0.2 has no error for this call, so it traps.
fn check_length(ctx: &StoreData, length: u64) -> wasmtime::Result<()> {
    let memory = ctx.tracker().limits().memory;
    wasmtime::ensure!(length <= memory, "limit reached: memory ({memory} bytes), requested {length} random bytes");
    Ok(())
}

pub(super) fn link_p2(link: &mut Link<'_>) -> wasmtime::Result<()> {
    p2::random::add_to_linker_instance::<StoreData, WasiRandom>(&mut link.instance()?, unit::random)?;
    link.replace(|instance| {
        instance.func_wrap("get-random-bytes", |mut store: StoreContextMut<'_, StoreData>, (length,): (u64,)| {
            check_length(store.data(), length)?;
            Ok((p2::random::Host::get_random_bytes(unit::random(store.data_mut()), length)?,))
        })
    })
}

pub(super) fn link_insecure_p2(link: &mut Link<'_>) -> wasmtime::Result<()> {
    p2::insecure::add_to_linker_instance::<StoreData, WasiRandom>(&mut link.instance()?, unit::random)?;
    link.replace(|instance| {
        instance.func_wrap(
            "get-insecure-random-bytes",
            |mut store: StoreContextMut<'_, StoreData>, (length,): (u64,)| {
                check_length(store.data(), length)?;
                Ok((p2::insecure::Host::get_insecure_random_bytes(unit::random(store.data_mut()), length)?,))
            },
        )
    })
}

/// Lowers `length` to the memory limit: WASI 0.3 may return fewer bytes than requested.
fn capped_length(ctx: &StoreData, length: u64) -> u64 {
    length.min(ctx.tracker().limits().memory)
}

pub(super) fn link_p3(link: &mut Link<'_>) -> wasmtime::Result<()> {
    p3::random::add_to_linker_instance::<StoreData, WasiRandom>(&mut link.instance()?, unit::random)?;
    link.replace(|instance| {
        instance.func_wrap("get-random-bytes", |mut store: StoreContextMut<'_, StoreData>, (length,): (u64,)| {
            let length = capped_length(store.data(), length);
            Ok((p3::random::Host::get_random_bytes(unit::random(store.data_mut()), length)?,))
        })
    })
}

pub(super) fn link_insecure_p3(link: &mut Link<'_>) -> wasmtime::Result<()> {
    p3::insecure::add_to_linker_instance::<StoreData, WasiRandom>(&mut link.instance()?, unit::random)?;
    link.replace(|instance| {
        instance.func_wrap(
            "get-insecure-random-bytes",
            |mut store: StoreContextMut<'_, StoreData>, (length,): (u64,)| {
                let length = capped_length(store.data(), length);
                Ok((p3::insecure::Host::get_insecure_random_bytes(unit::random(store.data_mut()), length)?,))
            },
        )
    })
}
