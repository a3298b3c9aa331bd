//! A response's body, which drives the component that writes it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot::Sender;
use tokio::task::JoinHandle;
use wasmtime_wasi_http::{Error, WasiBody};
use wharf::meter::Meter;
use wharf::pool::CallGuard;
use wharf::pool::shared::{Lead, Submitted};
use wharf::{Ended, Limit};

use crate::connection::Exchange;
use crate::frame::{self, Content};
use crate::guest::{Drive, Guest};

/// How large a body may be, in bytes, to be sent in one piece when all of it is there already.
const MAX_WHOLE: usize = 64 * 1024;
/// How often a component that has answered is let go on before it gets a task of its own.
const TURNS: usize = 4;
/// How long a component may take to write a body that nobody reads, that of an answer to HEAD.
const UNREAD: Duration = Duration::from_secs(30);

/// How much of a body is handed to HTTP/2 at a time, which keeps what does not fit into the client's window.
const MAX_FRAME: usize = 16 * 1024;

/// The body of a response.
pub(crate) struct ResponseBody {
    data: Data,
    /// What HTTP/2 was not handed yet of a frame.
    rest: Bytes,
    exchange: Option<Exchange>,
    /// HTTP/2 takes bytes before the client has room for them, and drops the body when they are out.
    _call: Option<Call>,
}

/// A call's place, which is free again when the component is done and its answer was handed over: what waits for a client
/// to read it is memory, too.
type Call = Arc<CallGuard>;

enum Data {
    Empty,
    /// All of it.
    Whole(Option<Bytes>),
    /// What a component is still writing.
    Streaming(Box<Streaming>),
}

impl From<Data> for ResponseBody {
    fn from(data: Data) -> Self {
        Self { data, rest: Bytes::new(), exchange: None, _call: None }
    }
}

impl ResponseBody {
    pub(crate) fn empty() -> Self {
        Data::Empty.into()
    }

    pub(crate) fn text(text: &'static str) -> Self {
        Data::Whole(Some(Bytes::from_static(text.as_bytes()))).into()
    }

    pub(crate) fn streaming(streaming: Streaming) -> Self {
        Data::Streaming(Box::new(streaming)).into()
    }

    /// The body as the answer to a request, which ends with it.
    pub(crate) fn answering(self, exchange: Exchange) -> Self {
        Self { exchange: Some(exchange), ..self }
    }
}

/// How far the component is when its response begins.
pub(crate) enum Driving {
    /// It goes on.
    On(Drive, Arc<Meter>),
    /// It goes on, and may serve others. Here, if it is this call that drives it.
    Shared(Option<Lead>, Submitted),
    /// It is done.
    Done,
    /// It trapped.
    Failed,
}

/// What [`Streaming::take_whole`] finds.
pub(crate) enum Whole {
    /// All of it.
    Yes(ResponseBody),
    /// It is still being written, or large.
    NotYet,
    /// The component failed before it was whole, or wrote another length than its headers declare.
    Never,
}

/// A body that a component is still writing, and the component. Dropped before all of it was read, it ends the component:
/// the client is gone. Dropped after that, it lets the component finish what it has to do still.
pub(crate) struct Streaming {
    guest: Arc<Guest>,
    body: WasiBody,
    /// What was read of the body while it was tried whether all of it is there.
    ahead: Option<Bytes>,
    /// Driven here only while it is tried whether all of the body is there.
    drive: Option<Drive>,
    meter: Option<Arc<Meter>>,
    lead: Option<Lead>,
    submitted: Option<Submitted>,
    /// The component, in a task of its own: a client that reads slowly must not hold up what else it does.
    task: Option<JoinHandle<Result<(), Ended>>>,
    /// The component trapped: whatever it wrote is not all that it had to say.
    failed: bool,
    /// How many bytes the component may still write.
    left: u64,
    /// How many bytes the component has yet to write, if its headers declare a length: neither fewer nor more may follow.
    expected: Option<u64>,
    /// The client has all that there is.
    delivered: bool,
    call: Option<Call>,
}

impl Streaming {
    pub(crate) fn new(guest: Arc<Guest>, body: WasiBody, driving: Driving, content: Content, call: Call) -> Self {
        let failed = matches!(driving, Driving::Failed);
        let (drive, meter, lead, submitted) = match driving {
            Driving::On(drive, meter) => (Some(drive), Some(meter), None, None),
            Driving::Shared(lead, submitted) => (None, None, lead, Some(submitted)),
            Driving::Done | Driving::Failed => (None, None, None, None),
        };
        let left = guest.guard().limits().response_body;
        let expected = match content {
            Content::Sized(length) => Some(length),
            // The server declares the length of a body that knows it.
            Content::Unsized => body.size_hint().exact(),
            Content::None => None,
        };
        let (ahead, task, delivered, call) = (None, None, false, Some(call));
        Self { guest, body, ahead, drive, meter, lead, submitted, task, failed, left, expected, delivered, call }
    }

