//! wasi:sockets/udp.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::io::poll::poll;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wasip2::sockets::udp::{
    IncomingDatagram, IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream, UdpSocket,
};
use wasip2::sockets::udp_create_socket::create_udp_socket;

use crate::Test;
use crate::conform::Check;
use crate::network::{V4, V6, loopback, other, port, text, unspecified, v4, v6};

pub const TESTS: &[Test] = &[
    Test::new(
        "udp-bind",
        binding,
        &[
            "wasi:sockets/udp-create-socket#create-udp-socket",
            "wasi:sockets/udp#[method]udp-socket.start-bind",
            "wasi:sockets/udp#[method]udp-socket.finish-bind",
            "wasi:sockets/udp#[method]udp-socket.local-address",
            "wasi:sockets/udp#[method]udp-socket.address-family",
            "wasi:sockets/udp#[method]udp-socket.subscribe",
        ],
    ),
    Test::new(
        "udp-stream",
        stream,
        &["wasi:sockets/udp#[method]udp-socket.stream", "wasi:sockets/udp#[method]udp-socket.remote-address"],
    ),
    Test::new(
        "udp-echo",
        echo,
        &[
            "wasi:sockets/udp#[method]incoming-datagram-stream.receive",
            "wasi:sockets/udp#[method]incoming-datagram-stream.subscribe",
            "wasi:sockets/udp#[method]outgoing-datagram-stream.check-send",
            "wasi:sockets/udp#[method]outgoing-datagram-stream.send",
            "wasi:sockets/udp#[method]outgoing-datagram-stream.subscribe",
        ],
    ),
    Test::new("udp-connected", connected, &["wasi:sockets/udp#[method]udp-socket.stream"]),
    Test::new("udp-refused-sends", refused, &["wasi:sockets/udp#[method]outgoing-datagram-stream.send"]),
    Test::new("udp-unconnected-send", unconnected, &["wasi:sockets/udp#[method]outgoing-datagram-stream.send"]),
    Test::new("udp-too-large", too_large, &["wasi:sockets/udp#[method]outgoing-datagram-stream.send"]),
    Test::new(
        "udp-options",
        options,
        &[
            "wasi:sockets/udp#[method]udp-socket.unicast-hop-limit",
            "wasi:sockets/udp#[method]udp-socket.set-unicast-hop-limit",
            "wasi:sockets/udp#[method]udp-socket.receive-buffer-size",
            "wasi:sockets/udp#[method]udp-socket.set-receive-buffer-size",
            "wasi:sockets/udp#[method]udp-socket.send-buffer-size",
            "wasi:sockets/udp#[method]udp-socket.set-send-buffer-size",
        ],
    ),
    Test::new("udp-keeps-port", keeps_port, &["wasi:sockets/udp#[method]udp-socket.stream"]),
    Test::new("udp-stream-later", streams_again, &["wasi:sockets/udp#[method]udp-socket.stream"]),
];

const FAMILIES: [IpAddressFamily; 2] = [V4, V6];

fn bind(socket: &UdpSocket, address: IpSocketAddress) -> Result<(), ErrorCode> {
    socket.start_bind(&instance_network(), address)?;
    loop {
        match socket.finish_bind() {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            other => return other,
        }
    }
}

/// A socket that is bound, with its streams, which are its children and go first.
struct Bound {
    from: IncomingDatagramStream,
    to: OutgoingDatagramStream,
    address: IpSocketAddress,
    socket: UdpSocket,
}

fn bound(family: IpAddressFamily) -> Result<Bound, String> {
    bound_at(loopback(family, 0), family)
}

fn bound_at(address: IpSocketAddress, family: IpAddressFamily) -> Result<Bound, String> {
    let socket = ok!(create_udp_socket(family));
    ok!(bind(&socket, address));
    let (from, to) = ok!(socket.stream(None));
    let address = ok!(socket.local_address());
    Ok(Bound { from, to, address, socket })
}

impl Bound {
    /// The same socket with new streams: the old ones have to go before, some nanoseconds earlier or none.
    fn stream(self, remote: Option<IpSocketAddress>, pause: u64) -> Result<Self, String> {
        let Self { from, to, address, socket } = self;
        drop((from, to));
        if pause > 0 {
            subscribe_duration(pause).block();
        }
        let (from, to) = ok!(socket.stream(remote));
        Ok(Self { from, to, address, socket })
    }
}

/// Sends one datagram, when the stream has room for it.
fn send(to: &OutgoingDatagramStream, data: &[u8], remote: Option<IpSocketAddress>) -> Result<(), ErrorCode> {
    let datagram = OutgoingDatagram { data: data.to_vec(), remote_address: remote };
    loop {
        if to.check_send()? > 0 && to.send(std::slice::from_ref(&datagram))? == 1 {
            return Ok(());
        }
        to.subscribe().block();
    }
}

