//! Bodies that the host receives: those of requests from clients, and those of responses to a component's requests.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};
use wharf::Limit;
use wharf::limits::LimitTracker;

/// A body that fails with `connection-read-timeout` when no frame arrives within a time-out.
pub(crate) struct TimeoutBody<B> {
    body: B,
    timeout: Duration,
    /// Runs while a read waits. Created at the first wait, because most bodies have arrived already.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl<B> TimeoutBody<B> {
    pub(crate) fn new(body: B, timeout: Duration) -> Self {
        Self { body, timeout, timer: None, is_waiting: false }
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for TimeoutBody<B> {
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
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if !std::mem::replace(&mut this.is_waiting, true) {
            timer.as_mut().reset(Instant::now() + timeout);
        }
        timer.as_mut().poll(cx).map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that holds a guard until it is dropped, such as the count of requests in flight.
pub(crate) struct GuardedBody<B, T> {
    pub(crate) body: B,
    pub(crate) _guard: T,
}

impl<B: Body + Unpin, T: Unpin> Body for GuardedBody<B, T> {
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

/// A response body that is read to its end when it is dropped before, as long as a limit.
pub(crate) struct DrainedBody {
    /// `None` once it has ended.
    body: Option<WasiBody>,
    limit: Duration,
}

impl DrainedBody {
    pub(crate) fn new(body: WasiBody, limit: Duration) -> Self {
        Self { body: Some(body), limit }
    }
}

impl Body for DrainedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for DrainedBody {
    fn drop(&mut self) {
        let (Some(mut body), Ok(runtime)) = (self.body.take(), tokio::runtime::Handle::try_current()) else { return };
        if body.is_end_stream() {
            return;
        }
        let limit = self.limit;
        runtime.spawn(async move {
            let drain = async { while matches!(body.frame().await, Some(Ok(_))) {} };
            tokio::time::timeout(limit, drain).await.ok();
        });
    }
}

/// A client's request body. It fails when it exceeds `request-body`, and when the client sends nothing for too long.
pub(crate) struct RequestBody<B> {
    body: TimeoutBody<B>,
    /// How many bytes may still arrive under `request-body`.
    remaining: u64,
    tracker: Arc<LimitTracker>,
}

impl<B> RequestBody<B> {
    pub(crate) fn new(body: B, tracker: Arc<LimitTracker>, timeout: Duration) -> Self {
        Self { body: TimeoutBody::new(body, timeout), remaining: tracker.limits().request_body, tracker }
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            if length > self.remaining {
                self.tracker.refuse(Limit::RequestBody);
                let limit = self.tracker.limits().request_body;
                return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(limit)))));
            }
            self.remaining -= length;
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
