//! wasi:sockets/tcp: from a new socket to the end of a connection.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::io::poll::poll;
use wasip2::io::streams::StreamError;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily};
use wasip2::sockets::tcp::{ShutdownType, TcpSocket};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

use crate::Test;
use crate::bytes::{pattern, read_all, read_exact, write_all};
use crate::conform::Check;
use crate::network::{
    MAPPED, V4, V6, bind, connect, connect_to, connected, listen, listener, loopback, other, port, text, unspecified,
    v4, v6,
};

pub const TESTS: &[Test] = &[
    Test::new(
        "tcp-bind",
        binding,
        &[
            "wasi:sockets/tcp-create-socket#create-tcp-socket",
            "wasi:sockets/tcp#[method]tcp-socket.start-bind",
            "wasi:sockets/tcp#[method]tcp-socket.finish-bind",
            "wasi:sockets/tcp#[method]tcp-socket.local-address",
            "wasi:sockets/tcp#[method]tcp-socket.address-family",
        ],
    ),
    Test::new(
        "tcp-listen",
        listening,
        &[
            "wasi:sockets/tcp#[method]tcp-socket.start-listen",
            "wasi:sockets/tcp#[method]tcp-socket.finish-listen",
            "wasi:sockets/tcp#[method]tcp-socket.accept",
            "wasi:sockets/tcp#[method]tcp-socket.is-listening",
        ],
    ),
    Test::new(
        "tcp-connect",
        connecting,
        &[
            "wasi:sockets/tcp#[method]tcp-socket.start-connect",
            "wasi:sockets/tcp#[method]tcp-socket.finish-connect",
            "wasi:sockets/tcp#[method]tcp-socket.remote-address",
        ],
    ),
    Test::new("tcp-connect-refused", refused, &["wasi:sockets/tcp#[method]tcp-socket.finish-connect"]),
    Test::new(
        "tcp-echo",
        echo,
        &[
            "wasi:sockets/tcp#[method]tcp-socket.accept",
            "wasi:sockets/tcp#[method]tcp-socket.local-address",
            "wasi:sockets/tcp#[method]tcp-socket.remote-address",
        ],
    ),
    Test::new("tcp-subscribe", subscribe, &["wasi:sockets/tcp#[method]tcp-socket.subscribe"]),
    Test::new("tcp-shutdown", shutdown, &["wasi:sockets/tcp#[method]tcp-socket.shutdown"]),
    Test::new("tcp-large", large, &["wasi:sockets/tcp#[method]tcp-socket.accept"]),
];

const FAMILIES: [IpAddressFamily; 2] = [V4, V6];

