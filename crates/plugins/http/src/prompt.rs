//! A connection whose client must begin in time and read in time. hyper's own timeout begins only when it knows which HTTP
//! is spoken, and it waits for ever for a client that does not read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How many bytes tell HTTP/2 from HTTP/1.1: those of HTTP/2's preface (RFC 9113, section 3.4).
const TELLING: usize = 24;

/// Reads fail with `TimedOut` when the telling bytes are not there in time, and writes when none could be written for long.
pub(crate) struct Prompt<S> {
    stream: S,
    read: usize,
    begin: Option<Pin<Box<Sleep>>>,
    patience: Duration,
    /// Runs while a write waits.
    write: Option<Pin<Box<Sleep>>>,
}

impl<S> Prompt<S> {
    /// `begin` is how long a client may take for its first bytes, `patience` how long it may go without reading any.
    pub(crate) fn new(stream: S, begin: Duration, patience: Duration) -> Self {
        Self { stream, read: 0, begin: Some(Box::pin(tokio::time::sleep(begin))), patience, write: None }
    }

    /// What came of a write, and an error when it has waited for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write = None;
            return polled;
        }
        let patience = self.patience;
        let wait = self.write.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        wait.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prompt<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        if self.begin.is_none() {
            return polled;
        }
        self.read += into.filled().len() - before;
        if self.read >= TELLING {
            self.begin = None;
        } else if polled.is_pending()
            && let Some(begin) = &mut self.begin
            && begin.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prompt<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, polled)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, polled)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, polled)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.written(cx, polled)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
