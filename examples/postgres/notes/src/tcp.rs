//! A TCP connection of `wasi:sockets` as tokio's `AsyncRead` and `AsyncWrite`, which client libraries take.
//!
//! Each direction has one buffer and at most one operation under way. Nothing is received before it is asked for, and
//! nothing more is taken to be sent before the last of it is gone, so a slow reader or writer slows the other end down.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasip3::sockets::ip_name_lookup::{self, resolve_addresses};
use wasip3::sockets::types::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, TcpSocket,
};
use wasip3::wit_bindgen::{FutureReader, StreamReader, StreamWriter};
use wasip3::wit_stream;

/// How much is received, or taken to be sent, at once.
const BUFFER: usize = 64 * 1024;

/// A connection. Dropping it closes both directions; `shutdown` waits for what was written to be on its way.
pub struct TcpStream {
    input: Input,
    output: Output,
}

type Operation<T> = Pin<Box<dyn Future<Output = io::Result<T>>>>;
type End = FutureReader<Result<(), ErrorCode>>;

enum Input {
    /// What was received, and how much of it was read.
    Received(Receiver, Vec<u8>, usize),
    /// A receive under way; it ends with nothing when the other end sends no more.
    Receiving(Operation<Option<(Receiver, Vec<u8>)>>),
    Ended,
}

struct Receiver {
    stream: StreamReader<u8>,
    end: End,
}

enum Output {
    /// Nothing is under way. The buffer is empty, and kept for its capacity.
    Idle(Sender, Vec<u8>),
    Sending(Operation<(Sender, Vec<u8>)>),
    Closing(Operation<()>),
    Closed,
}

struct Sender {
    stream: StreamWriter<u8>,
    end: End,
}

