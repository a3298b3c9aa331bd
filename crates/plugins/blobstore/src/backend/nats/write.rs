//! Writes of objects to a bucket.
//!
//! Takes a body; gives an object once its record is published. Holds a bounded number of chunks that the server has not
//! acknowledged. Chunks of a write that fails or is dropped are deleted, at the next write if the server is away.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use sha2::Digest as _;
use tokio::runtime::Handle;

use super::api::{Ack, Api, Published};
use super::meta::{OFFSET, Record, Written};
use crate::backend::parts::Parts;
use crate::backend::{Body, Error};

/// How many bytes a chunk has. Other clients choose the same.
const CHUNK: usize = 128 * 1024;
/// What a message needs besides its payload, in bytes.
const HEADERS: usize = 1024;
/// How many chunks may be on their way.
const WINDOW: usize = 8;
/// How often a record is published anew because another writer was faster.
const ATTEMPTS: usize = 32;
/// The most versions whose chunks wait for their deletion.
const MAX_LEFTOVERS: usize = 1024;

/// Chunks that could not be deleted when they should have been.
#[derive(Default)]
pub(super) struct Leftovers(Mutex<Vec<Leftover>>);

struct Leftover {
    version: String,
    /// The object whose record may name this version, because the answer to its publication was lost.
    published_as: Option<String>,
}

impl Leftovers {
    fn push(&self, leftover: Leftover) {
        let mut leftovers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if leftovers.len() < MAX_LEFTOVERS {
            leftovers.push(leftover);
        } else {
            tracing::warn!("chunks of unfinished writes stay in a bucket of NATS");
        }
    }

    fn take(&self) -> Vec<Leftover> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Deletes the chunks of a version, now or later.
    pub(super) async fn delete(&self, api: &Api, version: String) {
        self.delete_unless_published(api, Leftover { version, published_as: None }).await;
    }

    async fn delete_unless_published(&self, api: &Api, leftover: Leftover) {
        if let Some(name) = &leftover.published_as {
            match api.last(name).await {
                Ok(Some(last)) if last.record.version == leftover.version => return,
                Ok(_) => (),
                Err(_) => return self.push(leftover),
            }
        }
        match api.purge(&api.names.chunks(&leftover.version)).await {
            Ok(()) | Err(Error::NoSuchContainer) => (),
            Err(_) => self.push(leftover),
        }
    }

    /// Tries the deletions again, in the background.
    fn retry(self: &Arc<Self>, api: &Arc<Api>) {
        let waiting = self.take();
        if !waiting.is_empty() {
            let (leftovers, api) = (self.clone(), api.clone());
            tokio::spawn(async move {
                for leftover in waiting {
                    leftovers.delete_unless_published(&api, leftover).await;
                }
            });
        }
    }
}

/// The chunks of a write in progress. Dropping it deletes them.
struct Chunks {
    api: Arc<Api>,
    leftovers: Arc<Leftovers>,
    version: String,
    written: Written,
    acks: VecDeque<Ack>,
    last: u64,
    /// Whether the chunks belong to an object, or may.
    is_kept: bool,
}

impl Chunks {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Error> {
        if self.acks.len() >= WINDOW {
            self.settle().await?;
        }
        self.written.hash.update(&chunk);
        let offset = self.written.size.to_string();
        self.written.size += chunk.len() as u64;
        self.written.chunks += 1;
        let message = PublishMessage::build().payload(chunk).header(OFFSET, offset.as_str());
        let ack = self.api.send(self.api.names.chunks(&self.version), message).await?;
        self.acks.push_back(ack);
        Ok(())
    }

    /// Waits for the oldest acknowledgement.
    async fn settle(&mut self) -> Result<(), Error> {
        let Some(ack) = self.acks.pop_front() else { return Ok(()) };
        let sequence = self.api.acknowledged(ack).await?;
        if sequence <= self.last {
            // The stream was created anew: the chunks before this one are gone.
            return Err(Error::NoSuchContainer);
        }
        self.last = sequence;
        self.written.first.get_or_insert(sequence);
        Ok(())
    }

    /// Publishes the record. Returns the version that it replaced.
    async fn publish(&mut self, name: &str, container: &str, chunk: u64) -> Result<Option<String>, Error> {
        let record = Record::new(&self.api.names, name, &self.version, &self.written, chunk);
        for _ in 0..ATTEMPTS {
            let (last, info) = futures_util::future::join(self.api.last(name), self.api.info()).await;
            if info?.created.to_string() != container {
                return Err(Error::NoSuchContainer);
            }
            let last = last?;
            let published = self.api.publish(&record, last.as_ref().map_or(0, |last| last.sequence)).await;
            match published {
                Ok(Published::Conflict) => (),
                Ok(Published::At(sequence)) if sequence > self.last => {
                    self.is_kept = true;
                    return Ok(last.map(|last| last.record.version).filter(|version| !version.is_empty()));
                }
                Ok(Published::At(sequence)) => {
                    // The container was removed and created at this very moment.
                    self.api.delete(sequence).await?;
                    return Err(Error::NoSuchContainer);
                }
                Err(error) => {
                    // The record may have been stored, so the chunks may be an object's.
                    self.is_kept = true;
                    let (version, published_as) = (self.version.clone(), Some(name.to_owned()));
                    self.leftovers.push(Leftover { version, published_as });
                    return Err(error);
                }
            }
        }
        Err(Error::Unavailable("too many writers replace the object at once".to_owned()))
    }

    fn delete(&mut self) -> impl Future<Output = ()> + Send + 'static {
        let (api, leftovers, version) = (self.api.clone(), self.leftovers.clone(), self.version.clone());
        let acks = std::mem::take(&mut self.acks);
        self.is_kept = true;
        async move {
            // A chunk that the server stores after the deletion would stay.
            for ack in acks {
                if api.run(ack).await.is_err() {
                    break;
                }
            }
            leftovers.delete(&api, version).await;
        }
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        if self.written.chunks > 0
            && !self.is_kept
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(self.delete());
        }
    }
}

/// Writes an object.
pub(super) async fn put(api: &Arc<Api>, leftovers: &Arc<Leftovers>, name: &str, body: Body) -> Result<(), Error> {
    leftovers.retry(api);
    let container = api.info().await?.created.to_string();
    // No other writer and no other process makes the same inbox.
    let version = api.client.new_inbox().replace(['.', '_'], "");
    let (api, leftovers) = (api.clone(), leftovers.clone());
    let (written, acks) = (Written::default(), VecDeque::new());
    let mut chunks = Chunks { api: api.clone(), leftovers, version, written, acks, last: 0, is_kept: false };
    let size = CHUNK.min(api.client.max_payload().saturating_sub(HEADERS)).max(1);
    let result = write(&mut chunks, Parts::new(body, size), size, name, &container).await;
    if let Ok(replaced) = result {
        if let Some(replaced) = replaced {
            chunks.leftovers.delete(&api, replaced).await;
        }
        return Ok(());
    }
    if chunks.written.chunks > 0 && !chunks.is_kept {
        chunks.delete().await;
    }
    result.map(drop)
}

async fn write(
    chunks: &mut Chunks,
    mut parts: Parts,
    size: usize,
    name: &str,
    container: &str,
) -> Result<Option<String>, Error> {
    loop {
        let chunk = parts.next().await?;
        let is_last = chunk.len() < size;
        if !chunk.is_empty() {
            chunks.send(chunk).await?;
        }
        if is_last {
            break;
        }
    }
    while !chunks.acks.is_empty() {
        chunks.settle().await?;
    }
    chunks.publish(name, container, size as u64).await
}
