//! The entries of a folder, read whole before a component sees the first, and counted as memory of its instance.
//!
//! The engine reads a folder on a thread that waits for a reader of WASI 0.3 at each entry: as many of those as there are
//! threads, and nothing else of the host reads a file or looks up a name.

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

use crate::ctx::{Charge, Ctx};

/// What an entry takes beyond its name, in bytes.
const ENTRY: usize = 64;
/// How many entries a component is given at a time.
const AT_ONCE: usize = 64;

/// The entries of a folder that a component of WASI 0.2 reads.
pub(super) struct Listing {
    entries: vec::IntoIter<Result<p2::DirectoryEntry, FsError>>,
    size: usize,
}

impl Listing {
    pub(super) fn new(read: ReaddirIterator) -> Self {
        let entries: Vec<_> = read.into_iter().collect();
        let size = entries.iter().map(|entry| ENTRY + entry.as_ref().map_or(0, |entry| entry.name.len())).sum();
        Self { entries: entries.into_iter(), size }
    }

    /// What all of them took; they go together.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn next(&mut self) -> Option<Result<p2::DirectoryEntry, FsError>> {
        self.entries.next()
    }
}

/// The same entries as a stream of WASI 0.3 has, which are read as fast as the system gives them.
pub(super) fn whole(
    store: &mut StoreContextMut<'_, Ctx>,
    entries: StreamReader<DirectoryEntry>,
) -> wasmtime::Result<StreamReader<DirectoryEntry>> {
    let charge = store.data_mut().charge();
    let read = Arc::new(Mutex::new(Read { entries: VecDeque::new(), done: false, reader: None, size: 0, charge }));
    entries.pipe(store.as_context_mut(), Reading(read.clone()))?;
    StreamReader::new(store, Giving(read))
}

struct Read {
    entries: VecDeque<DirectoryEntry>,
    done: bool,
    reader: Option<Waker>,
    size: usize,
    charge: Charge,
}

impl Read {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

fn lock(read: &Mutex<Read>) -> MutexGuard<'_, Read> {
    read.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the folder, and has done so when this is dropped.
struct Reading(Arc<Mutex<Read>>);

impl StreamConsumer<Ctx> for Reading {
    type Item = DirectoryEntry;

    fn poll_consume(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut store: StoreContextMut<Ctx>,
        mut source: Source<'_, DirectoryEntry>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut entries = Vec::with_capacity(source.remaining(&mut store));
        source.read(&mut store, &mut entries)?;
        let size = entries.iter().map(|entry| ENTRY + entry.name.len()).sum();
        let mut read = lock(&self.0);
        read.size += size;
        read.charge.set(read.size);
        read.entries.extend(entries);
        read.wake();
        drop(read);
        store.data_mut().kept(size);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut read = lock(&self.0);
        read.done = true;
        read.wake();
    }
}

/// Gives the entries to the component.
struct Giving(Arc<Mutex<Read>>);

impl StreamProducer<Ctx> for Giving {
    type Item = DirectoryEntry;
    type Buffer = VecBuffer<DirectoryEntry>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, Ctx>,
        mut destination: Destination<'a, DirectoryEntry, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut read = lock(&self.0);
        if read.entries.is_empty() {
            if read.done {
                return Poll::Ready(Ok(StreamResult::Dropped));
            }
            if finish {
                return Poll::Ready(Ok(StreamResult::Cancelled));
            }
            read.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // A read of nothing asks whether there is something.
        if destination.remaining(&mut store) != Some(0) {
            let count = read.entries.len().min(AT_ONCE);
            let entries: Vec<_> = read.entries.drain(..count).collect();
            destination.set_buffer(entries.into());
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}
