//! The body of a response, which also drives the component that writes it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use wasmtime_wasi_http::{Error, WasiBody};
use wharf::run::admission::CallPermit;
use wharf::run::meter::Meter;
use wharf::run::shared::{SharedCall, SharedExecution};
use wharf::{Execution, Limit, Termination};

use crate::connection::Exchange;
use crate::frame::{self, Content};
use crate::handler::ProxyHandler;

/// The largest body, in bytes, that the server sends in one piece with its length.
const MAX_BUFFERED: usize = 64 * 1024;
/// How many times the connection's task polls a component whose body is complete, before the component gets a task of
/// its own.
const MAX_FINAL_POLLS: usize = 4;
/// How long a component may take to write a body that the server discards, such as that of a response to HEAD.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest piece of a body, in bytes, that HTTP/2 receives at once: hyper buffers what does not fit into the
/// client's window.
const MAX_DATA_FRAME: usize = 16 * 1024;

/// The body of a response.
pub(crate) struct ResponseBody {
    data: Data,
    /// The part of a frame that HTTP/2 has not received yet.
    remainder: Bytes,
    exchange: Option<Exchange>,
    /// Keeps the call counted while hyper holds bytes for which the client's window has no room. hyper drops the body
    /// once it has written them.
    _call: Option<Call>,
}

/// Counts a call against `concurrency` until the component is done and hyper has written the response: a response that
/// waits for its client takes memory, too.
type Call = Arc<CallPermit>;

enum Data {
    Empty,
    /// The complete body.
    Full(Option<Bytes>),
    /// A body that a component is still writing.
    Streaming(Box<StreamingBody>),
}

impl From<Data> for ResponseBody {
    fn from(data: Data) -> Self {
        Self { data, remainder: Bytes::new(), exchange: None, _call: None }
    }
}

impl ResponseBody {
    pub(crate) fn empty() -> Self {
        Data::Empty.into()
    }

    pub(crate) fn text(text: &'static str) -> Self {
        Data::Full(Some(Bytes::from_static(text.as_bytes()))).into()
    }

    pub(crate) fn streaming(streaming: StreamingBody) -> Self {
        Data::Streaming(Box::new(streaming)).into()
    }

    /// Ties an exchange to this body: the exchange ends when the body is dropped.
    pub(crate) fn with_exchange(self, exchange: Exchange) -> Self {
        Self { exchange: Some(exchange), ..self }
    }
}

/// The state of a component at the time when it returns a response.
pub(crate) enum HandlerState {
    /// It is still running.
    Running(Execution<()>, Arc<Meter>),
    /// It is still running, on an instance that may serve other calls. `SharedExecution` is present if this call drives the
    /// instance.
    Shared(Option<SharedExecution>, SharedCall),
    /// It is done.
    Done,
    /// It trapped.
    Failed,
}

/// The result of [`StreamingBody::buffer`].
pub(crate) enum Buffered {
    /// The complete body.
    Complete(ResponseBody),
    /// The component is still writing the body, or the body is large.
    Incomplete,
    /// The component failed before the end of the body, or wrote another length than its headers declare.
    Failed,
}

/// A body that a component is still writing, together with the component.
///
/// Dropping it before the end ends the component, because the client has disconnected. Dropping it after the end leaves
/// the component running until its remaining work is done.
pub(crate) struct StreamingBody {
    handler: Arc<ProxyHandler>,
    body: WasiBody,
    /// The bytes that [`buffer`](Self::buffer) read before it found that the body is not complete.
    buffered: Option<Bytes>,
    /// Present until [`spawn_handler`](Self::spawn_handler) moves it into a task.
    drive: Option<Execution<()>>,
    meter: Option<Arc<Meter>>,
    execution: Option<SharedExecution>,
    shared: Option<SharedCall>,
    /// The component in a task of its own, so that a client that reads slowly does not hold up its other work.
    task: Option<JoinHandle<Result<(), Termination>>>,
    /// The component trapped or broke a limit, so the body is incomplete.
    failed: bool,
    /// How many bytes the component may still write under `response-body`.
    limit_left: u64,
    /// How many bytes must still follow, if the headers declare a length.
    expected: Option<u64>,
    /// The server has read the complete body.
    delivered: bool,
    call: Option<Call>,
}

impl StreamingBody {
    pub(crate) fn new(
        handler: Arc<ProxyHandler>,
        body: WasiBody,
        state: HandlerState,
        content: Content,
        call: Call,
    ) -> Self {
        let failed = matches!(state, HandlerState::Failed);
        let (drive, meter, execution, shared) = match state {
            HandlerState::Running(drive, meter) => (Some(drive), Some(meter), None, None),
            HandlerState::Shared(execution, shared) => (None, None, execution, Some(shared)),
            HandlerState::Done | HandlerState::Failed => (None, None, None, None),
        };
        let limit_left = handler.tracker().limits().response_body;
        let expected = match content {
            Content::Sized(length) => Some(length),
            // hyper declares the length of a body whose size hint is exact.
            Content::Unsized => body.size_hint().exact(),
            Content::None => None,
        };
        let (buffered, task, delivered, call) = (None, None, false, Some(call));
        Self {
            handler,
            body,
            buffered,
            drive,
            meter,
            execution,
            shared,
            task,
            failed,
            limit_left,
            expected,
            delivered,
            call,
        }
    }

