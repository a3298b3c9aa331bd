//! Tests of `wasi:sockets`: the states and the options of TCP sockets.

use wasip3::sockets::types::{ErrorCode, IpAddressFamily, TcpSocket};

use crate::conform::{Good, Outcome, Test, both, within};
use crate::net::{LOCAL4, MAPPED, V4, V6, listener, local, pair, port, v4, v6};

pub const TESTS: &[Test] = &[
    test!(
        "tcp-create",
        create,
        ["wasi:sockets/types#[static]tcp-socket.create", "wasi:sockets/types#[method]tcp-socket.get-address-family"]
    ),
    test!(
        "tcp-bind",
        bind,
        ["wasi:sockets/types#[method]tcp-socket.bind", "wasi:sockets/types#[method]tcp-socket.get-local-address"]
    ),
    test!("tcp-bind-refused", bind_refused, ["wasi:sockets/types#[method]tcp-socket.bind"]),
    test!("tcp-bind-mapped", bind_mapped, ["wasi:sockets/types#[method]tcp-socket.bind"]),
    test!(
        "tcp-connect",
        connect,
        [
            "wasi:sockets/types#[method]tcp-socket.connect",
            "wasi:sockets/types#[method]tcp-socket.get-local-address",
            "wasi:sockets/types#[method]tcp-socket.get-remote-address"
        ]
    ),
    test!("tcp-connect-refused", connect_refused, ["wasi:sockets/types#[method]tcp-socket.connect"]),
    test!("tcp-connect-invalid", connect_invalid, ["wasi:sockets/types#[method]tcp-socket.connect"]),
    test!(
        "tcp-listen",
        listen,
        ["wasi:sockets/types#[method]tcp-socket.listen", "wasi:sockets/types#[method]tcp-socket.get-is-listening"]
    ),
    test!("tcp-listen-many", listen_many, ["wasi:sockets/types#[method]tcp-socket.listen"]),
    test!("tcp-listen-unbound", listen_unbound, ["wasi:sockets/types#[method]tcp-socket.listen"]),
    test!("tcp-listen-cancelled", listen_cancelled, ["wasi:sockets/types#[method]tcp-socket.listen"]),
    test!("tcp-listen-released", listen_released, ["wasi:sockets/types#[method]tcp-socket.listen"]),
    test!("tcp-backlog", backlog, ["wasi:sockets/types#[method]tcp-socket.set-listen-backlog-size"]),
    test!(
        "tcp-keep-alive",
        keep_alive,
        [
            "wasi:sockets/types#[method]tcp-socket.get-keep-alive-enabled",
            "wasi:sockets/types#[method]tcp-socket.set-keep-alive-enabled",
            "wasi:sockets/types#[method]tcp-socket.get-keep-alive-idle-time",
            "wasi:sockets/types#[method]tcp-socket.set-keep-alive-idle-time",
            "wasi:sockets/types#[method]tcp-socket.get-keep-alive-interval",
            "wasi:sockets/types#[method]tcp-socket.set-keep-alive-interval",
            "wasi:sockets/types#[method]tcp-socket.get-keep-alive-count",
            "wasi:sockets/types#[method]tcp-socket.set-keep-alive-count"
        ]
    ),
    test!(
        "tcp-hop-limit",
        hop_limit,
        ["wasi:sockets/types#[method]tcp-socket.get-hop-limit", "wasi:sockets/types#[method]tcp-socket.set-hop-limit"]
    ),
    test!(
        "tcp-buffer-sizes",
        buffer_sizes,
        [
            "wasi:sockets/types#[method]tcp-socket.get-receive-buffer-size",
            "wasi:sockets/types#[method]tcp-socket.set-receive-buffer-size",
            "wasi:sockets/types#[method]tcp-socket.get-send-buffer-size",
            "wasi:sockets/types#[method]tcp-socket.set-send-buffer-size"
        ]
    ),
    test!(
        "tcp-inherited",
        inherited,
        [
            "wasi:sockets/types#[method]tcp-socket.listen",
            "wasi:sockets/types#[method]tcp-socket.get-hop-limit",
            "wasi:sockets/types#[method]tcp-socket.get-keep-alive-enabled",
            "wasi:sockets/types#[method]tcp-socket.get-keep-alive-idle-time",
            "wasi:sockets/types#[method]tcp-socket.get-keep-alive-interval",
            "wasi:sockets/types#[method]tcp-socket.get-keep-alive-count"
        ]
    ),
];

