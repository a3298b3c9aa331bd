//! A blob store in memory.
//!
//! Takes a limit on its size; keeps objects for its own lifetime, and shares them with nothing. Never holds more bytes
//! than the limit: an object counts as soon as its bytes arrive, and for as long as a reader holds it.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Body, Container, Error, ObjectInfo, PIECE, check_name, check_range, clamp, now_ns};

/// The default limit, in bytes.
pub const DEFAULT_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// What an object costs besides its name and its bytes, so that empty objects are bounded too.
const OBJECT_COST: u64 = 128;
/// How many names a listing takes at a time.
const LIST_BATCH: usize = 64;

/// The settings of a store in memory.
#[derive(Clone, Copy, Debug)]
pub struct MemoryConfig {
    /// The most that the names and objects may occupy, in bytes.
    pub max_bytes: u64,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { max_bytes: DEFAULT_MAX_BYTES }
    }
}

/// A container in memory.
pub struct Memory {
    state: Arc<RwLock<State>>,
    budget: Arc<Budget>,
}

#[derive(Default)]
struct State {
    /// Counts the containers so far, so that a writer notices that its container was replaced.
    generation: u64,
    objects: Option<Objects>,
}

struct Objects {
    created_ns: u64,
    by_name: BTreeMap<Arc<str>, Arc<Object>>,
}

struct Object {
    info: ObjectInfo,
    /// Each of [`PIECE`] bytes, except for the last.
    pieces: Vec<Bytes>,
    _space: Space,
}

struct Budget {
    max: u64,
    used: AtomicU64,
}

/// A part of the budget. Dropping it gives the part back.
struct Space {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Space {
    fn grow(&mut self, bytes: u64) -> Result<(), Error> {
        let max = self.budget.max;
        let grown = |used: u64| used.checked_add(bytes).filter(|used| *used <= max);
        if self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_err() {
            return Err(Error::QuotaExceeded(format!("limit reached: the store in memory is full ({max} bytes)")));
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Memory {
    /// An empty container.
    pub fn new(config: MemoryConfig) -> Self {
        let state = State { generation: 0, objects: Some(Objects::new()) };
        let budget = Budget { max: config.max_bytes, used: AtomicU64::new(0) };
        Self { state: Arc::new(RwLock::new(state)), budget: Arc::new(budget) }
    }

    /// A poisoned lock is used on: no code under it leaves the state half-changed.
    fn read<T>(&self, read: impl FnOnce(u64, &Objects) -> Result<T, Error>) -> Result<T, Error> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        read(state.generation, state.objects.as_ref().ok_or(Error::NoSuchContainer)?)
    }

    fn write<T>(&self, write: impl FnOnce(u64, &mut Objects) -> Result<T, Error>) -> Result<T, Error> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let generation = state.generation;
        write(generation, state.objects.as_mut().ok_or(Error::NoSuchContainer)?)
    }

    fn find(&self, name: &str) -> Result<Arc<Object>, Error> {
        check_name(name)?;
        self.read(|_, objects| objects.by_name.get(name).cloned().ok_or(Error::NoSuchObject))
    }

    fn insert(&self, generation: u64, name: &str, object: Object) -> Result<(), Error> {
        let replaced = self.write(|current, objects| {
            if current != generation {
                return Err(Error::NoSuchContainer);
            }
            Ok(objects.by_name.insert(name.into(), Arc::new(object)))
        });
        // The old object is freed after the lock, because it may be large.
        replaced.map(drop)
    }
}

impl Objects {
    fn new() -> Self {
        Self { created_ns: now_ns(), by_name: BTreeMap::new() }
    }
}

/// Keeps a body in pieces of one size, however it arrives.
async fn collect(mut body: Body, space: &mut Space) -> Result<(u64, Vec<Bytes>), Error> {
    let (mut pieces, mut last, mut size) = (Vec::new(), BytesMut::new(), 0);
    while let Some(mut bytes) = body.try_next().await? {
        space.grow(bytes.len() as u64)?;
        size += bytes.len() as u64;
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(PIECE - last.len()));
            last.extend_from_slice(&part);
            if last.len() == PIECE {
                pieces.push(std::mem::take(&mut last).freeze());
            }
        }
    }
    if !last.is_empty() {
        // A copy, because the buffer's capacity may be larger than its contents.
        pieces.push(Bytes::copy_from_slice(&last));
    }
    Ok((size, pieces))
}

fn read(object: Arc<Object>, range: Range<u64>) -> Body {
    let next = move |position: u64| {
        let index = usize::try_from(position / PIECE as u64).ok().filter(|_| position < range.end)?;
        let start = position % PIECE as u64;
        let piece = object.pieces.get(index)?;
        let end = (start + range.end - position).min(piece.len() as u64);
        let part = piece.slice(usize::try_from(start).ok()?..usize::try_from(end).ok()?);
        Some((Ok(part), position + end - start))
    };
    stream::unfold(range.start, move |position| std::future::ready(next(position))).boxed()
}

#[async_trait]
impl Container for Memory {
    async fn info(&self) -> Result<u64, Error> {
        self.read(|_, objects| Ok(objects.created_ns))
    }

