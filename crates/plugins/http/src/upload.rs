//! Bodies that come from elsewhere: what a client sends to a component, and what a server answers it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::Error;
use wharf::Limit;
use wharf::limits::Guard;

/// A body that fails when nothing of it comes for too long.
pub(crate) struct Timed<B> {
    body: B,
    timeout: Duration,
    /// Runs while the body is waited for. Made when it first is: most are there already.
    waiting: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl<B> Timed<B> {
    pub(crate) fn new(body: B, timeout: Duration) -> Self {
        Self { body, timeout, waiting: None, is_waiting: false }
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Timed<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_ready() {
            this.is_waiting = false;
            return polled;
        }
        let timeout = this.timeout;
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if !std::mem::replace(&mut this.is_waiting, true) {
            waiting.as_mut().reset(Instant::now() + timeout);
        }
        waiting.as_mut().poll(cx).map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that keeps something as long as it is there: what counts the request that it is of.
pub(crate) struct Held<B, T> {
    pub(crate) body: B,
    pub(crate) _under_way: T,
}

impl<B: Body + Unpin, T: Unpin> Body for Held<B, T> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request's body as a component reads it: it fails beyond its limit, and when the client sends nothing for too long.
pub(crate) struct Upload<B> {
    body: Timed<B>,
    left: u64,
    guard: Arc<Guard>,
}

impl<B> Upload<B> {
    pub(crate) fn new(body: B, guard: Arc<Guard>, timeout: Duration) -> Self {
        Self { body: Timed::new(body, timeout), left: guard.limits().request_body, guard }
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Upload<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            if length > self.left {
                self.guard.refuse(Limit::RequestBody);
                let limit = self.guard.limits().request_body;
                return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(limit)))));
            }
            self.left -= length;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
