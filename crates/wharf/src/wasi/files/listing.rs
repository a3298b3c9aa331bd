//! Directory listings, buffered by the host and charged to the memory of the instance.
//!
//! wasmtime lists a directory on a blocking thread, which in WASI 0.3 waits for the component at each entry. Components that do
//! not read could occupy all blocking threads, which the host needs for files and lookups. So the host reads entries as fast as the
//! system returns them, whether or not the component reads.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::vec;

use wasmtime::component::{Destination, Source, StreamConsumer, StreamProducer, StreamReader, StreamResult, VecBuffer};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::p2::bindings::filesystem::types as p2;
use wasmtime_wasi::p2::{FsError, ReaddirIterator};
use wasmtime_wasi::p3::bindings::filesystem::types::DirectoryEntry;

use crate::store::{Charge, StoreData};

/// The size of an entry without its name, in bytes.
const ENTRY_OVERHEAD: usize = 64;
/// The most entries that are passed to a component at a time.
const BATCH: usize = 64;

/// A directory listing of WASI 0.2.
pub(super) struct Listing {
    entries: vec::IntoIter<Result<p2::DirectoryEntry, FsError>>,
    size: usize,
}

impl Listing {
    pub(super) fn new(read: ReaddirIterator) -> Self {
        let entries: Vec<_> = read.into_iter().collect();
        let size =
            entries.iter().map(|entry| ENTRY_OVERHEAD + entry.as_ref().map_or(0, |entry| entry.name.len())).sum();
        Self { entries: entries.into_iter(), size }
    }

    /// Returns the size of all entries, in bytes. Entries stay allocated until the listing is dropped.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn next(&mut self) -> Option<Result<p2::DirectoryEntry, FsError>> {
        self.entries.next()
    }
}

/// Returns a stream of the same entries, which the host buffers.
pub(super) fn buffered(
    store: &mut StoreContextMut<'_, StoreData>,
    entries: StreamReader<DirectoryEntry>,
) -> wasmtime::Result<StreamReader<DirectoryEntry>> {
    let charge = store.data_mut().charge();
    let buffer = Arc::new(Mutex::new(Buffer { entries: VecDeque::new(), done: false, reader: None, size: 0, charge }));
    entries.pipe(store.as_context_mut(), BufferWriter(buffer.clone()))?;
    StreamReader::new(store, BufferReader(buffer))
}

/// The buffered entries of a directory.
struct Buffer {
    entries: VecDeque<DirectoryEntry>,
    /// Whether the whole directory is in the buffer.
    done: bool,
    /// The waker of a component that waits for an entry.
    reader: Option<Waker>,
    /// The size of all entries that were read, in bytes.
    size: usize,
    charge: Charge,
}

impl Buffer {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

fn lock(buffer: &Mutex<Buffer>) -> MutexGuard<'_, Buffer> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fills the buffer. wasmtime drops it at the end of the directory.
struct BufferWriter(Arc<Mutex<Buffer>>);

impl StreamConsumer<StoreData> for BufferWriter {
    type Item = DirectoryEntry;

    fn poll_consume(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut store: StoreContextMut<StoreData>,
        mut source: Source<'_, DirectoryEntry>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut entries = Vec::with_capacity(source.remaining(&mut store));
        source.read(&mut store, &mut entries)?;
        let size = entries.iter().map(|entry| ENTRY_OVERHEAD + entry.name.len()).sum();
        let mut buffer = lock(&self.0);
        buffer.size += size;
        buffer.charge.set(buffer.size);
        buffer.entries.extend(entries);
        buffer.wake();
        drop(buffer);
        store.data_mut().count_kept(size);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl Drop for BufferWriter {
    fn drop(&mut self) {
        let mut buffer = lock(&self.0);
        buffer.done = true;
        buffer.wake();
    }
}

/// Passes the buffered entries to the component.
struct BufferReader(Arc<Mutex<Buffer>>);

impl StreamProducer<StoreData> for BufferReader {
    type Item = DirectoryEntry;
    type Buffer = VecBuffer<DirectoryEntry>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, StoreData>,
        mut destination: Destination<'a, DirectoryEntry, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut buffer = lock(&self.0);
        if buffer.entries.is_empty() {
            if buffer.done {
                return Poll::Ready(Ok(StreamResult::Dropped));
            }
            if finish {
                return Poll::Ready(Ok(StreamResult::Cancelled));
            }
            buffer.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // A read with no room only asks whether an entry is ready.
        if destination.remaining(&mut store) != Some(0) {
            let count = buffer.entries.len().min(BATCH);
            let entries: Vec<_> = buffer.entries.drain(..count).collect();
            destination.set_buffer(entries.into());
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}
