//! `wasi:filesystem/types` with the unit's limit `files`: opening is counted here, and the engine does all the rest.

mod listing;
mod stream;

use std::any::Any;
use std::sync::Arc;

use wasmtime::component::{Access, Accessor, FutureReader, LinkerInstance, Resource, ResourceType, StreamReader};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem};
use wasmtime_wasi::p2::bindings::filesystem::types as p2;
use wasmtime_wasi::p3::bindings::filesystem::types as p3;

use super::until::hold_until_done;
use crate::ctx::Ctx;
use crate::limits::Limit;
use crate::plugin::Link;
use listing::Listing;

const OPEN_AT: &str = "[method]descriptor.open-at";
const READ_DIRECTORY: &str = "[method]descriptor.read-directory";
const READ: &str = "[method]descriptor.read-via-stream";
const WRITE: &str = "[method]descriptor.write-via-stream";
const APPEND: &str = "[method]descriptor.append-via-stream";

/// The size of what is in a resource of this interface, beyond its handle.
pub(crate) fn size(resource: &(dyn Any + Send)) -> usize {
    resource.downcast_ref::<Listing>().map_or(0, Listing::size)
}

/// Counts one more that is open or being opened, until what this returns is dropped; `None` when there are too many. Neither
/// WASI has an error of its own for that; `quota` is the nearest.
fn may_open(ctx: &mut Ctx) -> Option<Arc<()>> {
    let open = ctx.table().iter_mut().filter(|entry| entry.is::<Descriptor>()).count();
    // As many are being opened, or are streams, as there are clones of it, but for the one that is kept.
    let opening = ctx.opening().clone();
    let limits = ctx.guard().limits();
    let most = limits.by_memory(limits.files);
    if ((open + Arc::strong_count(&opening) - 2) as u64) < most {
        return Some(opening);
    }
    ctx.guard().refuse(Limit::Files);
    None
}

type ArgsP2 = (Resource<Descriptor>, p2::PathFlags, String, p2::OpenFlags, p2::DescriptorFlags);

pub(super) fn link_p2(link: &mut Link<'_>) -> wasmtime::Result<()> {
    type This = (Resource<Descriptor>,);
    type ThisListing = (Resource<Listing>,);
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
        })?;
        link_streams_p2(instance)?;
        // The engine's own iterator does not say how much it holds.
        let drop = |mut store: StoreContextMut<'_, Ctx>, rep| {
            store.data_mut().table().delete(Resource::<Listing>::new_own(rep))?;
            Ok(())
        };
        instance.resource("directory-entry-stream", ResourceType::host::<Listing>(), drop)?;
        instance.func_wrap_async(READ_DIRECTORY, |mut store: StoreContextMut<'_, Ctx>, (this,): This| {
            Box::new(async move {
                let ctx = store.data_mut();
                let mut files = ctx.filesystem();
                let read = match p2::HostDescriptor::read_directory(&mut files, this).await {
                    Ok(read) => files.table.delete(read)?,
                    Err(error) => return Ok((Err(p2::Host::convert_error_code(&mut files, error)?),)),
                };
                let listing = Listing::new(read);
                ctx.kept(listing.size());
                Ok((Ok(ctx.table().push(listing)?),))
            })
        })?;
        let next = "[method]directory-entry-stream.read-directory-entry";
        instance.func_wrap(next, |mut store: StoreContextMut<'_, Ctx>, (this,): ThisListing| {
            let ctx = store.data_mut();
            Ok((match ctx.table().get_mut(&this)?.next().transpose() {
                Ok(entry) => Ok(entry),
                Err(error) => Err(p2::Host::convert_error_code(&mut ctx.filesystem(), error)?),
            },))
        })
    })
}