    /// Lets the component go on, where it is driven here.
    fn poll_drive(&mut self, cx: &mut Context<'_>) {
        let polled = match (&mut self.drive, &mut self.lead) {
            (Some(drive), _) => drive.poll_now(cx),
            (None, Some(lead)) => lead.poll_now(cx),
            (None, None) => return,
        };
        if let Poll::Ready(done) = polled {
            (self.drive, self.lead) = (None, None);
            // A trap now is logged; the body shows it by ending early.
            if let Err(ended) = done {
                self.failed = true;
                self.guest.log(&ended.to_string());
            }
        }
    }

    /// Puts the component into a task of its own.
    pub(crate) fn on_its_own(mut self) -> Self {
        // It goes on by itself, with whoever shares it.
        self.lead = None;
        let drive = self.drive.take();
        self.task = drive.map(|drive| tokio::spawn(finish(self.guest.clone(), drive, self.call.clone())));
        self
    }

    /// The whole body, if all of it is there and it is small.
    pub(crate) fn take_whole(&mut self, cx: &mut Context<'_>) -> Whole {
        let mut whole: Option<Bytes> = None;
        let stopped = loop {
            self.poll_drive(cx);
            if self.failed {
                return Whole::Never;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(None) => return self.whole(cx, whole),
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
                    if length as u64 > self.left {
                        self.too_much();
                        return Whole::Never;
                    }
                    if self.expected.is_some_and(|expected| length as u64 > expected) {
                        self.wrong_length();
                        return Whole::Never;
                    }
                    if length > MAX_WHOLE {
                        break None;
                    }
                }
                // Trailers.
                Poll::Ready(Some(Ok(frame))) => break Some(Ok(frame)),
                Poll::Ready(Some(Err(error))) => {
                    self.guest.log(&format!("it did not write its body to the end: {error}"));
                    self.fail();
                    return Whole::Never;
                }
                Poll::Pending => break None,
            }
        };
        self.ahead = whole;
        if let Some(frame) = stopped {
            self.body = after(frame, std::mem::take(&mut self.body));
        }
        Whole::NotYet
    }

    /// The body has come to its end, and this is all of it.
    fn whole(&mut self, cx: &mut Context<'_>, whole: Option<Bytes>) -> Whole {
        let length = whole.as_ref().map_or(0, Bytes::len) as u64;
        if self.expected.is_some_and(|expected| expected != length) {
            self.wrong_length();
            return Whole::Never;
        }
        self.delivered();
        // The component learns so, and most have nothing left to do then that waits.
        for _ in 0..TURNS {
            self.poll_drive(cx);
            if self.drive.is_none() && self.lead.is_none() {
                break;
            }
        }
        let data = whole.map_or(Data::Empty, |bytes| Data::Whole(Some(bytes)));
        Whole::Yes(ResponseBody { _call: self.call.clone(), ..data.into() })
    }

    /// The client has all that there is. What the component does from now on has a limit of its own.
    pub(crate) fn delivered(&mut self) {
        self.delivered = true;
        if let Some(meter) = self.meter.take() {
            meter.answered();
        }
        if let Some(submitted) = self.submitted.take() {
            submitted.answered();
        }
    }

    /// What the component wrote is more than it may; what is left of it ends.
    fn too_much(&mut self) {
        self.guest.guard().refuse(Limit::ResponseBody);
        self.fail();
    }

    /// What the component wrote is not what its headers declare.
    fn wrong_length(&mut self) {
        self.guest.log("the length of its body is not its `content-length`");
        self.fail();
    }

    fn fail(&mut self) {
        (self.drive, self.lead) = (None, None);
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.failed = true;
    }

    /// Reads to the end and drops what it reads, so that the component can end; not for ever.
    pub(crate) async fn finish(mut self) {
        let patience = UNREAD.max(self.guest.guard().limits().after_response);
        let read = std::future::poll_fn(|cx| {
            loop {
                match Pin::new(&mut self).poll_frame(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        tokio::time::timeout(patience, read).await.ok();
    }

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(task) = &mut self.task
            && let Poll::Ready(done) = Pin::new(task).poll(cx)
        {
            self.task = None;
            self.failed = !matches!(done, Ok(Ok(())));
        }
        let polled = match self.ahead.take() {
            Some(ahead) => Poll::Ready(Some(Ok(Frame::data(ahead)))),
            None => Pin::new(&mut self.body).poll_frame(cx),
        };
        match &polled {
            // The end that the client sees must not look like the end that was meant.
            Poll::Ready(None) | Poll::Pending if self.failed => {
                return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
            }
            Poll::Ready(None) if self.expected.is_none_or(|expected| expected == 0) => self.delivered(),
            Poll::Ready(None) => {
                self.wrong_length();
                return Poll::Ready(Some(Err(Error::HttpResponseBodySize(None))));
            }
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map(|data| data.len() as u64);
                if length.is_some_and(|length| length > self.left) {
                    self.too_much();
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(None))));
                }
                let expected = match (self.expected, length) {
                    (Some(expected), Some(length)) => expected.checked_sub(length),
                    // Trailers come after the last byte.
                    (Some(expected), None) => (expected == 0).then_some(0),
                    (None, _) => None,
                };
                if self.expected.is_some() && expected.is_none() {
                    self.wrong_length();
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(None))));
                }
                self.left -= length.unwrap_or(0);
                self.expected = expected;
                // The server asks no further once it has what the headers promised, or the trailers.
                if length.is_none() || expected == Some(0) {
                    self.delivered();
                }
            }
            _ => {}
        }
        polled.map(|frame| frame.map(|frame| frame.and_then(|frame| self.checked(frame))))
    }

    /// Trailers as they may go out.
    fn checked(&self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Error> {
        let mut trailers = match frame.into_trailers() {
            Ok(trailers) => trailers,
            Err(frame) => return Ok(frame),
        };
        frame::clean_trailers(&mut trailers);
        let guard = self.guest.guard();
        if frame::size(&trailers) > guard.limits().headers {
            guard.refuse(Limit::Headers);
            return Err(Error::HttpResponseTrailerSectionSize(None));
        }
        Ok(Frame::trailers(trailers))
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if !self.delivered {
            // The client is gone, and what was made for it ends.
            if let Some(task) = &self.task {
                task.abort();
            }
            return;
        }
        // The client has its answer; what the component still does is nobody's to wait for but the workload's.
        if let (Some(drive), Ok(runtime)) = (self.drive.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(finish(self.guest.clone(), drive, self.call.take()));
        }
    }
}