impl TcpStream {
    /// Connects to a name, or to an address: to the first of the name's addresses that answers.
    pub async fn connect(host: &str, port: u16) -> io::Result<Self> {
        let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
        for address in addresses(host).await? {
            match Self::connect_to(address, port).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(address: IpAddr, port: u16) -> io::Result<Self> {
        let (family, address) = match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                let address = Ipv4SocketAddress { port, address: (a, b, c, d) };
                (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(address))
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h] = v6.segments();
                let address = (a, b, c, d, e, f, g, h);
                let address = Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 };
                (IpAddressFamily::Ipv6, IpSocketAddress::Ipv6(address))
            }
        };
        let socket = TcpSocket::create(family).map_err(to_io)?;
        socket.connect(address).await.map_err(to_io)?;
        let (stream, end) = socket.receive();
        let input = Input::Received(Receiver { stream, end }, Vec::with_capacity(BUFFER), 0);
        let (stream, contents) = wit_stream::new();
        let end = socket.send(contents);
        Ok(Self { input, output: Output::Idle(Sender { stream, end }, Vec::new()) })
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if to.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match std::mem::replace(&mut self.input, Input::Ended) {
                Input::Received(from, bytes, read) if read < bytes.len() => {
                    let count = to.remaining().min(bytes.len() - read);
                    to.put_slice(&bytes[read..read + count]);
                    self.input = Input::Received(from, bytes, read + count);
                    return Poll::Ready(Ok(()));
                }
                Input::Received(from, buffer, _) => self.input = Input::Receiving(Box::pin(from.receive(buffer))),
                Input::Receiving(mut operation) => match operation.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.input = Input::Receiving(operation);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(Some((from, bytes)))) => self.input = Input::Received(from, bytes, 0),
                    Poll::Ready(done) => return Poll::Ready(done.map(|_| ())),
                },
                Input::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_sending(cx))?;
        let (to, mut buffer) = match std::mem::replace(&mut self.output, Output::Closed) {
            Output::Idle(to, buffer) => (to, buffer),
            other => {
                self.output = other;
                return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
            }
        };
        let count = bytes.len().min(BUFFER);
        buffer.extend_from_slice(&bytes[..count]);
        self.output = Output::Sending(Box::pin(to.send(buffer)));
        // It begins when it is first polled. What it still has to do then is for the next call to wait for.
        match self.poll_sending(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sending(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sending(cx))?;
        loop {
            match std::mem::replace(&mut self.output, Output::Closed) {
                Output::Idle(to, _) => self.output = Output::Closing(Box::pin(to.close())),
                Output::Closing(mut operation) => {
                    let done = operation.as_mut().poll(cx);
                    if done.is_pending() {
                        self.output = Output::Closing(operation);
                    }
                    return done;
                }
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl TcpStream {
    /// Has what is being sent go on; ready when nothing is left of it.
    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Output::Sending(operation) = &mut self.output else {
            return Poll::Ready(Ok(()));
        };
        let done = ready!(operation.as_mut().poll(cx));
        self.output = Output::Closed;
        let (to, buffer) = done?;
        self.output = Output::Idle(to, buffer);
        Poll::Ready(Ok(()))
    }
}

impl Receiver {
    async fn receive(mut self, mut buffer: Vec<u8>) -> io::Result<Option<(Self, Vec<u8>)>> {
        buffer.clear();
        let (_, bytes) = self.stream.read(buffer).await;
        if bytes.is_empty() {
            self.end.await.map_err(to_io)?;
            return Ok(None);
        }
        Ok(Some((self, bytes)))
    }
}

impl Sender {
    /// Gives the buffer back, empty.
    async fn send(mut self, bytes: Vec<u8>) -> io::Result<(Self, Vec<u8>)> {
        let left = self.stream.write_all(bytes).await;
        if left.is_empty() {
            return Ok((self, left));
        }
        self.end.await.map_err(to_io)?;
        Err(ErrorKind::BrokenPipe.into())
    }

    async fn close(self) -> io::Result<()> {
        drop(self.stream);
        self.end.await.map_err(to_io)
    }
}

/// An address needs no resolver; a name is resolved.
async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let found = resolve_addresses(host.to_owned()).await.map_err(|error| {
        let kind = match error {
            ip_name_lookup::ErrorCode::AccessDenied => ErrorKind::PermissionDenied,
            ip_name_lookup::ErrorCode::InvalidArgument => ErrorKind::InvalidInput,
            ip_name_lookup::ErrorCode::NameUnresolvable => ErrorKind::NotFound,
            _ => ErrorKind::Other,
        };
        io::Error::new(kind, format!("looking up {host}: {error:?}"))
    })?;
    let found = found.into_iter().map(|address| match address {
        IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).into(),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => Ipv6Addr::new(a, b, c, d, e, f, g, h).into(),
    });
    Ok(found.collect())
}

fn to_io(error: ErrorCode) -> io::Error {
    let kind = match &error {
        ErrorCode::AccessDenied => ErrorKind::PermissionDenied,
        ErrorCode::NotSupported => ErrorKind::Unsupported,
        ErrorCode::InvalidArgument | ErrorCode::DatagramTooLarge => ErrorKind::InvalidInput,
        ErrorCode::OutOfMemory => ErrorKind::OutOfMemory,
        ErrorCode::Timeout => ErrorKind::TimedOut,
        ErrorCode::InvalidState => ErrorKind::NotConnected,
        ErrorCode::AddressNotBindable => ErrorKind::AddrNotAvailable,
        ErrorCode::AddressInUse => ErrorKind::AddrInUse,
        ErrorCode::RemoteUnreachable => ErrorKind::HostUnreachable,
        ErrorCode::ConnectionRefused => ErrorKind::ConnectionRefused,
        ErrorCode::ConnectionBroken => ErrorKind::BrokenPipe,
        ErrorCode::ConnectionReset => ErrorKind::ConnectionReset,
        ErrorCode::ConnectionAborted => ErrorKind::ConnectionAborted,
        ErrorCode::Other(_) => ErrorKind::Other,
    };
    io::Error::new(kind, format!("{error:?}"))
}
