//! Tests of `wasi:sockets`: UDP.

use wasip3::sockets::types::{ErrorCode, IpAddressFamily, IpSocketAddress, UdpSocket};

use crate::conform::{Good, Outcome, Test, both, within};
use crate::net::{V4, V6, local, port, v4, v6};

const SEND: &str = "wasi:sockets/types#[method]udp-socket.send";
const RECEIVE: &str = "wasi:sockets/types#[method]udp-socket.receive";
const CONNECT: &str = "wasi:sockets/types#[method]udp-socket.connect";

pub const TESTS: &[Test] = &[
    test!(
        "udp-create",
        create,
        ["wasi:sockets/types#[static]udp-socket.create", "wasi:sockets/types#[method]udp-socket.get-address-family"]
    ),
    test!(
        "udp-bind",
        bind,
        ["wasi:sockets/types#[method]udp-socket.bind", "wasi:sockets/types#[method]udp-socket.get-local-address"]
    ),
    test!("udp-send-receive", send_receive, [SEND, RECEIVE]),
    test!("udp-send-refused", send_refused, [SEND]),
    test!("udp-send-too-large", send_too_large, [SEND]),
    test!("udp-receive-unbound", receive_unbound, [RECEIVE]),
    test!("udp-receive-cancelled", receive_cancelled, [SEND, RECEIVE]),
    test!("udp-connect", connect, [CONNECT, SEND, RECEIVE, "wasi:sockets/types#[method]udp-socket.get-remote-address"]),
    test!("udp-connect-invalid", connect_invalid, [CONNECT]),
    test!("udp-connect-again", connect_again, [CONNECT, SEND]),
    test!("udp-disconnect", disconnect, ["wasi:sockets/types#[method]udp-socket.disconnect", CONNECT, SEND]),
    test!(
        "udp-hop-limit",
        hop_limit,
        [
            "wasi:sockets/types#[method]udp-socket.get-unicast-hop-limit",
            "wasi:sockets/types#[method]udp-socket.set-unicast-hop-limit"
        ]
    ),
    test!(
        "udp-buffer-sizes",
        buffer_sizes,
        [
            "wasi:sockets/types#[method]udp-socket.get-receive-buffer-size",
            "wasi:sockets/types#[method]udp-socket.set-receive-buffer-size",
            "wasi:sockets/types#[method]udp-socket.get-send-buffer-size",
            "wasi:sockets/types#[method]udp-socket.set-send-buffer-size"
        ]
    ),
];

/// A socket that is bound, and its address.
fn bound(family: IpAddressFamily) -> Result<(UdpSocket, IpSocketAddress), String> {
    let socket = UdpSocket::create(family).good()?;
    socket.bind(local(family, 0)).good()?;
    let address = socket.get_local_address().good()?;
    Ok((socket, address))
}

async fn create() -> Outcome {
    for family in [V4, V6] {
        let socket = UdpSocket::create(family).good()?;
        same!(socket.get_address_family(), family);
        fails!(socket.get_local_address(), ErrorCode::InvalidState);
        fails!(socket.get_remote_address(), ErrorCode::InvalidState);
    }
    Ok(())
}

async fn bind() -> Outcome {
    for family in [V4, V6] {
        let (socket, address) = bound(family)?;
        ensure!(port(address) != 0);
        same!(address, local(family, port(address)));
        fails!(socket.bind(local(family, 0)), ErrorCode::InvalidState);
        fails!(socket.get_remote_address(), ErrorCode::InvalidState);
        let other = UdpSocket::create(family).good()?;
        fails!(other.bind(address), ErrorCode::AddressInUse);
        let wrong = if family == V4 { V6 } else { V4 };
        fails!(other.bind(local(wrong, 0)), ErrorCode::InvalidArgument);
    }
    // An address that is for documentation, which no machine has.
    fails!(UdpSocket::create(V4).good()?.bind(v4((192, 0, 2, 1), 0)), ErrorCode::AddressNotBindable);
    Ok(())
}

async fn send_receive() -> Outcome {
    for family in [V4, V6] {
        let (server, address) = bound(family)?;
        let client = UdpSocket::create(family).good()?;
        client.send(b"hello".to_vec(), Some(address)).await.good()?;
        // Sending has bound it.
        let from = port(client.get_local_address().good()?);
        let (data, peer) = server.receive().await.good()?;
        same!(String::from_utf8_lossy(&data), "hello");
        same!(peer, local(family, from));
        let (sent, received) = both(server.send(Vec::new(), Some(peer)), client.receive()).await;
        sent.good()?;
        let (data, peer) = received.good()?;
        same!(data.len(), 0);
        same!(peer, address);
        client.send(vec![7; 9000], Some(address)).await.good()?;
        same!(server.receive().await.good()?.0.len(), 9000);
    }
    Ok(())
}

async fn send_refused() -> Outcome {
    let send = async |family: IpAddressFamily, to: Option<IpSocketAddress>| {
        Ok::<_, String>(UdpSocket::create(family).good()?.send(b"lost".to_vec(), to).await)
    };
    fails!(send(V4, None).await?, ErrorCode::InvalidArgument);
    fails!(send(V4, Some(local(V6, 80))).await?, ErrorCode::InvalidArgument);
    fails!(send(V6, Some(local(V4, 80))).await?, ErrorCode::InvalidArgument);
    fails!(send(V4, Some(local(V4, 0))).await?, ErrorCode::InvalidArgument);
    fails!(send(V4, Some(v4((0, 0, 0, 0), 80))).await?, ErrorCode::InvalidArgument);
    fails!(send(V6, Some(v6((0, 0, 0, 0, 0, 0, 0, 0), 80))).await?, ErrorCode::InvalidArgument);
    Ok(())
}

