//! The bytes that the server sends.
//!
//! Takes a stream after its TLS handshake; gives the same bytes. It reads the headers of messages on the way: it fails on
//! a message that is too long, before memory is used for it, and it notes whether a transaction is open. It changes
//! nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::error::TooLarge;

/// What the bytes go over.
pub(super) enum Transport {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

macro_rules! delegate {
    ($self:ident.$method:ident($($argument:ident),*)) => {
        match $self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            #[cfg(unix)]
            Transport::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        delegate!(self.poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.poll_shutdown(cx))
    }
}

/// What the messages of a connection have told.
#[derive(Default)]
pub(super) struct Observed {
    /// The transaction status of the last `ReadyForQuery`: `I` for none, `T` for an open one, `E` for a failed one.
    status: AtomicU8,
    /// Whether a message was too long.
    too_large: AtomicBool,
}

impl Observed {
    /// Whether the connection is in no transaction.
    pub(super) fn is_idle(&self) -> bool {
        self.status.load(Ordering::Acquire) == b'I'
    }

    /// Whether the connection ended because a message was too long.
    pub(super) fn was_too_large(&self) -> bool {
        self.too_large.load(Ordering::Acquire)
    }
}

/// A stream whose messages are observed.
pub(super) struct Wire<S> {
    stream: S,
    parser: Parser,
}

/// Follows the messages: a tag of one byte, a length of four that counts itself, and the body.
struct Parser {
    observed: Arc<Observed>,
    max: usize,
    /// Bytes before the first message, which answer the request for TLS.
    skip: usize,
    header: [u8; 5],
    header_len: usize,
    body_left: usize,
}

impl<S> Wire<S> {
    /// Observes `stream`, whose first `skip` bytes belong to no message.
    pub(super) fn new(stream: S, observed: Arc<Observed>, max: usize, skip: usize) -> Self {
        let parser = Parser { observed, max, skip, header: [0; 5], header_len: 0, body_left: 0 };
        Self { stream, parser }
    }

    /// The stream, to start TLS on it, and the rest of what [`Wire::new`] took.
    pub(super) fn into_parts(self) -> (S, Arc<Observed>, usize) {
        (self.stream, self.parser.observed, self.parser.max)
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl Parser {
    fn observe(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            let taken = if self.body_left > 0 {
                let taken = self.body_left.min(bytes.len());
                if self.header[0] == b'Z' {
                    self.observed.status.store(bytes[0], Ordering::Release);
                }
                self.body_left -= taken;
                taken
            } else {
                let taken = (self.header.len() - self.header_len).min(bytes.len());
                self.header[self.header_len..][..taken].copy_from_slice(&bytes[..taken]);
                self.header_len += taken;
                if self.header_len == self.header.len() {
                    self.start_body()?;
                }
                taken
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn start_body(&mut self) -> io::Result<()> {
        let [_, length @ ..] = self.header;
        self.body_left = (u32::from_be_bytes(length) as usize).saturating_sub(4);
        self.header_len = 0;
        if self.body_left > self.max {
            self.observed.too_large.store(true, Ordering::Release);
            return Err(io::Error::other(TooLarge));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        Poll::Ready(self.parser.observe(&buf.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{Observed, Parser};
    use std::sync::Arc;

    fn parser(skip: usize) -> Parser {
        let observed = Arc::new(Observed::default());
        Parser { observed, max: 100, skip, header: [0; 5], header_len: 0, body_left: 0 }
    }

    #[test]
    fn follows_messages_in_pieces_of_any_size() {
        let mut bytes = b"S".to_vec();
        for (tag, body) in [(b'C', &b"ZZZZ\0\0\0\x05I"[..]), (b'1', b""), (b'Z', b"T")] {
            bytes.push(tag);
            bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
            bytes.extend(body);
        }
        for size in 1..=bytes.len() {
            let mut parser = parser(1);
            bytes.chunks(size).for_each(|chunk| parser.observe(chunk).unwrap());
            assert_eq!(parser.observed.status.load(std::sync::atomic::Ordering::Relaxed), b'T', "{size}");
        }
    }

    #[test]
    fn rejects_a_message_that_is_too_long() {
        let mut parser = parser(0);
        assert!(parser.observe(b"D\0\0\0\x68").is_ok());
        let mut parser = self::parser(0);
        assert!(parser.observe(b"D\0\0\0\x69").is_err());
        assert!(parser.observed.was_too_large());
    }
}
