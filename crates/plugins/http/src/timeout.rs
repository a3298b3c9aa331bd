//! Time-outs for a client that sends nothing and for one that reads nothing.
//!
//! hyper's own time-out starts when it knows the version of HTTP, and hyper waits without limit for a client that does
//! not read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::connection::ConnectionState;

/// How many bytes distinguish HTTP/2 from HTTP/1.1: the length of HTTP/2's preface (RFC 9113, section 3.4).
const PREFACE_LEN: usize = 24;

/// A stream with time-outs. A read fails with `TimedOut` when the first [`PREFACE_LEN`] bytes do not arrive in time; a
/// write fails when the client reads nothing for too long.
pub(crate) struct TimeoutStream<S> {
    stream: S,
    /// How many bytes were read, until `preface_timer` stops.
    read: usize,
    preface_timer: Option<Pin<Box<Sleep>>>,
    write_timeout: Duration,
    /// Runs while a write waits.
    write_timer: Option<Pin<Box<Sleep>>>,
    connection: Arc<ConnectionState>,
    scanner: ResponseScanner,
}

/// Finds the parts of a response in the bytes that the server writes. In HTTP/2 those are the payloads of DATA frames
/// (RFC 9113, section 6.1); the server also writes other frames, such as responses to pings.
#[derive(Default)]
struct ResponseScanner {
    /// The header of the next frame, of which `filled` bytes were written.
    header: [u8; 9],
    filled: usize,
    /// How many bytes of the current frame's payload are left.
    left: usize,
    is_data: bool,
    is_http1: bool,
}

impl ResponseScanner {
    /// Scans the next bytes, and returns whether they contain part of a response.
    fn scan(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_data = self.is_http1 && !bytes.is_empty();
        while !self.is_http1 && !bytes.is_empty() {
            if self.left > 0 {
                let now = self.left.min(bytes.len());
                has_data |= self.is_data;
                self.left -= now;
                bytes = &bytes[now..];
                continue;
            }
            let now = (self.header.len() - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + now].copy_from_slice(&bytes[..now]);
            self.filled += now;
            bytes = &bytes[now..];
            if self.filled < self.header.len() {
                break;
            }
            self.filled = 0;
            if self.header.starts_with(b"HTTP/") {
                self.is_http1 = true;
                return true;
            }
            let [a, b, c, kind, ..] = self.header;
            self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.is_data = kind == 0;
        }
        has_data
    }
}

impl<S> TimeoutStream<S> {
    /// `preface_timeout` is how long a client may take to send its first bytes, `write_timeout` how long it may read
    /// nothing.
    pub(crate) fn new(
        stream: S,
        connection: Arc<ConnectionState>,
        preface_timeout: Duration,
        write_timeout: Duration,
    ) -> Self {
        let preface_timer = Some(Box::pin(tokio::time::sleep(preface_timeout)));
        Self {
            stream,
            read: 0,
            preface_timer,
            write_timeout,
            write_timer: None,
            connection,
            scanner: ResponseScanner::default(),
        }
    }

    /// Records on the connection that a write contained part of a response.
    fn record_writes<'a>(&mut self, polled: &Poll<io::Result<usize>>, pieces: impl IntoIterator<Item = &'a [u8]>) {
        let Poll::Ready(Ok(mut left)) = *polled else { return };
        let mut sent = false;
        for piece in pieces {
            let written = &piece[..piece.len().min(left)];
            left -= written.len();
            sent |= self.scanner.scan(written);
        }
        if sent {
            self.connection.record_write();
        }
    }

    /// Passes on the result of a write, or fails one that has waited for too long.
    fn check_timeout<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write_timer = None;
            return polled;
        }
        let write_timeout = self.write_timeout;
        let wait = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(write_timeout)));
        wait.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        if self.preface_timer.is_none() {
            return polled;
        }
        self.read += into.filled().len() - before;
        if self.read >= PREFACE_LEN {
            self.preface_timer = None;
        } else if polled.is_pending()
            && let Some(preface_timer) = &mut self.preface_timer
            && preface_timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.record_writes(&polled, [bytes]);
        self.check_timeout(cx, polled)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.check_timeout(cx, polled)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.check_timeout(cx, polled)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.record_writes(&polled, pieces.iter().map(|piece| &**piece));
        self.check_timeout(cx, polled)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::ResponseScanner;

    #[test]
    fn only_data_frames_are_part_of_a_response() {
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
        let ping = [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let data = [0, 0, 2, 0, 0, 0, 0, 0, 1, b'h', b'i'];
        let empty = [0, 0, 0, 0, 1, 0, 0, 0, 1];
        for pieces in [1, 2, 3, 5, 100] {
            let mut scanner = ResponseScanner::default();
            let mut has = |bytes: &[u8]| bytes.chunks(pieces).fold(false, |has, piece| scanner.scan(piece) | has);
            let found = [&settings[..], &ping, &data, &ping, &empty, &data].map(&mut has);
            assert_eq!(found, [false, false, true, false, false, true], "{pieces}");
        }
        let mut scanner = ResponseScanner::default();
        assert!(scanner.scan(b"HTTP/1.1 200 OK\r\n\r\n") && scanner.scan(b"x"));
    }
}
