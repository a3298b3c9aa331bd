//! File streams of WASI 0.2, which count as open files until they are dropped.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamResult};

/// A stream with the guard that counts it.
struct Counted<S> {
    stream: S,
    _guard: Arc<()>,
}

/// Replaces an input stream of wasmtime by a counted one.
pub(super) fn counted_input(
    table: &mut ResourceTable,
    stream: Resource<DynInputStream>,
    guard: Arc<()>,
) -> wasmtime::Result<Resource<DynInputStream>> {
    let stream = table.delete(stream)?;
    Ok(table.push(Box::new(Counted { stream, _guard: guard }) as DynInputStream)?)
}

/// Replaces an output stream of wasmtime by a counted one.
pub(super) fn counted_output(
    table: &mut ResourceTable,
    stream: Resource<DynOutputStream>,
    guard: Arc<()>,
) -> wasmtime::Result<Resource<DynOutputStream>> {
    let stream = table.delete(stream)?;
    Ok(table.push(Box::new(Counted { stream, _guard: guard }) as DynOutputStream)?)
}

#[async_trait]
impl Pollable for Counted<DynInputStream> {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[async_trait]
impl InputStream for Counted<DynInputStream> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.stream.read(size)
    }
    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.stream.blocking_read(size).await
    }
    fn skip(&mut self, bytes: usize) -> StreamResult<usize> {
        self.stream.skip(bytes)
    }
    async fn blocking_skip(&mut self, bytes: usize) -> StreamResult<usize> {
        self.stream.blocking_skip(bytes).await
    }
    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}

#[async_trait]
impl Pollable for Counted<DynOutputStream> {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[async_trait]
impl OutputStream for Counted<DynOutputStream> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.stream.write(bytes)
    }
    fn flush(&mut self) -> StreamResult<()> {
        self.stream.flush()
    }
    fn check_write(&mut self) -> StreamResult<usize> {
        self.stream.check_write()
    }
    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.stream.blocking_write_and_flush(bytes).await
    }
    fn write_zeroes(&mut self, bytes: usize) -> StreamResult<()> {
        self.stream.write_zeroes(bytes)
    }
    async fn write_ready(&mut self) -> StreamResult<usize> {
        self.stream.write_ready().await
    }
    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}
