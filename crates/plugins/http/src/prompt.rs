//! A connection whose client must begin in time and read in time. hyper's own timeout begins only when it knows which HTTP
//! is spoken, and it waits for ever for a client that does not read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::connection::Connection;

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
    connection: Arc<Connection>,
    frames: Frames,
}

/// What a server writes: which of it is part of an answer. Of HTTP/2 that is the content of DATA frames (RFC 9113, section 6.1):
/// it writes other frames for a client that only asks whether it is there.
#[derive(Default)]
struct Frames {
    /// The head of the next frame, as far as it was written.
    head: [u8; 9],
    filled: usize,
    /// What is left of the frame.
    left: usize,
    is_data: bool,
    is_http1: bool,
}

impl Frames {
    fn has_data(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_data = self.is_http1 && !bytes.is_empty();
        while !self.is_http1 && !bytes.is_empty() {
            if self.left > 0 {
                let now = self.left.min(bytes.len());
                has_data |= self.is_data;
                self.left -= now;
                bytes = &bytes[now..];
                continue;
            }
            let now = (self.head.len() - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + now].copy_from_slice(&bytes[..now]);
            self.filled += now;
            bytes = &bytes[now..];
            if self.filled < self.head.len() {
                break;
            }
            self.filled = 0;
            if self.head.starts_with(b"HTTP/") {
                self.is_http1 = true;
                return true;
            }
            let [a, b, c, kind, ..] = self.head;
            self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.is_data = kind == 0;
        }
        has_data
    }
}

impl<S> Prompt<S> {
    /// `begin` is how long a client may take for its first bytes, `patience` how long it may go without reading any.
    pub(crate) fn new(stream: S, connection: Arc<Connection>, begin: Duration, patience: Duration) -> Self {
        let begin = Some(Box::pin(tokio::time::sleep(begin)));
        Self { stream, read: 0, begin, patience, write: None, connection, frames: Frames::default() }
    }

    /// Tells the connection of what was written of an answer.
    fn watch<'a>(&mut self, polled: &Poll<io::Result<usize>>, pieces: impl IntoIterator<Item = &'a [u8]>) {
        let Poll::Ready(Ok(mut left)) = *polled else { return };
        let mut sent = false;
        for piece in pieces {
            let written = &piece[..piece.len().min(left)];
            left -= written.len();
            sent |= self.frames.has_data(written);
        }
        if sent {
            self.connection.sent();
        }
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
        self.watch(&polled, [bytes]);
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
        self.watch(&polled, pieces.iter().map(|piece| &**piece));
        self.written(cx, polled)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::Frames;

    #[test]
    fn only_data_of_an_answer_is_part_of_it() {
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
        let ping = [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let data = [0, 0, 2, 0, 0, 0, 0, 0, 1, b'h', b'i'];
        let empty = [0, 0, 0, 0, 1, 0, 0, 0, 1];
        for pieces in [1, 2, 3, 5, 100] {
            let mut frames = Frames::default();
            let mut has = |bytes: &[u8]| bytes.chunks(pieces).fold(false, |has, piece| frames.has_data(piece) | has);
            let found = [&settings[..], &ping, &data, &ping, &empty, &data].map(&mut has);
            assert_eq!(found, [false, false, true, false, false, true], "{pieces}");
        }
        let mut frames = Frames::default();
        assert!(frames.has_data(b"HTTP/1.1 200 OK\r\n\r\n") && frames.has_data(b"x"));
    }
}