const SECOND: u64 = 1_000_000_000;

async fn create() -> Outcome {
    for family in [V4, V6] {
        let socket = TcpSocket::create(family).good()?;
        same!(socket.get_address_family(), family);
        ensure!(!socket.get_is_listening());
        fails!(socket.get_local_address(), ErrorCode::InvalidState);
        fails!(socket.get_remote_address(), ErrorCode::InvalidState);
    }
    Ok(())
}

async fn bind() -> Outcome {
    for family in [V4, V6] {
        let socket = TcpSocket::create(family).good()?;
        socket.bind(local(family, 0)).good()?;
        let address = socket.get_local_address().good()?;
        ensure!(port(address) != 0);
        same!(address, local(family, port(address)));
        fails!(socket.get_remote_address(), ErrorCode::InvalidState);
        fails!(socket.bind(local(family, 0)), ErrorCode::InvalidState);
    }
    Ok(())
}

async fn bind_refused() -> Outcome {
    let socket = TcpSocket::create(V4).good()?;
    fails!(socket.bind(local(V6, 0)), ErrorCode::InvalidArgument);
    fails!(socket.bind(v4((224, 0, 0, 1), 0)), ErrorCode::InvalidArgument);
    fails!(socket.bind(v4((255, 255, 255, 255), 0)), ErrorCode::InvalidArgument);
    // An address that is for documentation, which no machine has.
    fails!(socket.bind(v4((192, 0, 2, 1), 0)), ErrorCode::AddressNotBindable);
    let (_listener, _accepted, taken) = listener(V4)?;
    fails!(socket.bind(taken), ErrorCode::AddressInUse);
    // After failures it still can be bound.
    socket.bind(local(V4, 0)).good()?;
    let socket = TcpSocket::create(V6).good()?;
    fails!(socket.bind(local(V4, 0)), ErrorCode::InvalidArgument);
    fails!(socket.bind(v6((0xff02, 0, 0, 0, 0, 0, 0, 1), 0)), ErrorCode::InvalidArgument);
    Ok(())
}

async fn bind_mapped() -> Outcome {
    fails!(TcpSocket::create(V6).good()?.bind(v6(MAPPED, 0)), ErrorCode::InvalidArgument);
    Ok(())
}

async fn connect() -> Outcome {
    for family in [V4, V6] {
        let (_listener, mut accepted, address) = listener(family)?;
        let client = TcpSocket::create(family).good()?;
        let (connected, server) = both(client.connect(address), accepted.next()).await;
        connected.good()?;
        let server = server.good()?;
        same!(client.get_remote_address().good()?, address);
        same!(server.get_local_address().good()?, address);
        same!(server.get_remote_address().good()?, client.get_local_address().good()?);
        same!(server.get_address_family(), family);
        ensure!(!client.get_is_listening() && !server.get_is_listening());
        fails!(client.connect(address).await, ErrorCode::InvalidState);
        fails!(client.bind(local(family, 0)), ErrorCode::InvalidState);
        fails!(client.listen(), ErrorCode::InvalidState);
        fails!(server.connect(address).await, ErrorCode::InvalidState);
    }
    Ok(())
}

async fn connect_refused() -> Outcome {
    for family in [V4, V6] {
        // A port that was just released has no listener.
        let socket = TcpSocket::create(family).good()?;
        socket.bind(local(family, 0)).good()?;
        let address = socket.get_local_address().good()?;
        drop(socket);
        let socket = TcpSocket::create(family).good()?;
        fails!(socket.connect(address).await, ErrorCode::ConnectionRefused);
        // It is closed now.
        fails!(socket.connect(address).await, ErrorCode::InvalidState);
        ensure!(socket.get_remote_address().is_err());
        fails!(socket.listen(), ErrorCode::InvalidState);
    }
    Ok(())
}