async fn send_too_large() -> Outcome {
    let (_server, address) = bound(V4)?;
    let client = UdpSocket::create(V4).good()?;
    // More than an IPv4 packet can carry, and not yet more than 64 KiB, at which a host may end the guest.
    fails!(client.send(vec![0; 65_530], Some(address)).await, ErrorCode::DatagramTooLarge);
    Ok(())
}

async fn receive_unbound() -> Outcome {
    fails!(UdpSocket::create(V4).good()?.receive().await, ErrorCode::InvalidState);
    Ok(())
}

async fn receive_cancelled() -> Outcome {
    let (server, address) = bound(V4)?;
    ensure!(within(20_000_000, server.receive()).await.is_none());
    let (client, _) = bound(V4)?;
    client.send(b"late".to_vec(), Some(address)).await.good()?;
    same!(String::from_utf8_lossy(&server.receive().await.good()?.0), "late");
    Ok(())
}

async fn connect() -> Outcome {
    for family in [V4, V6] {
        let (server, address) = bound(family)?;
        let client = UdpSocket::create(family).good()?;
        client.connect(address).good()?;
        same!(client.get_remote_address().good()?, address);
        // The address may still be the unspecified one; the port is there.
        let from = local(family, port(client.get_local_address().good()?));
        client.send(b"one".to_vec(), None).await.good()?;
        client.send(b"two".to_vec(), Some(address)).await.good()?;
        for wanted in ["one", "two"] {
            let (data, peer) = server.receive().await.good()?;
            same!(String::from_utf8_lossy(&data), wanted);
            same!(peer, from);
        }
        let (other, elsewhere) = bound(family)?;
        fails!(client.send(b"lost".to_vec(), Some(elsewhere)).await, ErrorCode::InvalidArgument);
        // What others send does not come through.
        other.send(b"stranger".to_vec(), Some(from)).await.good()?;
        server.send(b"peer".to_vec(), Some(from)).await.good()?;
        let (data, peer) = client.receive().await.good()?;
        same!(String::from_utf8_lossy(&data), "peer");
        same!(peer, address);
    }
    Ok(())
}

async fn connect_invalid() -> Outcome {
    let socket = UdpSocket::create(V4).good()?;
    fails!(socket.connect(local(V6, 80)), ErrorCode::InvalidArgument);
    fails!(socket.connect(local(V4, 0)), ErrorCode::InvalidArgument);
    fails!(socket.connect(v4((0, 0, 0, 0), 80)), ErrorCode::InvalidArgument);
    fails!(socket.get_remote_address(), ErrorCode::InvalidState);
    let socket = UdpSocket::create(V6).good()?;
    fails!(socket.connect(local(V4, 80)), ErrorCode::InvalidArgument);
    fails!(socket.connect(v6((0, 0, 0, 0, 0, 0, 0, 0), 80)), ErrorCode::InvalidArgument);
    Ok(())
}

async fn connect_again() -> Outcome {
    let ((first, one), (second, two)) = (bound(V4)?, bound(V4)?);
    let client = UdpSocket::create(V4).good()?;
    client.connect(one).good()?;
    client.connect(two).good()?;
    same!(client.get_remote_address().good()?, two);
    client.send(b"for two".to_vec(), None).await.good()?;
    same!(String::from_utf8_lossy(&second.receive().await.good()?.0), "for two");
    ensure!(within(20_000_000, first.receive()).await.is_none());
    Ok(())
}

async fn disconnect() -> Outcome {
    let ((_first, one), (second, two)) = (bound(V4)?, bound(V4)?);
    let client = UdpSocket::create(V4).good()?;
    fails!(client.disconnect(), ErrorCode::InvalidState);
    client.connect(one).good()?;
    client.disconnect().good()?;
    fails!(client.get_remote_address(), ErrorCode::InvalidState);
    fails!(client.disconnect(), ErrorCode::InvalidState);
    fails!(client.send(b"lost".to_vec(), None).await, ErrorCode::InvalidArgument);
    client.send(b"anywhere".to_vec(), Some(two)).await.good()?;
    same!(String::from_utf8_lossy(&second.receive().await.good()?.0), "anywhere");
    Ok(())
}

async fn hop_limit() -> Outcome {
    for family in [V4, V6] {
        let socket = UdpSocket::create(family).good()?;
        ensure!(socket.get_unicast_hop_limit().good()? > 0);
        for value in [1, 42, 255] {
            socket.set_unicast_hop_limit(value).good()?;
            same!(socket.get_unicast_hop_limit().good()?, value);
        }
        fails!(socket.set_unicast_hop_limit(0), ErrorCode::InvalidArgument);
        same!(socket.get_unicast_hop_limit().good()?, 255);
    }
    Ok(())
}

async fn buffer_sizes() -> Outcome {
    for family in [V4, V6] {
        let socket = UdpSocket::create(family).good()?;
        ensure!(socket.get_receive_buffer_size().good()? > 0);
        ensure!(socket.get_send_buffer_size().good()? > 0);
        fails!(socket.set_receive_buffer_size(0), ErrorCode::InvalidArgument);
        fails!(socket.set_send_buffer_size(0), ErrorCode::InvalidArgument);
        for value in [1, 0x10000, u64::MAX] {
            socket.set_receive_buffer_size(value).good()?;
            ensure!(socket.get_receive_buffer_size().good()? > 0);
            socket.set_send_buffer_size(value).good()?;
            ensure!(socket.get_send_buffer_size().good()? > 0);
        }
    }
    Ok(())
}
