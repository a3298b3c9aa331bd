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
use wharf::limits::Guard;
use wharf::pool::CallGuard;
use wharf::pool::shared::Lead;
use wharf::{Ended, Limit};

use crate::guest::{Drive, Guest};

/// How large a body may be, in bytes, to be sent in one piece when all of it is there already.
const MAX_WHOLE: usize = 64 * 1024;
/// How often a component that has answered is let go on before it gets a task of its own.
const TURNS: usize = 4;
/// How long a component may take to write a body that nobody reads, that of an answer to HEAD.
const UNREAD: Duration = Duration::from_secs(30);

/// The body of a response.
pub(crate) enum ResponseBody {
    /// Nothing.
    Empty,
    /// All of it.
    Whole(Option<Bytes>),
    /// What a component is still writing.
    Streaming(Box<Streaming>),
}

impl ResponseBody {
    pub(crate) fn text(text: &'static str) -> Self {
        Self::Whole(Some(Bytes::from_static(text.as_bytes())))
    }
}

/// How far the component is when its response begins.
pub(crate) enum Driving {
    /// It goes on.
    On(Drive),
    /// It goes on, and may serve others.
    Lead(Lead),
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
    /// The component failed before it was whole.
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
    lead: Option<Lead>,
    /// The component, in a task of its own: a client that reads slowly must not hold up what else it does.
    task: Option<JoinHandle<Result<(), Ended>>>,
    /// The component trapped: whatever it wrote is not all that it had to say.
    failed: bool,
    /// How many bytes the component may still write.
    left: u64,
    /// How many bytes the client still expects, if the response's headers say.
    expected: Option<u64>,
    /// The client has all that there is.
    delivered: bool,
    under_way: Option<CallGuard>,
}

impl Streaming {
    pub(crate) fn new(
        guest: Arc<Guest>,
        body: WasiBody,
        driving: Driving,
        expected: Option<u64>,
        under_way: Option<CallGuard>,
    ) -> Self {
        let (drive, lead, failed) = match driving {
            Driving::On(drive) => (Some(drive), None, false),
            Driving::Lead(lead) => (None, Some(lead), false),
            Driving::Done => (None, None, false),
            Driving::Failed => (None, None, true),
        };
        let left = guest.guard().limits().response_body;
        Self { guest, body, ahead: None, drive, lead, task: None, failed, left, expected, delivered: false, under_way }
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

    /// Puts the component into a task of its own. The call is over when that is.
    pub(crate) fn on_its_own(mut self) -> Self {
        // It goes on by itself, with whoever shares it.
        self.lead = None;
        let drive = self.drive.take();
        self.task = drive.map(|drive| tokio::spawn(finish(self.guest.clone(), drive, self.under_way.take())));
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
                Poll::Ready(None) => {
                    self.delivered = true;
                    // It is told so, and most have nothing to do then that waits.
                    for _ in 0..TURNS {
                        self.poll_drive(cx);
                        if self.drive.is_none() && self.lead.is_none() {
                            break;
                        }
                    }
                    return Whole::Yes(whole.map_or(ResponseBody::Empty, |bytes| ResponseBody::Whole(Some(bytes))));
                }
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
                    if length > MAX_WHOLE {
                        break None;
                    }
                }
                Poll::Ready(Some(other)) => break Some(other),
                Poll::Pending => break None,
            }
        };
        self.ahead = whole;
        if let Some(frame) = stopped {
            self.body = after(frame, std::mem::take(&mut self.body));
        }
        Whole::NotYet
    }

    /// What the component wrote is more than it may; what is left of it ends.
    fn too_much(&mut self) {
        self.guest.guard().refuse(Limit::ResponseBody);
        (self.drive, self.lead) = (None, None);
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.failed = true;
    }

    /// Reads to the end for nobody, so that the component can end; not for ever.
    pub(crate) async fn finish(mut self) {
        let read = std::future::poll_fn(|cx| {
            loop {
                match Pin::new(&mut self).poll_frame(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        tokio::time::timeout(UNREAD, read).await.ok();
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
            Poll::Ready(None) => self.delivered = true,
            Poll::Ready(Some(Ok(frame))) if frame.data_ref().is_some_and(|data| data.len() as u64 > self.left) => {
                self.too_much();
                return Poll::Ready(Some(Err(Error::HttpResponseBodySize(None))));
            }
            // The server asks no further once it has what the headers promised, or the trailers.
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map(|data| data.len() as u64);
                self.left -= length.unwrap_or(0);
                self.expected = self.expected.map(|expected| expected.saturating_sub(length.unwrap_or(0)));
                self.delivered = length.is_none() || self.expected == Some(0);
            }
            _ => {}
        }
        polled
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
            runtime.spawn(finish(self.guest.clone(), drive, self.under_way.take()));
        }
    }
}

/// Drives a component to its end. A call is over when its component is, not when its client has read everything.
async fn finish(guest: Arc<Guest>, drive: Drive, under_way: Option<CallGuard>) -> Result<(), Ended> {
    let done = drive.await;
    if let Err(ended) = &done {
        guest.log(&ended.to_string());
    }
    drop(under_way);
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

/// A request's body that fails beyond its limit, and says so to nobody but the component.
pub(crate) struct Limited<B> {
    body: B,
    left: u64,
    guard: Arc<Guard>,
}

impl<B> Limited<B> {
    pub(crate) fn new(body: B, guard: Arc<Guard>) -> Self {
        Self { body, left: guard.limits().request_body, guard }
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Limited<B> {
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

impl Body for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Some(left), Poll::Ready(Some(Ok(frame)))) = (&mut self.left, &polled) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        // The component was ended before it had said that this is all.
        if matches!(polled, Poll::Ready(None)) && self.through.as_ref().is_some_and(Sender::is_closed) {
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

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streaming(streaming) => Pin::new(streaming.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty | Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Whole(None) => SizeHint::with_exact(0),
            Self::Whole(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streaming(streaming) => match streaming.ahead {
                None => streaming.body.size_hint(),
                Some(_) => SizeHint::default(),
            },
        }
    }
}