async fn connect_invalid() -> Outcome {
    let new = |family: IpAddressFamily| TcpSocket::create(family).good();
    fails!(new(V4)?.connect(local(V6, 80)).await, ErrorCode::InvalidArgument);
    fails!(new(V6)?.connect(local(V4, 80)).await, ErrorCode::InvalidArgument);
    fails!(new(V4)?.connect(local(V4, 0)).await, ErrorCode::InvalidArgument);
    fails!(new(V6)?.connect(local(V6, 0)).await, ErrorCode::InvalidArgument);
    fails!(new(V4)?.connect(v4((0, 0, 0, 0), 80)).await, ErrorCode::InvalidArgument);
    fails!(new(V6)?.connect(v6((0, 0, 0, 0, 0, 0, 0, 0), 80)).await, ErrorCode::InvalidArgument);
    fails!(new(V4)?.connect(v4((224, 0, 0, 1), 80)).await, ErrorCode::InvalidArgument);
    fails!(new(V4)?.connect(v4((255, 255, 255, 255), 80)).await, ErrorCode::InvalidArgument);
    fails!(new(V6)?.connect(v6(MAPPED, 80)).await, ErrorCode::InvalidArgument);
    let (listening, _accepted, address) = listener(V4)?;
    fails!(listening.connect(address).await, ErrorCode::InvalidState);
    Ok(())
}

async fn listen() -> Outcome {
    for family in [V4, V6] {
        let (listening, accepted, address) = listener(family)?;
        ensure!(listening.get_is_listening());
        fails!(listening.listen(), ErrorCode::InvalidState);
        fails!(listening.bind(local(family, 0)), ErrorCode::InvalidState);
        same!(listening.get_local_address().good()?, address);
        fails!(listening.get_remote_address(), ErrorCode::InvalidState);
        drop(accepted);
    }
    Ok(())
}

async fn listen_many() -> Outcome {
    let (listening, mut accepted, address) = listener(V4)?;
    // The stream goes on without the socket that it came from.
    drop(listening);
    let mut clients = Vec::new();
    for _ in 0..20 {
        let client = TcpSocket::create(V4).good()?;
        client.connect(address).await.good()?;
        clients.push(client.get_local_address().good()?);
        let server = accepted.next().await.good()?;
        same!(server.get_remote_address().good()?, clients[clients.len() - 1]);
    }
    // Connections wait until they are accepted.
    let waiting: Vec<_> = (0..5).map(|_| TcpSocket::create(V4).good()).collect::<Result<_, _>>()?;
    for client in &waiting {
        client.connect(address).await.good()?;
    }
    for client in &waiting {
        let server = accepted.next().await.good()?;
        same!(server.get_remote_address().good()?, client.get_local_address().good()?);
    }
    Ok(())
}

async fn listen_unbound() -> Outcome {
    for family in [V4, V6] {
        let socket = TcpSocket::create(family).good()?;
        let mut accepted = socket.listen().good()?;
        let port = port(socket.get_local_address().good()?);
        ensure!(port != 0);
        let client = TcpSocket::create(family).good()?;
        let (connected, server) = both(client.connect(local(family, port)), accepted.next()).await;
        connected.good()?;
        ensure!(server.is_some());
    }
    Ok(())
}

async fn listen_cancelled() -> Outcome {
    let (_listening, mut accepted, address) = listener(V4)?;
    ensure!(within(SECOND / 50, accepted.next()).await.is_none());
    let client = TcpSocket::create(V4).good()?;
    let (connected, server) = both(client.connect(address), accepted.next()).await;
    connected.good()?;
    ensure!(server.is_some());
    Ok(())
}

/// With the last handle the port is free again.
async fn listen_released() -> Outcome {
    let (listening, accepted, address) = listener(V4)?;
    drop(listening);
    drop(accepted);
    let socket = TcpSocket::create(V4).good()?;
    fails!(socket.connect(address).await, ErrorCode::ConnectionRefused);
    let again = TcpSocket::create(V4).good()?;
    again.bind(address).good()?;
    again.listen().good()?;
    Ok(())
}

