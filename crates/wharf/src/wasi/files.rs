//! `wasi:filesystem/types` with the unit's limit `files`: opening is counted here, and the engine does all the rest.

use std::any::Any;
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem};
use wasmtime_wasi::p2::bindings::filesystem::types as p2;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};
use wasmtime_wasi::p3::bindings::filesystem::types as p3;

use crate::ctx::Ctx;
use crate::limits::Limit;
use crate::plugin::Link;

const OPEN_AT: &str = "[method]descriptor.open-at";

type ArgsP2 = (Resource<Descriptor>, p2::PathFlags, String, p2::OpenFlags, p2::DescriptorFlags);
type ArgsP3 = (Resource<Descriptor>, p3::PathFlags, String, p3::OpenFlags, p3::DescriptorFlags);

/// Counts one more that is being opened, until what this returns is dropped; `None` when there are too many. Neither WASI has
/// an error of its own for that; `quota` is the nearest.
fn may_open(ctx: &mut Ctx) -> Option<Arc<()>> {
    // A stream of WASI 0.2 keeps its file open, whatever became of the file's own handle.
    let counts = |entry: &(dyn Any + Send)| {
        entry.is::<Descriptor>() || entry.is::<DynInputStream>() || entry.is::<DynOutputStream>()
    };
    let open = ctx.table().iter_mut().filter(|entry| counts(&**entry)).count();
    // As many are being opened as there are clones of it, but for the one that is kept.
    let opening = ctx.opening().clone();
    if open + Arc::strong_count(&opening) - 2 < ctx.guard().limits().files as usize {
        return Some(opening);
    }
    ctx.guard().refuse(Limit::Files);
    None
}

pub(super) fn link_p2(link: &mut Link<'_>) -> wasmtime::Result<()> {
    p2::add_to_linker_instance::<Ctx, WasiFilesystem>(&mut link.instance()?, Ctx::filesystem)?;
    link.again(|instance| {
        instance.func_wrap_async(OPEN_AT, |mut store: StoreContextMut<'_, Ctx>, args: ArgsP2| {
            Box::new(async move {
                let ctx = store.data_mut();
                let Some(_opening) = may_open(ctx) else { return Ok((Err(p2::ErrorCode::Quota),)) };
                let (this, path_flags, path, open_flags, flags) = args;
                let mut files = ctx.filesystem();
                let opened = p2::HostDescriptor::open_at(&mut files, this, path_flags, path, open_flags, flags).await;
                Ok((match opened {
                    Ok(opened) => Ok(opened),
                    Err(error) => Err(p2::Host::convert_error_code(&mut files, error)?),
                },))
            })
        })
    })
}

pub(super) fn link_p3(link: &mut Link<'_>) -> wasmtime::Result<()> {
    p3::add_to_linker_instance::<Ctx, WasiFilesystem>(&mut link.instance()?, Ctx::filesystem)?;
    link.again(|instance| {
        instance.func_wrap_concurrent(OPEN_AT, |accessor: &Accessor<Ctx>, args: ArgsP3| {
            Box::pin(async move {
                let Some(_opening) = accessor.with(|mut store| may_open(store.get())) else {
                    return Ok((Err(p3::ErrorCode::Quota),));
                };
                let (this, path_flags, path, open_flags, flags) = args;
                let files = accessor.with_getter::<WasiFilesystem>(Ctx::filesystem);
                let opened = <WasiFilesystem as p3::HostDescriptorWithStore<Ctx>>::open_at(
                    &files, this, path_flags, path, open_flags, flags,
                );
                Ok((match opened.await {
                    Ok(opened) => Ok(opened),
                    Err(error) => Err(accessor
                        .with(|mut store| p3::Host::convert_error_code(&mut store.get().filesystem(), error))?),
                },))
            })
        })
    })
}
