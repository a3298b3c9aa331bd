//! [`wasi:filesystem/types`](https://github.com/WebAssembly/wasi-filesystem) 0.2 and 0.3 with the limit `files`: counts open
//! files and streams, and leaves the rest to wasmtime.

mod listing;
mod stream;

use std::any::Any;
use std::sync::Arc;

use wasmtime::component::{Access, Accessor, FutureReader, LinkerInstance, Resource, ResourceType, StreamReader};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem};
use wasmtime_wasi::p2::bindings::filesystem::types as p2;
use wasmtime_wasi::p3::bindings::filesystem::types as p3;

use super::hold::hold_until_done;
use super::unit;
use crate::limits::Limit;
use crate::plugin::Link;
use crate::store::StoreData;
use listing::Listing;

const OPEN_AT: &str = "[method]descriptor.open-at";
const READ_DIRECTORY: &str = "[method]descriptor.read-directory";
const READ: &str = "[method]descriptor.read-via-stream";
const WRITE: &str = "[method]descriptor.write-via-stream";
const APPEND: &str = "[method]descriptor.append-via-stream";

/// Returns the size of a directory listing beyond its handle, in bytes, and 0 for other resources.
pub(crate) fn size(resource: &(dyn Any + Send)) -> usize {
    resource.downcast_ref::<Listing>().map_or(0, Listing::size)
}

/// Counts another file as being opened, or another stream as open, until the returned guard is dropped. Returns `None` when the
/// limit is reached; callers report `quota`, because no version of WASI has a more specific error.
fn count_open(ctx: &mut StoreData) -> Option<Arc<()>> {
    let descriptors = ctx.table().iter_mut().filter(|entry| entry.is::<Descriptor>()).count();
    // Each file being opened and each open stream holds a clone. The unit's own and this one do not count.
    let guard = unit::opening(ctx).clone();
    let limits = ctx.tracker().limits();
    let max = limits.capped_by_memory(limits.files);
    if ((descriptors + Arc::strong_count(&guard) - 2) as u64) < max {
        return Some(guard);
    }
    ctx.tracker().refuse(Limit::Files);
    None
}

type ArgsP2 = (Resource<Descriptor>, p2::PathFlags, String, p2::OpenFlags, p2::DescriptorFlags);

/// Links the interface of WASI 0.2.
pub(super) fn link_p2(link: &mut Link<'_>) -> wasmtime::Result<()> {
    type This = (Resource<Descriptor>,);
    type ThisListing = (Resource<Listing>,);
    p2::add_to_linker_instance::<StoreData, WasiFilesystem>(&mut link.instance()?, unit::filesystem)?;
    link.replace(|instance| {
        instance.func_wrap_async(OPEN_AT, |mut store: StoreContextMut<'_, StoreData>, args: ArgsP2| {
            Box::new(async move {
                let ctx = store.data_mut();
                let Some(_guard) = count_open(ctx) else { return Ok((Err(p2::ErrorCode::Quota),)) };
                let (this, path_flags, path, open_flags, flags) = args;
                let mut files = unit::filesystem(ctx);
                let opened = p2::HostDescriptor::open_at(&mut files, this, path_flags, path, open_flags, flags).await;
                Ok((match opened {
                    Ok(opened) => Ok(opened),
                    Err(error) => Err(p2::Host::convert_error_code(&mut files, error)?),
                },))
            })
        })?;
        link_streams_p2(instance)?;
        // A listing replaces wasmtime's iterator, whose size is not known.
        let drop = |mut store: StoreContextMut<'_, StoreData>, rep| {
            store.data_mut().table().delete(Resource::<Listing>::new_own(rep))?;
            Ok(())
        };
        instance.resource("directory-entry-stream", ResourceType::host::<Listing>(), drop)?;
        instance.func_wrap_async(READ_DIRECTORY, |mut store: StoreContextMut<'_, StoreData>, (this,): This| {
            Box::new(async move {
                let ctx = store.data_mut();
                let mut files = unit::filesystem(ctx);
                let read = match p2::HostDescriptor::read_directory(&mut files, this).await {
                    Ok(read) => files.table.delete(read)?,
                    Err(error) => return Ok((Err(p2::Host::convert_error_code(&mut files, error)?),)),
                };
                let listing = Listing::new(read);
                ctx.count_kept(listing.size());
                Ok((Ok(ctx.table().push(listing)?),))
            })
        })?;
        let next = "[method]directory-entry-stream.read-directory-entry";
        instance.func_wrap(next, |mut store: StoreContextMut<'_, StoreData>, (this,): ThisListing| {
            let ctx = store.data_mut();
            Ok((match ctx.table().get_mut(&this)?.next().transpose() {
                Ok(entry) => Ok(entry),
                Err(error) => Err(p2::Host::convert_error_code(&mut unit::filesystem(ctx), error)?),
            },))
        })
    })
}