/// A stream keeps its file open, and something of it, whatever became of the file's own handle.
fn link_streams_p2(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    type This = (Resource<Descriptor>,);
    type At = (Resource<Descriptor>, u64);
    instance.func_wrap(READ, |mut store: StoreContextMut<'_, Ctx>, (this, offset): At| {
        let ctx = store.data_mut();
        let Some(open) = may_open(ctx) else { return Ok((Err(p2::ErrorCode::Quota),)) };
        let mut files = ctx.filesystem();
        Ok((match p2::HostDescriptor::read_via_stream(&mut files, this, offset) {
            Ok(stream) => Ok(stream::counted_input(files.table, stream, open)?),
            Err(error) => Err(p2::Host::convert_error_code(&mut files, error)?),
        },))
    })?;
    instance.func_wrap(WRITE, |mut store: StoreContextMut<'_, Ctx>, (this, offset): At| {
        let ctx = store.data_mut();
        let Some(open) = may_open(ctx) else { return Ok((Err(p2::ErrorCode::Quota),)) };
        let mut files = ctx.filesystem();
        Ok((match p2::HostDescriptor::write_via_stream(&mut files, this, offset) {
            Ok(stream) => Ok(stream::counted_output(files.table, stream, open)?),
            Err(error) => Err(p2::Host::convert_error_code(&mut files, error)?),
        },))
    })?;
    instance.func_wrap(APPEND, |mut store: StoreContextMut<'_, Ctx>, (this,): This| {
        let ctx = store.data_mut();
        let Some(open) = may_open(ctx) else { return Ok((Err(p2::ErrorCode::Quota),)) };
        let mut files = ctx.filesystem();
        Ok((match p2::HostDescriptor::append_via_stream(&mut files, this) {
            Ok(stream) => Ok(stream::counted_output(files.table, stream, open)?),
            Err(error) => Err(p2::Host::convert_error_code(&mut files, error)?),
        },))
    })
}

type ArgsP3 = (Resource<Descriptor>, p3::PathFlags, String, p3::OpenFlags, p3::DescriptorFlags);
type Done = Result<(), p3::ErrorCode>;

/// The engine's view of the same store.
fn engines<'a>(store: &'a mut StoreContextMut<'_, Ctx>) -> Access<'a, Ctx, WasiFilesystem> {
    Access::<'_, Ctx, WasiFilesystem>::new(store.as_context_mut(), Ctx::filesystem)
}

/// The future of a stream that was not opened.
fn refused(store: &mut StoreContextMut<'_, Ctx>) -> wasmtime::Result<FutureReader<Done>> {
    FutureReader::new(store, async { wasmtime::error::Ok(Err(p3::ErrorCode::Quota)) })
}

pub(super) fn link_p3(link: &mut Link<'_>) -> wasmtime::Result<()> {
    type This = (Resource<Descriptor>,);
    type ReadArgs = (Resource<Descriptor>, u64);
    type WriteArgs = (Resource<Descriptor>, StreamReader<u8>, u64);
    type AppendArgs = (Resource<Descriptor>, StreamReader<u8>);
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
        })?;
        // A stream keeps its file open, whatever became of the file's own handle.
        instance.func_wrap(READ, |mut store: StoreContextMut<'_, Ctx>, (this, offset): ReadArgs| {
            let Some(open) = may_open(store.data_mut()) else {
                return Ok(((StreamReader::new(&mut store, std::iter::empty())?, refused(&mut store)?),));
            };
            let read = <WasiFilesystem as p3::HostDescriptorWithStore<Ctx>>::read_via_stream;
            let (stream, done) = read(engines(&mut store), this, offset)?;
            Ok(((stream, hold_until_done(&mut store, done, open)?),))
        })?;
        instance.func_wrap(WRITE, |mut store: StoreContextMut<'_, Ctx>, (this, mut data, offset): WriteArgs| {
            let Some(open) = may_open(store.data_mut()) else {
                data.close(&mut store)?;
                return Ok((refused(&mut store)?,));
            };
            let write = <WasiFilesystem as p3::HostDescriptorWithStore<Ctx>>::write_via_stream;
            let done = write(engines(&mut store), this, data, offset)?;
            Ok((hold_until_done(&mut store, done, open)?,))
        })?;
        instance.func_wrap(APPEND, |mut store: StoreContextMut<'_, Ctx>, (this, mut data): AppendArgs| {
            let Some(open) = may_open(store.data_mut()) else {
                data.close(&mut store)?;
                return Ok((refused(&mut store)?,));
            };
            let append = <WasiFilesystem as p3::HostDescriptorWithStore<Ctx>>::append_via_stream;
            let done = append(engines(&mut store), this, data)?;
            Ok((hold_until_done(&mut store, done, open)?,))
        })?;
        instance.func_wrap(READ_DIRECTORY, |mut store: StoreContextMut<'_, Ctx>, (this,): This| {
            let Some(open) = may_open(store.data_mut()) else {
                return Ok(((StreamReader::new(&mut store, std::iter::empty())?, refused(&mut store)?),));
            };
            let read = <WasiFilesystem as p3::HostDescriptorWithStore<Ctx>>::read_directory;
            let (stream, done) = read(engines(&mut store), this)?;
            let done = hold_until_done(&mut store, done, open)?;
            Ok(((listing::whole(&mut store, stream)?, done),))
        })
    })
}
