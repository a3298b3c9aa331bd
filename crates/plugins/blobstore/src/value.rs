//! Values of `wasi:blobstore@0.2.0-draft`: what a guest writes, and what it reads.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::task::JoinHandle;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

use crate::backend::{Body, Container, Error};
use crate::pipe::Pipe;

/// The most bytes that are kept of a value that no store reads yet.
const MAX_KEPT: u64 = 64 * 1024 * 1024;

/// A value that a guest writes. One that is dropped without `finish` is given up.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Outgoing {
    pub(crate) pipe: Pipe,
    /// Whether the guest has taken its stream.
    pub(crate) taken: bool,
    writing: Option<JoinHandle<Result<(), Error>>>,
}

impl Outgoing {
    /// A value of a guest with this memory limit.
    pub(crate) fn new(memory: u64) -> Self {
        let limit = usize::try_from(memory.min(MAX_KEPT)).unwrap_or(usize::MAX);
        Self { pipe: Pipe::new(limit), taken: false, writing: None }
    }

    /// Has a store read the value. A future that writes it completely if the guest wrote all of it before; otherwise
    /// [`finish`](Self::finish) waits for the store.
    pub(crate) fn write_to(
        &mut self,
        store: Arc<dyn Container>,
        name: String,
    ) -> Result<Option<impl Future<Output = Result<(), Error>> + use<>>, Error> {
        let used = || Error::InvalidArgument("the value was written to an object before".to_owned());
        let body = self.pipe.body().ok_or_else(used)?;
        if self.pipe.is_written() {
            self.pipe.end(true);
            return Ok(Some(async move { store.put(&name, body).await }));
        }
        self.writing = Some(tokio::spawn(async move { store.put(&name, body).await }));
        Ok(None)
    }

    /// The value is complete: a future that waits for its store, if there is one.
    pub(crate) fn finish(mut self) -> impl Future<Output = Result<(), Error>> + use<> {
        self.pipe.end(true);
        let writing = self.writing.take();
        async move {
            let Some(writing) = writing else { return Ok(()) };
            writing.await.unwrap_or_else(|error| Err(Error::Other(error.to_string())))
        }
    }
}

/// The store then leaves the object as it was.
impl Drop for Outgoing {
    fn drop(&mut self) {
        self.pipe.end(false);
    }
}

/// A value that a guest reads.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Incoming {
    pub(crate) body: Body,
    /// Its size in bytes.
    pub(crate) size: u64,
}

impl Incoming {
    /// All of its bytes, at most as many as the guest's memory holds.
    pub(crate) async fn collect(mut self, most: u64) -> Result<Vec<u8>, Error> {
        let too_large = |size: u64| {
            Error::QuotaExceeded(format!("the object has {size} bytes, more than the memory limit of {most}"))
        };
        if self.size > most {
            return Err(too_large(self.size));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.size).unwrap_or_default());
        while let Some(piece) = self.body.next().await {
            let piece = piece?;
            if (bytes.len() + piece.len()) as u64 > most {
                return Err(too_large((bytes.len() + piece.len()) as u64));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Its bytes as a stream.
    pub(crate) fn stream(self) -> Reader {
        Reader { body: self.body, next: Bytes::new(), end: End::Open }
    }
}

/// A value as a stream of `wasi:io`.
pub(crate) struct Reader {
    body: Body,
    next: Bytes,
    end: End,
}

/// How far a stream is.
enum End {
    Open,
    Complete,
    Failed(Error),
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        while self.next.is_empty() && matches!(self.end, End::Open) {
            match self.body.next().await {
                Some(Ok(piece)) => self.next = piece,
                Some(Err(error)) => self.end = End::Failed(error),
                None => self.end = End::Complete,
            }
        }
    }
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if !self.next.is_empty() {
            let count = size.min(self.next.len());
            return Ok(self.next.split_to(count));
        }
        match std::mem::replace(&mut self.end, End::Complete) {
            End::Open => {
                self.end = End::Open;
                Ok(Bytes::new())
            }
            End::Complete => Err(StreamError::Closed),
            End::Failed(error) => Err(StreamError::LastOperationFailed(wasmtime::format_err!("{error}"))),
        }
    }
}