/// Drives a component to its end.
async fn finish(guest: Arc<Guest>, drive: Drive, call: Option<Call>) -> Result<(), Ended> {
    let done = drive.await;
    if let Err(ended) = &done {
        guest.log(&ended.to_string());
    }
    drop(call);
    done
}

/// A body, and a future that is ready when it was read to its end or dropped; it says whether to its end. Whoever knows its
/// length may not ask for more once it was read.
pub(crate) fn watch(body: WasiBody, length: Option<u64>) -> (WasiBody, impl Future<Output = bool>) {
    let (through, ended) = tokio::sync::oneshot::channel();
    let watched = Watched { body, left: length, through: Some(through) };
    (WasiBody::new(watched), async move { ended.await.unwrap_or_default() })
}

struct Watched {
    body: WasiBody,
    left: Option<u64>,
    /// Told when the body is through.
    through: Option<Sender<bool>>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Some(left), Poll::Ready(Some(Ok(frame)))) = (&mut self.left, &polled) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        // The call ended before the component had said that this is all; its instance may go on with other calls.
        let is_closed = match (&polled, &mut self.through) {
            (Poll::Ready(None), Some(through)) => through.is_closed(),
            (Poll::Pending, Some(through)) => through.poll_closed(cx).is_ready(),
            _ => false,
        };
        if is_closed {
            return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
        }
        let ended = matches!(&polled, Poll::Ready(None | Some(Err(_)))) || self.left == Some(0);
        if ended && let Some(through) = self.through.take() {
            through.send(true).ok();
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

/// A body that gives a frame which was read too far, then goes on as before.
fn after(frame: Result<Frame<Bytes>, Error>, rest: WasiBody) -> WasiBody {
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
            Data::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Data::Streaming(streaming) => Pin::new(streaming.as_mut()).poll_frame(cx),
        }
    }

    /// A frame in pieces that HTTP/2 is handed one by one, so that it holds little for a client that does not read.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut data = if self.rest.is_empty() {
            match self.poll_data(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return other,
            }
        } else {
            std::mem::take(&mut self.rest)
        };
        if data.len() > MAX_FRAME {
            self.rest = data.split_off(MAX_FRAME);
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
        let polled = this.poll_piece(cx);
        if let Some(stream) = this.exchange.as_ref().and_then(Exchange::stream) {
            match &polled {
                Poll::Ready(_) => stream.wait_for_client(),
                Poll::Pending => stream.wait_for_component(),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && matches!(self.data, Data::Empty | Data::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        match &self.data {
            Data::Empty | Data::Whole(None) => SizeHint::with_exact(rest),
            Data::Whole(Some(bytes)) => SizeHint::with_exact(rest + bytes.len() as u64),
            Data::Streaming(streaming) => {
                streaming.expected.map_or_else(SizeHint::default, |expected| SizeHint::with_exact(rest + expected))
            }
        }
    }
}