    /// Polls the component, if this body drives it.
    fn poll_drive(&mut self, cx: &mut Context<'_>) {
        let polled = match (&mut self.drive, &mut self.execution) {
            (Some(drive), _) => drive.poll_untimed(cx),
            (None, Some(execution)) => execution.poll_untimed(cx),
            (None, None) => return,
        };
        if let Poll::Ready(done) = polled {
            (self.drive, self.execution) = (None, None);
            // The response has begun, so the client sees a trap as a body that ends early.
            if let Err(ended) = done {
                self.failed = true;
                self.handler.log(&ended.to_string());
            }
        }
    }

    /// Moves the component into a task of its own.
    pub(crate) fn spawn_handler(mut self) -> Self {
        // A dropped `SharedExecution` leaves a shared instance running in a task of its own.
        self.execution = None;
        let drive = self.drive.take();
        self.task = drive.map(|drive| tokio::spawn(run_to_completion(self.handler.clone(), drive, self.call.clone())));
        self
    }

    /// Reads the complete body if the component has written all of it and it is small. Never waits.
    pub(crate) fn buffer(&mut self, cx: &mut Context<'_>) -> Buffered {
        let mut whole: Option<Bytes> = None;
        let stopped = loop {
            self.poll_drive(cx);
            if self.failed {
                return Buffered::Failed;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(None) => return self.complete(cx, whole),
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                    let data = frame.into_data().unwrap_or_default();
                    whole = Some(match whole {
                        None => data,
                        Some(before) => {
                            let mut joined = BytesMut::from(before.as_ref());
                            joined.extend_from_slice(&data);
                            joined.freeze()
                        }
                    });
                    let length = whole.as_ref().map_or(0, Bytes::len);
                    if length as u64 > self.limit_left {
                        self.exceed_limit();
                        return Buffered::Failed;
                    }
                    if self.expected.is_some_and(|expected| length as u64 > expected) {
                        self.length_mismatch();
                        return Buffered::Failed;
                    }
                    if length > MAX_BUFFERED {
                        break None;
                    }
                }
                // A frame that is not data is one of trailers.
                Poll::Ready(Some(Ok(frame))) => break Some(Ok(frame)),
                Poll::Ready(Some(Err(error))) => {
                    self.handler.log(&format!("the response body ended with an error: {error}"));
                    self.fail();
                    return Buffered::Failed;
                }
                Poll::Pending => break None,
            }
        };
        self.buffered = whole;
        if let Some(frame) = stopped {
            self.body = prepend(frame, std::mem::take(&mut self.body));
        }
        Buffered::Incomplete
    }

    /// Checks the length of a complete body.
    fn complete(&mut self, cx: &mut Context<'_>, whole: Option<Bytes>) -> Buffered {
        let length = whole.as_ref().map_or(0, Bytes::len) as u64;
        if self.expected.is_some_and(|expected| expected != length) {
            self.length_mismatch();
            return Buffered::Failed;
        }
        self.mark_delivered();
        // Most components return without waiting once their body is read, and then need no task.
        for _ in 0..MAX_FINAL_POLLS {
            self.poll_drive(cx);
            if self.drive.is_none() && self.execution.is_none() {
                break;
            }
        }
        let data = whole.map_or(Data::Empty, |bytes| Data::Full(Some(bytes)));
        Buffered::Complete(ResponseBody { _call: self.call.clone(), ..data.into() })
    }

    /// Records that the server has read the complete body. From here on the limit `after-response` applies to the
    /// component.
    pub(crate) fn mark_delivered(&mut self) {
        self.delivered = true;
        if let Some(meter) = self.meter.take() {
            meter.answered();
        }
        if let Some(shared) = self.shared.take() {
            shared.answered();
        }
    }

    /// Ends a component whose body exceeds `response-body`.
    fn exceed_limit(&mut self) {
        self.handler.tracker().refuse(Limit::ResponseBody);
        self.fail();
    }

    /// Ends a component whose body is longer or shorter than its `content-length`.
    fn length_mismatch(&mut self) {
        self.handler.log("the length of the response body differs from its `content-length`");
        self.fail();
    }

    fn fail(&mut self) {
        (self.drive, self.execution) = (None, None);
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.failed = true;
    }

    /// Reads and discards the body, for a limited time, so that a component that writes one can return.
    pub(crate) async fn discard(mut self) {
        let timeout = DISCARD_TIMEOUT.max(self.handler.tracker().limits().after_response);
        let read = std::future::poll_fn(|cx| {
            loop {
                match Pin::new(&mut self).poll_frame(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        tokio::time::timeout(timeout, read).await.ok();
    }

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(task) = &mut self.task
            && let Poll::Ready(done) = Pin::new(task).poll(cx)
        {
            self.task = None;
            self.failed = !matches!(done, Ok(Ok(())));
        }
        let polled = match self.buffered.take() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => Pin::new(&mut self.body).poll_frame(cx),
        };
        match &polled {
            // The client must be able to tell a body that failed from one that is complete.
            Poll::Ready(None) | Poll::Pending if self.failed => {
                return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
            }
            Poll::Ready(None) if self.expected.is_none_or(|expected| expected == 0) => self.mark_delivered(),
            Poll::Ready(None) => {
                self.length_mismatch();
                return Poll::Ready(Some(Err(Error::HttpResponseBodySize(None))));
            }
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map(|data| data.len() as u64);
                if length.is_some_and(|length| length > self.limit_left) {
                    self.exceed_limit();
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(None))));
                }
                let expected = match (self.expected, length) {
                    (Some(expected), Some(length)) => expected.checked_sub(length),
                    // Trailers follow the last byte.
                    (Some(expected), None) => (expected == 0).then_some(0),
                    (None, _) => None,
                };
                if self.expected.is_some() && expected.is_none() {
                    self.length_mismatch();
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(None))));
                }
                self.limit_left -= length.unwrap_or(0);
                self.expected = expected;
                // hyper stops polling after the declared length, or after trailers.
                if length.is_none() || expected == Some(0) {
                    self.mark_delivered();
                }
            }
            _ => {}
        }
        polled.map(|frame| frame.map(|frame| frame.and_then(|frame| self.check_trailers(frame))))
    }

    /// Removes forbidden fields from trailers, and checks their size.
    fn check_trailers(&self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Error> {
        let mut trailers = match frame.into_trailers() {
            Ok(trailers) => trailers,
            Err(frame) => return Ok(frame),
        };
        frame::clean_trailers(&mut trailers);
        let tracker = self.handler.tracker();
        if frame::header_list_size(&trailers) > tracker.limits().headers {
            tracker.refuse(Limit::Headers);
            return Err(Error::HttpResponseTrailerSectionSize(None));
        }
        Ok(Frame::trailers(trailers))
    }
}