/// Links the functions that open a stream. An open stream counts as an open file, because it keeps its file open after the
/// file's handle is dropped.
fn link_streams_p2(instance: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    type This = (Resource<Descriptor>,);
    type At = (Resource<Descriptor>, u64);
    instance.func_wrap(READ, |mut store: StoreContextMut<'_, StoreData>, (this, offset): At| {
        let ctx = store.data_mut();
        let Some(guard) = count_open(ctx) else { return Ok((Err(p2::ErrorCode::Quota),)) };
        let mut files = unit::filesystem(ctx);
        Ok((match p2::HostDescriptor::read_via_stream(&mut files, this, offset) {
            Ok(stream) => Ok(stream::counted_input(files.table, stream, guard)?),
            Err(error) => Err(p2::Host::convert_error_code(&mut files, error)?),
        },))
    })?;
    instance.func_wrap(WRITE, |mut store: StoreContextMut<'_, StoreData>, (this, offset): At| {
        let ctx = store.data_mut();
        let Some(guard) = count_open(ctx) else { return Ok((Err(p2::ErrorCode::Quota),)) };
        let mut files = unit::filesystem(ctx);
        Ok((match p2::HostDescriptor::write_via_stream(&mut files, this, offset) {
            Ok(stream) => Ok(stream::counted_output(files.table, stream, guard)?),
            Err(error) => Err(p2::Host::convert_error_code(&mut files, error)?),
        },))
    })?;
    instance.func_wrap(APPEND, |mut store: StoreContextMut<'_, StoreData>, (this,): This| {
        let ctx = store.data_mut();
        let Some(guard) = count_open(ctx) else { return Ok((Err(p2::ErrorCode::Quota),)) };
        let mut files = unit::filesystem(ctx);
        Ok((match p2::HostDescriptor::append_via_stream(&mut files, this) {
            Ok(stream) => Ok(stream::counted_output(files.table, stream, guard)?),
            Err(error) => Err(p2::Host::convert_error_code(&mut files, error)?),
        },))
    })
}

type ArgsP3 = (Resource<Descriptor>, p3::PathFlags, String, p3::OpenFlags, p3::DescriptorFlags);
type Done = Result<(), p3::ErrorCode>;

/// wasmtime's view of the store.
fn wasmtime_view<'a>(store: &'a mut StoreContextMut<'_, StoreData>) -> Access<'a, StoreData, WasiFilesystem> {
    Access::<'_, StoreData, WasiFilesystem>::new(store.as_context_mut(), unit::filesystem)
}

/// Returns the result of a stream that was not opened.
fn quota_exceeded(store: &mut StoreContextMut<'_, StoreData>) -> wasmtime::Result<FutureReader<Done>> {
    FutureReader::new(store, async { wasmtime::error::Ok(Err(p3::ErrorCode::Quota)) })
}