fn binding() -> Check {
    for family in FAMILIES {
        let socket = ok!(create_tcp_socket(family));
        equal!(socket.address_family(), family);
        fails!(socket.local_address(), ErrorCode::InvalidState);
        fails!(socket.finish_bind(), ErrorCode::NotInProgress);
        fails!(bind(&socket, loopback(other(family), 0)), ErrorCode::InvalidArgument);
        // A bind that failed may be tried again.
        ok!(bind(&socket, loopback(family, 0)));
        let address = ok!(socket.local_address());
        ensure!(port(address) != 0);
        equal!(text(address), text(loopback(family, port(address))));
        fails!(bind(&socket, loopback(family, 0)), ErrorCode::InvalidState);
        fails!(socket.finish_bind(), ErrorCode::NotInProgress);
        let (_listener, taken) = listener(family)?;
        fails!(bind(&ok!(create_tcp_socket(family)), taken), ErrorCode::AddressInUse);
    }
    let try_bind = |family, address| bind(&create_tcp_socket(family)?, address);
    fails!(try_bind(V4, v4((224, 0, 0, 1), 0)), ErrorCode::InvalidArgument);
    fails!(try_bind(V4, v4((255, 255, 255, 255), 0)), ErrorCode::InvalidArgument);
    fails!(try_bind(V6, v6((0xff01, 0, 0, 0, 0, 0, 0, 1), 0)), ErrorCode::InvalidArgument);
    fails!(try_bind(V6, v6(MAPPED, 0)), ErrorCode::InvalidArgument);
    fails!(try_bind(V4, v4((192, 0, 2, 1), 0)), ErrorCode::AddressNotBindable);
    fails!(try_bind(V6, v6((0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 0)), ErrorCode::AddressNotBindable);
    Ok(())
}

fn listening() -> Check {
    for family in FAMILIES {
        let socket = ok!(create_tcp_socket(family));
        fails!(socket.accept(), ErrorCode::InvalidState);
        fails!(socket.start_listen(), ErrorCode::InvalidState);
        fails!(socket.finish_listen(), ErrorCode::NotInProgress);
        ok!(bind(&socket, loopback(family, 0)));
        ensure!(!socket.is_listening());
        fails!(socket.accept(), ErrorCode::InvalidState);
        ok!(listen(&socket));
        ensure!(socket.is_listening());
        fails!(socket.finish_listen(), ErrorCode::NotInProgress);
        fails!(socket.start_listen(), ErrorCode::InvalidState);
        fails!(socket.accept(), ErrorCode::WouldBlock);
        fails!(socket.remote_address(), ErrorCode::InvalidState);
        let pair = connected(family)?;
        ensure!(!pair.near.is_listening() && !pair.far.is_listening());
        fails!(pair.near.start_listen(), ErrorCode::InvalidState);
        fails!(pair.far.accept(), ErrorCode::InvalidState);
    }
    Ok(())
}

fn connecting() -> Check {
    for family in FAMILIES {
        let new = || create_tcp_socket(family);
        let socket = ok!(new());
        fails!(socket.finish_connect(), ErrorCode::NotInProgress);
        fails!(socket.remote_address(), ErrorCode::InvalidState);
        fails!(connect(&ok!(new()), loopback(family, 0)), ErrorCode::InvalidArgument);
        fails!(connect(&ok!(new()), unspecified(family, 80)), ErrorCode::InvalidArgument);
        fails!(connect(&ok!(new()), loopback(other(family), 80)), ErrorCode::InvalidArgument);
        let (listener, address) = listener(family)?;
        // One that is bound may connect as well, and keeps its address.
        ok!(bind(&socket, loopback(family, 0)));
        let bound = ok!(socket.local_address());
        let streams = ok!(connect(&socket, address));
        equal!(text(ok!(socket.local_address())), text(bound));
        equal!(text(ok!(socket.remote_address())), text(address));
        fails!(socket.finish_connect(), ErrorCode::NotInProgress);
        fails!(connect(&socket, address), ErrorCode::InvalidState);
        fails!(connect(&listener, address), ErrorCode::InvalidState);
        drop(streams);
    }
    fails!(connect(&ok!(create_tcp_socket(V4)), v4((224, 0, 0, 1), 80)), ErrorCode::InvalidArgument);
    fails!(connect(&ok!(create_tcp_socket(V6)), v6(MAPPED, 80)), ErrorCode::InvalidArgument);
    Ok(())
}

fn refused() -> Check {
    for family in FAMILIES {
        // Bound, so that the port is taken, but not listening.
        let bound = ok!(create_tcp_socket(family));
        ok!(bind(&bound, loopback(family, 0)));
        let socket = ok!(create_tcp_socket(family));
        fails!(connect(&socket, ok!(bound.local_address())), ErrorCode::ConnectionRefused);
    }
    Ok(())
}

fn echo() -> Check {
    for family in FAMILIES {
        let (listener, address) = listener(family)?;
        for round in 0..3 {
            let pair = connect_to(&listener, address)?;
            equal!(text(ok!(pair.near.local_address())), text(ok!(pair.far.remote_address())));
            equal!(text(ok!(pair.far.local_address())), text(address));
            equal!(text(ok!(pair.near.remote_address())), text(address));
            equal!(pair.far.address_family(), family);
            let line = format!("round {round}");
            write_all(&pair.near_to, line.as_bytes())?;
            let heard = read_exact(&pair.far_from, line.len())?;
            write_all(&pair.far_to, &heard)?;
            equal!(read_exact(&pair.near_from, line.len())?, line.as_bytes());
            // The connection lives on without the network and the listener that made it.
        }
    }
    Ok(())
}

fn subscribe() -> Check {
    let (listener, address) = listener(V4)?;
    let ready = listener.subscribe();
    equal!(poll(&[&ready, &subscribe_duration(20_000_000)]), [1]);
    let client = ok!(create_tcp_socket(V4));
    ok!(client.start_connect(&instance_network(), address));
    fails!(client.start_connect(&instance_network(), address), ErrorCode::ConcurrencyConflict);
    client.subscribe().block();
    let streams = ok!(client.finish_connect());
    // The same pollable serves for as long as the socket lives.
    ready.block();
    let first = ok!(listener.accept());
    fails!(listener.accept(), ErrorCode::WouldBlock);
    ensure!(!ready.ready());
    let second = ok!(create_tcp_socket(V4));
    let more = ok!(connect(&second, address));
    ready.block();
    let accepted = ok!(listener.accept());
    drop((streams, more));
    let (first, first_from, first_to) = first;
    let (accepted, accepted_from, accepted_to) = accepted;
    drop((first_from, first_to, accepted_from, accepted_to));
    drop((first, accepted, ready));
    Ok(())
}

fn shutdown() -> Check {
    let kinds = [ShutdownType::Receive, ShutdownType::Send, ShutdownType::Both];
    let (listener, _) = listener(V4)?;
    let fresh = ok!(create_tcp_socket(V4));
    for kind in kinds {
        fails!(fresh.shutdown(kind), ErrorCode::InvalidState);
        fails!(listener.shutdown(kind), ErrorCode::InvalidState);
    }
    for family in FAMILIES {
        let pair = connected(family)?;
        write_all(&pair.near_to, b"last")?;
        ok!(pair.near.shutdown(ShutdownType::Send));
        fails!(pair.near_to.check_write(), StreamError::Closed);
        fails!(pair.near_to.blocking_write_and_flush(b"x"), StreamError::Closed);
        equal!(read_all(&pair.far_from)?, b"last");
        // The other direction is still open.
        write_all(&pair.far_to, b"answer")?;
        equal!(read_exact(&pair.near_from, 6)?, b"answer");
        ok!(pair.near.shutdown(ShutdownType::Send));
        ok!(pair.near.shutdown(ShutdownType::Receive));
        fails!(pair.near_from.blocking_read(1), StreamError::Closed);
        ok!(pair.near.shutdown(ShutdownType::Both));
        let pair = connected(family)?;
        ok!(pair.near.shutdown(ShutdownType::Both));
        fails!(pair.near_from.blocking_read(1), StreamError::Closed);
        fails!(pair.near_to.blocking_write_and_flush(b"x"), StreamError::Closed);
        equal!(read_all(&pair.far_from)?, b"");
    }
    Ok(())
}

/// More than a socket buffers, in both directions and at once, so that each side has to wait for the other.
fn large() -> Check {
    let all = pattern(8 << 20);
    let pair = connected(V4)?;
    let (mut near, mut far) = (Direction::new(&all), Direction::new(&all));
    loop {
        let near_over = near.step(&pair.near_to, &pair.near, &pair.far_from)?;
        let far_over = far.step(&pair.far_to, &pair.far, &pair.near_from)?;
        if near_over && far_over {
            break;
        }
        let mut ready = Vec::new();
        if !near_over {
            ready.push(pair.far_from.subscribe());
            ready.extend((!near.ended).then(|| pair.near_to.subscribe()));
        }
        if !far_over {
            ready.push(pair.near_from.subscribe());
            ready.extend((!far.ended).then(|| pair.far_to.subscribe()));
        }
        poll(&ready.iter().collect::<Vec<_>>());
    }
    ensure!(near.heard == all && far.heard == all);
    Ok(())
}

struct Direction<'a> {
    all: &'a [u8],
    sent: usize,
    ended: bool,
    heard: Vec<u8>,
    over: bool,
}

