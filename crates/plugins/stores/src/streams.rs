//! Streams between guests and stores: bytes and items out of a store into a guest's stream, and bytes out of a guest's.
//!
//! Holds a few pieces at a time, whatever the length of the stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::{BoxStream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;
use wharf::wasmtime::component::{Destination, Source, StreamConsumer, StreamProducer, StreamResult, VecBuffer};
use wharf::wasmtime::{self, StoreContextMut};

/// The largest piece that is taken from a guest's stream at once, in bytes.
const PIECE: usize = 64 * 1024;
/// The pieces that wait for a store.
const WAITING: usize = 4;

/// What the producer of a stream does with the error that ends it; with `None` when all was produced.
type OnEnd<E> = Box<dyn FnOnce(Option<E>) + Send>;

/// Produces a guest's `stream<u8>` from a stream of pieces. An error ends the stream.
pub struct Pieces<E> {
    body: BoxStream<'static, Result<Bytes, E>>,
    /// A piece that came when the guest only asked whether one was there.
    next: Option<Bytes>,
    on_end: Option<OnEnd<E>>,
}

impl<E> Pieces<E> {
    /// A producer of these pieces, which calls `on_end` when they have all been produced, or have failed.
    pub fn new(body: BoxStream<'static, Result<Bytes, E>>, on_end: impl FnOnce(Option<E>) + Send + 'static) -> Self {
        Self { body, next: None, on_end: Some(Box::new(on_end)) }
    }

    fn end(&mut self, error: Option<E>) -> StreamResult {
        if let Some(on_end) = self.on_end.take() {
            on_end(error);
        }
        StreamResult::Dropped
    }
}

impl<E: Send + 'static, D> StreamProducer<D> for Pieces<E> {
    type Item = u8;
    type Buffer = Bytes;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, u8, Bytes>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let piece = match self.next.take() {
            Some(piece) => piece,
            None => loop {
                match self.body.poll_next_unpin(cx) {
                    Poll::Ready(Some(Ok(piece))) if piece.is_empty() => {}
                    Poll::Ready(Some(Ok(piece))) => break piece,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Ok(self.end(Some(error)))),
                    Poll::Ready(None) => return Poll::Ready(Ok(self.end(None))),
                    Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                    Poll::Pending => return Poll::Pending,
                }
            },
        };
        // A read of no bytes asks whether there are any.
        if destination.remaining(&mut store) == Some(0) {
            self.next = Some(piece);
        } else {
            destination.set_buffer(piece);
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// Produces a guest's stream of items. An error ends the stream.
pub struct Items<T, E> {
    items: BoxStream<'static, Result<T, E>>,
    ready: VecDeque<T>,
    on_end: Option<OnEnd<E>>,
}

/// The items that are produced at once.
const BATCH: usize = 64;

impl<T, E> Items<T, E> {
    /// A producer of these items, which calls `on_end` when they have all been produced, or have failed.
    pub fn new(
        items: impl Stream<Item = Result<T, E>> + Send + 'static,
        on_end: impl FnOnce(Option<E>) + Send + 'static,
    ) -> Self {
        Self { items: items.boxed(), ready: VecDeque::new(), on_end: Some(Box::new(on_end)) }
    }
}

impl<T: Unpin + Send + Sync + 'static, E: Unpin + Send + 'static, D> StreamProducer<D> for Items<T, E> {
    type Item = T;
    type Buffer = VecBuffer<T>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, T, VecBuffer<T>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let this = &mut *self;
        let mut ended = None;
        while this.ready.len() < BATCH && this.on_end.is_some() {
            match this.items.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(item))) => this.ready.push_back(item),
                Poll::Ready(Some(Err(error))) => ended = Some(Some(error)),
                Poll::Ready(None) => ended = Some(None),
                Poll::Pending => break,
            }
            if let Some(error) = ended.take()
                && let Some(on_end) = this.on_end.take()
            {
                on_end(error);
            }
        }
        if this.ready.is_empty() {
            return match (this.on_end.is_none(), finish) {
                (true, _) => Poll::Ready(Ok(StreamResult::Dropped)),
                (false, true) => Poll::Ready(Ok(StreamResult::Cancelled)),
                (false, false) => Poll::Pending,
            };
        }
        if destination.remaining(&mut store) != Some(0) {
            destination.set_buffer(Vec::from(std::mem::take(&mut this.ready)).into());
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// Consumes a guest's `stream<u8>`: the pieces come out of a channel, which ends when the guest drops its end.
///
/// The channel also ends when the guest's instance is dropped, so its reader must be a future of a call of that instance, which is
/// dropped as well, and must not take the end of the channel for the end of the body.
pub struct Taken(PollSender<Bytes>);

impl Taken {
    /// A consumer, and the pieces that it takes.
    pub fn new() -> (Self, mpsc::Receiver<Bytes>) {
        Self::with_room(WAITING)
    }

    /// The same with room for this many pieces of up to 64 KiB that wait.
    ///
    /// # Panics
    /// When there is room for none.
    pub fn with_room(pieces: usize) -> (Self, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(pieces);
        (Self(PollSender::new(sender)), receiver)
    }
}

impl<D> StreamConsumer<D> for Taken {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        match self.0.poll_reserve(cx) {
            Poll::Ready(Ok(())) => {}
            // The store takes no more.
            Poll::Ready(Err(_)) => return Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        }
        let mut source = source.as_direct(store);
        let bytes = source.remaining();
        let count = bytes.len().min(PIECE);
        if count > 0 {
            let piece = Bytes::copy_from_slice(&bytes[..count]);
            source.mark_read(count);
            if self.0.send_item(piece).is_err() {
                return Poll::Ready(Ok(StreamResult::Dropped));
            }
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}