async fn backlog() -> Outcome {
    let socket = TcpSocket::create(V4).good()?;
    fails!(socket.set_listen_backlog_size(0), ErrorCode::InvalidArgument);
    socket.set_listen_backlog_size(1).good()?;
    socket.set_listen_backlog_size(u64::MAX).good()?;
    socket.bind(local(V4, 0)).good()?;
    let _accepted = socket.listen().good()?;
    let changed = socket.set_listen_backlog_size(16);
    ensure!(matches!(changed, Ok(()) | Err(ErrorCode::NotSupported)), "{changed:?}");
    let (client, server) = pair(V4).await?;
    fails!(client.set_listen_backlog_size(16), ErrorCode::InvalidState);
    fails!(server.set_listen_backlog_size(16), ErrorCode::InvalidState);
    Ok(())
}

async fn keep_alive() -> Outcome {
    for family in [V4, V6] {
        let (client, _server) = pair(family).await?;
        for socket in [&TcpSocket::create(family).good()?, &client] {
            ensure!(!socket.get_keep_alive_enabled().good()?);
            socket.set_keep_alive_enabled(true).good()?;
            ensure!(socket.get_keep_alive_enabled().good()?);
            socket.set_keep_alive_enabled(false).good()?;
            ensure!(!socket.get_keep_alive_enabled().good()?);
            ensure!(socket.get_keep_alive_idle_time().good()? > 0);
            socket.set_keep_alive_idle_time(42 * SECOND).good()?;
            same!(socket.get_keep_alive_idle_time().good()?, 42 * SECOND);
            ensure!(socket.get_keep_alive_interval().good()? > 0);
            socket.set_keep_alive_interval(43 * SECOND).good()?;
            same!(socket.get_keep_alive_interval().good()?, 43 * SECOND);
            ensure!(socket.get_keep_alive_count().good()? > 0);
            socket.set_keep_alive_count(7).good()?;
            same!(socket.get_keep_alive_count().good()?, 7);
            fails!(socket.set_keep_alive_idle_time(0), ErrorCode::InvalidArgument);
            fails!(socket.set_keep_alive_interval(0), ErrorCode::InvalidArgument);
            fails!(socket.set_keep_alive_count(0), ErrorCode::InvalidArgument);
            // Any other value is taken, perhaps as another.
            for value in [1, u64::MAX] {
                socket.set_keep_alive_idle_time(value).good()?;
                ensure!(socket.get_keep_alive_idle_time().good()? > 0);
                socket.set_keep_alive_interval(value).good()?;
                ensure!(socket.get_keep_alive_interval().good()? > 0);
            }
            socket.set_keep_alive_count(u32::MAX).good()?;
            ensure!(socket.get_keep_alive_count().good()? > 0);
        }
    }
    Ok(())
}

async fn hop_limit() -> Outcome {
    for family in [V4, V6] {
        let (client, _server) = pair(family).await?;
        for socket in [&TcpSocket::create(family).good()?, &client] {
            ensure!(socket.get_hop_limit().good()? > 0);
            for value in [1, 42, 255] {
                socket.set_hop_limit(value).good()?;
                same!(socket.get_hop_limit().good()?, value);
            }
            fails!(socket.set_hop_limit(0), ErrorCode::InvalidArgument);
            same!(socket.get_hop_limit().good()?, 255);
        }
    }
    Ok(())
}

async fn buffer_sizes() -> Outcome {
    let (client, _server) = pair(V4).await?;
    for socket in [&TcpSocket::create(V4).good()?, &TcpSocket::create(V6).good()?, &client] {
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

async fn inherited() -> Outcome {
    let listening = TcpSocket::create(V4).good()?;
    listening.set_hop_limit(42).good()?;
    listening.set_keep_alive_enabled(true).good()?;
    listening.set_keep_alive_idle_time(42 * SECOND).good()?;
    listening.set_keep_alive_interval(43 * SECOND).good()?;
    listening.set_keep_alive_count(7).good()?;
    listening.bind(v4(LOCAL4, 0)).good()?;
    let mut accepted = listening.listen().good()?;
    let client = TcpSocket::create(V4).good()?;
    let (connected, server) = both(client.connect(listening.get_local_address().good()?), accepted.next()).await;
    connected.good()?;
    let server = server.good()?;
    same!(server.get_hop_limit().good()?, 42);
    ensure!(server.get_keep_alive_enabled().good()?);
    same!(server.get_keep_alive_idle_time().good()?, 42 * SECOND);
    same!(server.get_keep_alive_interval().good()?, 43 * SECOND);
    same!(server.get_keep_alive_count().good()?, 7);
    Ok(())
}