/// Links the interface of WASI 0.3.
pub(super) fn link_p3(link: &mut Link<'_>) -> wasmtime::Result<()> {
    type This = (Resource<Descriptor>,);
    p3::add_to_linker_instance::<StoreData, WasiFilesystem>(&mut link.instance()?, unit::filesystem)?;
    link.replace(|instance| {
        instance.func_wrap_concurrent(OPEN_AT, |accessor: &Accessor<StoreData>, args: ArgsP3| {
            Box::pin(async move {
                let Some(_guard) = accessor.with(|mut store| count_open(store.get())) else {
                    return Ok((Err(p3::ErrorCode::Quota),));
                };
                let (this, path_flags, path, open_flags, flags) = args;
                let files = accessor.with_getter::<WasiFilesystem>(unit::filesystem);
                let opened = <WasiFilesystem as p3::HostDescriptorWithStore<StoreData>>::open_at(
                    &files, this, path_flags, path, open_flags, flags,
                );
                Ok((match opened.await {
                    Ok(opened) => Ok(opened),
                    Err(error) => Err(accessor
                        .with(|mut store| p3::Host::convert_error_code(&mut unit::filesystem(store.get()), error))?),
                },))
            })
        })?;
        link_streams_p3(instance)?;
        instance.func_wrap(READ_DIRECTORY, |mut store: StoreContextMut<'_, StoreData>, (this,): This| {
            let Some(guard) = count_open(store.data_mut()) else {
                return Ok(((StreamReader::new(&mut store, std::iter::empty())?, quota_exceeded(&mut store)?),));
            };
            let read = <WasiFilesystem as p3::HostDescriptorWithStore<StoreData>>::read_directory;
            let (stream, done) = read(wasmtime_view(&mut store), this)?;
            let done = hold_until_done(&mut store, done, guard)?;
            Ok(((listing::buffered(&mut store, stream)?, done),))
        })
    })
}

/// Links the functions that open a stream of bytes, which counts as an open file as in [`link_streams_p2`].
fn link_streams_p3(instance: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    type ReadArgs = (Resource<Descriptor>, u64);
    type WriteArgs = (Resource<Descriptor>, StreamReader<u8>, u64);
    type AppendArgs = (Resource<Descriptor>, StreamReader<u8>);
    instance.func_wrap(READ, |mut store: StoreContextMut<'_, StoreData>, (this, offset): ReadArgs| {
        let Some(guard) = count_open(store.data_mut()) else {
            return Ok(((StreamReader::new(&mut store, std::iter::empty())?, quota_exceeded(&mut store)?),));
        };
        let read = <WasiFilesystem as p3::HostDescriptorWithStore<StoreData>>::read_via_stream;
        let (stream, done) = read(wasmtime_view(&mut store), this, offset)?;
        Ok(((stream, hold_until_done(&mut store, done, guard)?),))
    })?;
    instance.func_wrap(WRITE, |mut store: StoreContextMut<'_, StoreData>, (this, mut data, offset): WriteArgs| {
        let Some(guard) = count_open(store.data_mut()) else {
            data.close(&mut store)?;
            return Ok((quota_exceeded(&mut store)?,));
        };
        let write = <WasiFilesystem as p3::HostDescriptorWithStore<StoreData>>::write_via_stream;
        let done = write(wasmtime_view(&mut store), this, data, offset)?;
        Ok((hold_until_done(&mut store, done, guard)?,))
    })?;
    instance.func_wrap(APPEND, |mut store: StoreContextMut<'_, StoreData>, (this, mut data): AppendArgs| {
        let Some(guard) = count_open(store.data_mut()) else {
            data.close(&mut store)?;
            return Ok((quota_exceeded(&mut store)?,));
        };
        let append = <WasiFilesystem as p3::HostDescriptorWithStore<StoreData>>::append_via_stream;
        let done = append(wasmtime_view(&mut store), this, data)?;
        Ok((hold_until_done(&mut store, done, guard)?,))
    })
}