impl<'a> Direction<'a> {
    fn new(all: &'a [u8]) -> Self {
        Self { all, sent: 0, ended: false, heard: Vec::new(), over: false }
    }

    /// Sends and reads what can be at once; whether all has come, and its end.
    fn step(
        &mut self,
        to: &wasip2::io::streams::OutputStream,
        sender: &TcpSocket,
        from: &wasip2::io::streams::InputStream,
    ) -> Result<bool, String> {
        if self.sent < self.all.len() {
            let room = ok!(to.check_write()) as usize;
            let now = room.min(self.all.len() - self.sent);
            if now > 0 {
                ok!(to.write(&self.all[self.sent..self.sent + now]));
                self.sent += now;
            }
            if self.sent == self.all.len() {
                ok!(to.flush());
            }
        }
        // Once the flush is over there is room again.
        if self.sent == self.all.len() && !self.ended && ok!(to.check_write()) > 0 {
            ok!(sender.shutdown(ShutdownType::Send));
            self.ended = true;
        }
        while !self.over {
            match from.read(1 << 20) {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => self.heard.extend(bytes),
                Err(StreamError::Closed) => self.over = true,
                Err(error) => return Err(format!("after {} bytes: {error:?}", self.heard.len())),
            }
        }
        Ok(self.over)
    }
}