impl Drop for StreamingBody {
    fn drop(&mut self) {
        if !self.delivered {
            // The client has disconnected.
            if let Some(task) = &self.task {
                task.abort();
            }
            return;
        }
        // The client has its response. The workload still waits for the component when it stops.
        if let (Some(drive), Ok(runtime)) = (self.drive.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(run_to_completion(self.handler.clone(), drive, self.call.take()));
        }
    }
}

/// Drives a component until it returns or is ended.
async fn run_to_completion(
    handler: Arc<ProxyHandler>,
    drive: Execution<()>,
    call: Option<Call>,
) -> Result<(), Termination> {
    let done = drive.await;
    if let Err(ended) = &done {
        handler.log(&ended.to_string());
    }
    drop(call);
    done
}

/// A body that yields a frame that was already read, and then the rest of a body.
fn prepend(frame: Result<Frame<Bytes>, Error>, rest: WasiBody) -> WasiBody {
    let mut first = Some(frame);
    let mut rest = rest;
    let stream = futures_util::stream::poll_fn(move |cx| match first.take() {
        Some(frame) => Poll::Ready(Some(frame)),
        None => Pin::new(&mut rest).poll_frame(cx),
    });
    WasiBody::new(http_body_util::StreamBody::new(stream))
}

impl ResponseBody {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.data {
            Data::Empty => Poll::Ready(None),
            Data::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Data::Streaming(streaming) => Pin::new(streaming.as_mut()).poll_frame(cx),
        }
    }

    /// The next data of at most [`MAX_DATA_FRAME`] bytes, so that hyper buffers little for a client that does not read.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut data = if self.remainder.is_empty() {
            match self.poll_data(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return other,
            }
        } else {
            std::mem::take(&mut self.remainder)
        };
        if data.len() > MAX_DATA_FRAME {
            self.remainder = data.split_off(MAX_DATA_FRAME);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.exchange.as_ref().and_then(Exchange::stream).is_none() {
            return this.poll_data(cx);
        }
        let polled = this.poll_chunk(cx);
        if let Some(stream) = this.exchange.as_ref().and_then(Exchange::stream) {
            match &polled {
                Poll::Ready(_) => stream.wait_for_client(),
                Poll::Pending => stream.wait_for_component(),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.remainder.is_empty() && matches!(self.data, Data::Empty | Data::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.remainder.len() as u64;
        match &self.data {
            Data::Empty | Data::Full(None) => SizeHint::with_exact(rest),
            Data::Full(Some(bytes)) => SizeHint::with_exact(rest + bytes.len() as u64),
            Data::Streaming(streaming) => {
                streaming.expected.map_or_else(SizeHint::default, |expected| SizeHint::with_exact(rest + expected))
            }
        }
    }
}