/// The next datagram, if one comes soon.
fn receive(from: &IncomingDatagramStream) -> Result<Option<IncomingDatagram>, String> {
    let late = subscribe_duration(2_000_000_000);
    loop {
        if let Some(datagram) = ok!(from.receive(1)).pop() {
            return Ok(Some(datagram));
        }
        let came = from.subscribe();
        if poll(&[&came, &late]) == [1] {
            return Ok(None);
        }
    }
}

fn binding() -> Check {
    for family in FAMILIES {
        let socket = ok!(create_udp_socket(family));
        equal!(socket.address_family(), family);
        fails!(socket.local_address(), ErrorCode::InvalidState);
        fails!(socket.finish_bind(), ErrorCode::NotInProgress);
        fails!(bind(&socket, loopback(other(family), 0)), ErrorCode::InvalidArgument);
        ok!(bind(&socket, loopback(family, 0)));
        let address = ok!(socket.local_address());
        ensure!(port(address) != 0);
        equal!(text(address), text(loopback(family, port(address))));
        fails!(bind(&socket, loopback(family, 0)), ErrorCode::InvalidState);
        fails!(socket.finish_bind(), ErrorCode::NotInProgress);
        fails!(bind(&ok!(create_udp_socket(family)), address), ErrorCode::AddressInUse);
        socket.subscribe().block();
    }
    let try_bind = |family, address| bind(&create_udp_socket(family)?, address);
    fails!(try_bind(V4, v4((192, 0, 2, 1), 0)), ErrorCode::AddressNotBindable);
    fails!(try_bind(V6, v6((0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 0)), ErrorCode::AddressNotBindable);
    Ok(())
}

fn stream() -> Check {
    for family in FAMILIES {
        let socket = ok!(create_udp_socket(family));
        fails!(socket.stream(None), ErrorCode::InvalidState);
        fails!(socket.stream(Some(loopback(family, 7))), ErrorCode::InvalidState);
        fails!(socket.remote_address(), ErrorCode::InvalidState);
        ok!(bind(&socket, loopback(family, 0)));
        fails!(socket.stream(Some(loopback(family, 0))), ErrorCode::InvalidArgument);
        fails!(socket.stream(Some(unspecified(family, 7))), ErrorCode::InvalidArgument);
        fails!(socket.stream(Some(loopback(other(family), 7))), ErrorCode::InvalidArgument);
        drop(ok!(socket.stream(None)));
        fails!(socket.remote_address(), ErrorCode::InvalidState);
        let peer = bound(family)?.address;
        drop(ok!(socket.stream(Some(peer))));
        equal!(text(ok!(socket.remote_address())), text(peer));
        // It may be changed, and taken back.
        let second = bound(family)?.address;
        drop(ok!(socket.stream(Some(second))));
        equal!(text(ok!(socket.remote_address())), text(second));
        drop(ok!(socket.stream(None)));
        fails!(socket.remote_address(), ErrorCode::InvalidState);
    }
    Ok(())
}

fn echo() -> Check {
    for family in FAMILIES {
        let (near, far) = (bound(family)?, bound(family)?);
        ensure!(ok!(far.from.receive(16)).is_empty());
        let came = far.from.subscribe();
        ensure!(!came.ready());
        near.to.subscribe().block();
        ensure!(ok!(near.to.check_send()) > 0);
        equal!(ok!(near.to.send(&[])), 0);
        // What a datagram holds may be nothing, and its bounds are kept.
        for data in [&b"one"[..], b"", &[7; 1400], b"last"] {
            ok!(send(&near.to, data, Some(far.address)));
            came.block();
            ensure!(ok!(far.from.receive(0)).is_empty());
            let heard = some!(receive(&far.from)?);
            equal!(heard.data, data);
            equal!(text(heard.remote_address), text(near.address));
            ok!(send(&far.to, &heard.data, Some(heard.remote_address)));
            let back = some!(receive(&near.from)?);
            equal!(back.data, data);
            equal!(text(back.remote_address), text(far.address));
        }
        let mut sent = 0;
        while sent < 10 {
            let room = ok!(near.to.check_send()).min(10 - sent);
            let datagram = |number| OutgoingDatagram { data: vec![number as u8], remote_address: Some(far.address) };
            sent += ok!(near.to.send(&(sent..sent + room).map(datagram).collect::<Vec<_>>()));
            near.to.subscribe().block();
        }
        let mut heard = Vec::new();
        while heard.len() < 10 {
            came.block();
            let batch = ok!(far.from.receive(3));
            ensure!(batch.len() <= 3);
            heard.extend(batch.into_iter().map(|datagram| datagram.data));
        }
        heard.sort_unstable();
        ensure!(heard == (0..10).map(|number| vec![number]).collect::<Vec<_>>());
    }
    Ok(())
}

/// A socket that is connected to a peer receives from and sends to that peer only.
fn connected() -> Check {
    for family in FAMILIES {
        let (near, far, stranger) = (bound(family)?, bound(family)?, bound(family)?);
        let near = near.stream(Some(far.address), 0)?;
        ok!(send(&near.to, b"without an address", None));
        equal!(some!(receive(&far.from)?).data, b"without an address");
        ok!(send(&near.to, b"with the same", Some(far.address)));
        equal!(some!(receive(&far.from)?).data, b"with the same");
        fails!(send(&near.to, b"elsewhere", Some(stranger.address)), ErrorCode::InvalidArgument);
        ok!(send(&stranger.to, b"from a stranger", Some(near.address)));
        ok!(send(&far.to, b"from the peer", Some(near.address)));
        equal!(some!(receive(&near.from)?).data, b"from the peer");
        ensure!(ok!(near.from.receive(1)).is_empty());
    }
    Ok(())
}

/// A port that the host chose stays, as does one that the program named.
fn keeps_port() -> Check {
    for family in FAMILIES {
        let socket = ok!(create_udp_socket(family));
        ok!(bind(&socket, loopback(family, 0)));
        let address = ok!(socket.local_address());
        drop(ok!(socket.stream(Some(bound(family)?.address))));
        equal!(text(ok!(socket.local_address())), text(address));
        drop(ok!(socket.stream(None)));
        equal!(text(ok!(socket.local_address())), text(address));
    }
    Ok(())
}

/// How long the engine may keep a stream that was waited on: a request for another one before that traps.
const PAUSE: u64 = 50_000_000;

/// A socket that was waited on is given a peer, then set free again.
fn streams_again() -> Check {
    for family in FAMILIES {
        // A port that it names itself: see `keeps_port`.
        let address = bound(family)?.address;
        let (near, far, stranger) = (bound_at(address, family)?, bound(family)?, bound(family)?);
        ensure!(ok!(near.from.receive(1)).is_empty());
        let near = near.stream(Some(far.address), PAUSE)?;
        ok!(send(&far.to, b"from the peer", Some(near.address)));
        equal!(some!(receive(&near.from)?).data, b"from the peer");
        ensure!(ok!(near.from.receive(1)).is_empty());
        let near = near.stream(None, PAUSE)?;
        ok!(send(&stranger.to, b"now", Some(near.address)));
        equal!(some!(receive(&near.from)?).data, b"now");
        ok!(send(&near.to, b"there", Some(stranger.address)));
        equal!(some!(receive(&stranger.from)?).data, b"there");
    }
    Ok(())
}

fn refused() -> Check {
    for family in FAMILIES {
        let near = bound(family)?;
        fails!(send(&near.to, b"x", Some(loopback(family, 0))), ErrorCode::InvalidArgument);
        fails!(send(&near.to, b"x", Some(unspecified(family, 7))), ErrorCode::InvalidArgument);
        fails!(send(&near.to, b"x", Some(loopback(other(family), 7))), ErrorCode::InvalidArgument);
        // It is as good as before.
        let far = bound(family)?;
        ok!(send(&near.to, b"well", Some(far.address)));
        equal!(some!(receive(&far.from)?).data, b"well");
    }
    Ok(())
}

fn unconnected() -> Check {
    for family in FAMILIES {
        fails!(send(&bound(family)?.to, b"x", None), ErrorCode::InvalidArgument);
    }
    Ok(())
}

fn too_large() -> Check {
    for family in FAMILIES {
        let near = bound(family)?;
        fails!(send(&near.to, &[0; 70_000], Some(near.address)), ErrorCode::DatagramTooLarge);
    }
    Ok(())
}

fn options() -> Check {
    for family in FAMILIES {
        let socket = ok!(create_udp_socket(family));
        ensure!(ok!(socket.unicast_hop_limit()) > 0);
        for limit in [1, 64, 255] {
            ok!(socket.set_unicast_hop_limit(limit));
            equal!(ok!(socket.unicast_hop_limit()), limit);
        }
        fails!(socket.set_unicast_hop_limit(0), ErrorCode::InvalidArgument);
        ensure!(ok!(socket.receive_buffer_size()) > 0 && ok!(socket.send_buffer_size()) > 0);
        fails!(socket.set_receive_buffer_size(0), ErrorCode::InvalidArgument);
        fails!(socket.set_send_buffer_size(0), ErrorCode::InvalidArgument);
        for size in [1, 64 * 1024, u64::MAX] {
            ok!(socket.set_receive_buffer_size(size));
            ok!(socket.set_send_buffer_size(size));
            ensure!(ok!(socket.receive_buffer_size()) > 0 && ok!(socket.send_buffer_size()) > 0);
        }
    }
    Ok(())
}
