//! A response's body, which drives the component that writes it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};
use wharf::pool::CallGuard;

use crate::guest::{Drive, Guest};

/// How large a body may be, in bytes, to be sent in one piece when all of it is there already.
const MAX_WHOLE: usize = 64 * 1024;

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
    /// It is done.
    Done,
    /// It trapped.
    Failed,
}

/// A body that a component is still writing, and the component. Dropped before its end, it ends the component: the
/// client is gone.
pub(crate) struct Streaming {
    guest: Arc<Guest>,
    body: WasiBody,
    /// What was read of the body while it was tried whether all of it is there.
    ahead: Option<Bytes>,
    drive: Option<Drive>,
    /// The component trapped: whatever it wrote is not all that it had to say.
    failed: bool,
    under_way: Option<CallGuard>,
}

impl Streaming {
    pub(crate) fn new(guest: Arc<Guest>, body: WasiBody, driving: Driving, under_way: CallGuard) -> Self {
        let (drive, failed) = match driving {
            Driving::On(drive) => (Some(drive), false),
            Driving::Done => (None, false),
            Driving::Failed => (None, true),
        };
        Self { guest, body, ahead: None, drive, failed, under_way: Some(under_way) }
    }

    /// Lets the component go on. A trap now is logged; the body shows it by ending early.
    fn poll_drive(&mut self, cx: &mut Context<'_>) {
        if let Some(drive) = &mut self.drive
            && let Poll::Ready(done) = drive.as_mut().poll(cx)
        {
            self.drive = None;
            if let Err(error) = done {
                self.failed = true;
                self.guest.log_trap(&error);
            }
        }
    }

    /// The whole body, if the component is done and all of it is there and small.
    pub(crate) fn take_whole(&mut self, cx: &mut Context<'_>) -> Option<ResponseBody> {
        self.poll_drive(cx);
        if self.failed {
            return None;
        }
        if self.body.is_end_stream() && self.drive.is_none() {
            return Some(ResponseBody::Empty);
        }
        let first = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(None) if self.drive.is_none() => return Some(ResponseBody::Empty),
            Poll::Ready(Some(Ok(frame))) => frame.into_data().ok()?,
            // An end, trailers or an error come again when the body is polled as one that streams.
            _ => return None,
        };
        self.poll_drive(cx);
        if first.len() > MAX_WHOLE || self.drive.is_some() || self.failed {
            self.ahead = Some(first);
            return None;
        }
        let mut whole = first;
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(None) => return Some(ResponseBody::Whole(Some(whole))),
                Poll::Ready(Some(Ok(frame))) if frame.is_data() && whole.len() <= MAX_WHOLE => {
                    let mut joined = BytesMut::from(whole.as_ref());
                    joined.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
                    whole = joined.freeze();
                }
                Poll::Ready(Some(other)) => {
                    self.ahead = Some(whole);
                    self.body = after(other, std::mem::take(&mut self.body));
                    return None;
                }
                Poll::Pending => {
                    self.ahead = Some(whole);
                    return None;
                }
            }
        }
    }

    /// Reads to the end for nobody, so that the component can end.
    pub(crate) async fn finish(mut self) {
        std::future::poll_fn(|cx| {
            loop {
                match Pin::new(&mut self).poll_frame(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_drive(cx);
        if let Some(ahead) = self.ahead.take() {
            return Poll::Ready(Some(Ok(Frame::data(ahead))));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if self.failed && matches!(polled, Poll::Ready(None) | Poll::Pending) {
            // The end that the client sees must not look like the end that was meant.
            return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
        }
        if let Poll::Ready(None) = polled
            && let Some(drive) = self.drive.take()
        {
            // The client has its answer; what the component still does is nobody's to wait for but the workload's.
            let (guest, under_way) = (self.guest.clone(), self.under_way.take());
            tokio::spawn(async move {
                if let Err(error) = drive.await {
                    guest.log_trap(&error);
                }
                drop(under_way);
            });
        }
        polled
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