    async fn create(&self) -> Result<(), Error> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.objects.is_some() {
            return Err(Error::ContainerExists);
        }
        state.generation += 1;
        state.objects = Some(Objects::new());
        Ok(())
    }

    async fn remove(&self) -> Result<(), Error> {
        let removed = self.state.write().unwrap_or_else(PoisonError::into_inner).objects.take();
        removed.map(drop).ok_or(Error::NoSuchContainer)
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<(ObjectInfo, Body), Error> {
        check_range(range.as_ref())?;
        let object = self.find(name)?;
        let (info, range) = (object.info.clone(), clamp(range, object.info.size));
        Ok((info, read(object, range)))
    }

    async fn put(&self, name: &str, body: Body) -> Result<(), Error> {
        check_name(name)?;
        let generation = self.read(|generation, _| Ok(generation))?;
        let mut space = Space { budget: self.budget.clone(), bytes: 0 };
        space.grow(OBJECT_COST + name.len() as u64)?;
        let (size, pieces) = collect(body, &mut space).await?;
        let info = ObjectInfo { created_ns: now_ns(), size };
        self.insert(generation, name, Object { info, pieces, _space: space })
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<String, Error>>, Error> {
        let generation = self.read(|generation, _| Ok(generation))?;
        let store = Self { state: self.state.clone(), budget: self.budget.clone() };
        let next = move |last: Option<Arc<str>>| {
            let batch = store.read(|current, objects| {
                if current != generation {
                    return Err(Error::NoSuchContainer);
                }
                let after = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let names = objects.by_name.range::<str, _>((after, Bound::Unbounded));
                Ok(names.take(LIST_BATCH).map(|(name, _)| name.clone()).collect::<Vec<_>>())
            });
            std::future::ready(batch.map(|names| names.last().cloned().map(|last| (names, Some(last)))))
        };
        let batches = stream::try_unfold(None, next);
        Ok(batches.map_ok(|names| stream::iter(names).map(|name| Ok(name.to_string()))).try_flatten().boxed())
    }

    async fn delete(&self, names: &[String]) -> Result<(), Error> {
        names.iter().try_for_each(|name| check_name(name))?;
        let deleted = self.write(|_, objects| {
            Ok(names.iter().filter_map(|name| objects.by_name.remove(name.as_str())).collect::<Vec<_>>())
        });
        deleted.map(drop)
    }

    async fn object_info(&self, name: &str) -> Result<ObjectInfo, Error> {
        self.find(name).map(|object| object.info.clone())
    }

    async fn clear(&self) -> Result<(), Error> {
        self.write(|_, objects| Ok(std::mem::take(&mut objects.by_name))).map(drop)
    }

    async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        check_name(to)?;
        let generation = self.read(|generation, _| Ok(generation))?;
        let from = self.find(from)?;
        let mut space = Space { budget: self.budget.clone(), bytes: 0 };
        // The copy shares the pieces, but counts in full: it must not become too large when the original goes.
        space.grow(OBJECT_COST + to.len() as u64 + from.info.size)?;
        let info = ObjectInfo { created_ns: now_ns(), size: from.info.size };
        self.insert(generation, to, Object { info, pieces: from.pieces.clone(), _space: space })
    }

    async fn health(&self) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{StreamExt as _, stream};

    use super::{Memory, MemoryConfig};
    use crate::backend::conformance::{body, conforms, read};
    use crate::backend::{Container as _, Error};

    #[tokio::test]
    async fn memory_conforms() {
        conforms(&Memory::new(MemoryConfig::default())).await;
    }

    #[tokio::test]
    async fn a_full_store_rejects_a_body_while_it_arrives() {
        let store = Memory::new(MemoryConfig { max_bytes: 1024 * 1024 });
        store.put("old", body(b"old")).await.unwrap();
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 4096]))).boxed();
        let full = store.put("old", endless).await.unwrap_err();
        assert!(matches!(full, Error::QuotaExceeded(_)), "{full:?}");
        assert_eq!(read(&store, "old").await.unwrap(), b"old");
        store.put("new", body(&vec![0; 900 * 1024])).await.expect("the bytes of the failed body are free again");
        let (_, reader) = store.get("new", None).await.unwrap();
        store.delete(&["new".to_owned()]).await.unwrap();
        assert!(
            store.put("more", body(&vec![0; 900 * 1024])).await.is_err(),
            "a reader still holds the deleted object"
        );
        drop(reader);
        store.put("more", body(&vec![0; 900 * 1024])).await.unwrap();
    }

    #[tokio::test]
    async fn empty_objects_count() {
        let store = Memory::new(MemoryConfig { max_bytes: 64 * 1024 });
        for index in 0.. {
            if let Err(error) = store.put(&index.to_string(), body(b"")).await {
                assert!(matches!(error, Error::QuotaExceeded(_)) && index < 1000, "{error:?} {index}");
                break;
            }
        }
        store.clear().await.unwrap();
        store.put("again", body(b"")).await.unwrap();
    }
}
