//! Reads of objects from a bucket.
//!
//! Takes an object's record; gives the bytes of its chunks. Holds a few chunks, which it asks for ahead, and nothing on
//! the server: a read goes on after a reconnection. Never mixes versions: the chunks of a replaced object are deleted,
//! and the read fails.

use std::ops::Range;
use std::sync::Arc;

use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesOrdered};
use sha2::{Digest as _, Sha256};

use super::api::Api;
use super::meta::{OFFSET, Record, digest};
use crate::backend::{Body, Error, cut};

/// How many chunks are asked for at a time.
const WINDOW: usize = 4;
/// The size of a chunk that a record does not give.
const CHUNK: u64 = 128 * 1024;

type Answer = BoxFuture<'static, Result<Option<StreamMessage>, Error>>;

struct Reader {
    api: Arc<Api>,
    subject: String,
    range: Range<u64>,
    chunk: u64,
    /// The place in the object of the next chunk.
    position: u64,
    /// Whether the next chunk tells its place: it was found by its expected sequence number.
    is_guess: bool,
    /// The sequence number at which the next request looks for a chunk.
    next: u64,
    /// The sequence number of the last chunk that was taken.
    last: u64,
    answers: FuturesOrdered<Answer>,
    /// The digest so far, of a read of the whole object, and the one that it must be.
    digest: Option<(Sha256, String)>,
}

fn replaced() -> Error {
    Error::Unavailable("the object was replaced while it was read".to_owned())
}

/// Reads the bytes in `range` of an object, which is within its size.
pub(super) fn read(api: Arc<Api>, record: &Record, range: Range<u64>) -> Body {
    let subject = api.names.chunks(&record.version);
    let is_whole = range == (0..record.size);
    let digest = record.digest.clone().filter(|digest| is_whole && digest.starts_with("SHA-256="));
    let digest = digest.map(|digest| (Sha256::new(), digest.trim_end_matches('=').to_owned()));
    let (chunk, first) = record.layout().unwrap_or((CHUNK, 1));
    // Chunks follow each other unless several objects are written at once, so that this is the chunk or one before it.
    let skipped = if record.layout().is_some() { range.start / chunk } else { 0 };
    let next = first.saturating_add(skipped);
    let (position, answers) = (0, FuturesOrdered::new());
    let reader = Reader { api, subject, range, chunk, position, is_guess: skipped > 0, next, last: 0, answers, digest };
    cut(stream::try_unfold(reader, Reader::step))
}

impl Reader {
    /// Asks for chunks ahead. Chunk `n` after the last one has a sequence number of at least `last + n`, so a request
    /// for the first chunk from there on gives that chunk or one before it, and a repeated one is recognised.
    fn ask(&mut self) {
        let left = self.range.end.saturating_sub(self.position).div_ceil(self.chunk).max(1);
        let window = if self.is_guess { 1 } else { WINDOW };
        while self.answers.len() < window && (self.answers.len() as u64) < left {
            self.answers.push_back(Box::pin(self.api.clone().next(self.subject.clone(), self.next)));
            self.next = self.next.saturating_add(1);
        }
    }

    /// The bytes of the next chunk that lie in the range.
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        while self.position < self.range.end && !self.range.is_empty() {
            self.ask();
            let Some(message) = self.answers.next().await.transpose()?.flatten() else {
                if !self.is_guess {
                    return Err(replaced());
                }
                self.restart();
                continue;
            };
            if message.sequence <= self.last {
                self.next = self.next.max(self.last.saturating_add(1));
                continue;
            }
            let offset = message.headers.get(OFFSET).and_then(|offset| offset.as_str().parse::<u64>().ok());
            if self.is_guess {
                match offset {
                    Some(offset) if offset <= self.range.start => self.position = offset,
                    // The stream was restored with other sequence numbers.
                    _ => {
                        self.restart();
                        continue;
                    }
                }
                self.is_guess = false;
            }
            self.last = message.sequence;
            self.next = self.next.max(self.last.saturating_add(1));
            if offset.is_some_and(|offset| offset != self.position) {
                return Err(replaced());
            }
            let bytes = self.take(&message.payload)?;
            if !bytes.is_empty() {
                return Ok(Some((bytes, self)));
            }
        }
        Ok(None)
    }

    /// Reads from the first chunk on, because no guess of its place was right.
    fn restart(&mut self) {
        (self.next, self.is_guess, self.position, self.answers) = (1, false, 0, FuturesOrdered::new());
    }

    fn take(&mut self, payload: &Bytes) -> Result<Bytes, Error> {
        let start = self.position;
        let end = start.saturating_add(payload.len() as u64);
        self.position = end;
        if let Some((hash, expected)) = &mut self.digest {
            hash.update(payload);
            if end >= self.range.end && digest(hash.clone()).trim_end_matches('=') != expected {
                return Err(Error::Other("the object is damaged: its digest differs".to_owned()));
            }
        }
        let from = self.range.start.clamp(start, end) - start;
        let to = self.range.end.clamp(start, end) - start;
        let index = |place| usize::try_from(place).unwrap_or(usize::MAX).min(payload.len());
        Ok(payload.slice(index(from)..index(to)))
    }
}
