//! A body that sends a notification when it ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use wasmtime_wasi_http::{Error, WasiBody};

/// Wraps a body; the future that comes with it resolves when the body ends (`true`) or is dropped before that
/// (`false`).
///
/// `length` is the body's declared length in bytes: a reader that has received all of them may not poll for the end.
pub(crate) fn notify_end(body: WasiBody, length: Option<u64>) -> (WasiBody, impl Future<Output = bool>) {
    let (end_tx, ended) = oneshot::channel();
    let body = NotifyOnEnd { body, left: length, end_tx: Some(end_tx) };
    (WasiBody::new(body), async move { ended.await.unwrap_or_default() })
}

/// A body that sends a notification when it ends.
struct NotifyOnEnd {
    body: WasiBody,
    left: Option<u64>,
    /// Receives `true` at the end of the body.
    end_tx: Option<oneshot::Sender<bool>>,
}

impl Body for NotifyOnEnd {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Some(left), Poll::Ready(Some(Ok(frame)))) = (&mut self.left, &polled) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        // The receiver belongs to the call. If the call ended first, the component never ended the body, which must not
        // look complete: its instance may still serve other calls.
        let is_closed = match (&polled, &mut self.end_tx) {
            (Poll::Ready(None), Some(end_tx)) => end_tx.is_closed(),
            (Poll::Pending, Some(end_tx)) => end_tx.poll_closed(cx).is_ready(),
            _ => false,
        };
        if is_closed {
            return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
        }
        let ended = matches!(&polled, Poll::Ready(None | Some(Err(_)))) || self.left == Some(0);
        if ended && let Some(end_tx) = self.end_tx.take() {
            end_tx.send(true).ok();
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
