//! wasi:sockets/tcp: the settings of a socket.

use wasip2::sockets::network::ErrorCode;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

use crate::Test;
use crate::conform::Check;
use crate::network::{V4, V6, bind, connect_to, listen, listener, loopback};

pub const TESTS: &[Test] = &[
    Test::new("tcp-backlog", backlog, &["wasi:sockets/tcp#[method]tcp-socket.set-listen-backlog-size"]),
    Test::new(
        "tcp-keep-alive",
        keep_alive,
        &[
            "wasi:sockets/tcp#[method]tcp-socket.keep-alive-enabled",
            "wasi:sockets/tcp#[method]tcp-socket.set-keep-alive-enabled",
            "wasi:sockets/tcp#[method]tcp-socket.keep-alive-idle-time",
            "wasi:sockets/tcp#[method]tcp-socket.set-keep-alive-idle-time",
            "wasi:sockets/tcp#[method]tcp-socket.keep-alive-interval",
            "wasi:sockets/tcp#[method]tcp-socket.set-keep-alive-interval",
            "wasi:sockets/tcp#[method]tcp-socket.keep-alive-count",
            "wasi:sockets/tcp#[method]tcp-socket.set-keep-alive-count",
        ],
    ),
    Test::new(
        "tcp-hop-limit",
        hop_limit,
        &["wasi:sockets/tcp#[method]tcp-socket.hop-limit", "wasi:sockets/tcp#[method]tcp-socket.set-hop-limit"],
    ),
    Test::new(
        "tcp-buffers",
        buffers,
        &[
            "wasi:sockets/tcp#[method]tcp-socket.receive-buffer-size",
            "wasi:sockets/tcp#[method]tcp-socket.set-receive-buffer-size",
            "wasi:sockets/tcp#[method]tcp-socket.send-buffer-size",
            "wasi:sockets/tcp#[method]tcp-socket.set-send-buffer-size",
        ],
    ),
    Test::new("tcp-inherited", inherited, &["wasi:sockets/tcp#[method]tcp-socket.accept"]),
];

const SECOND: u64 = 1_000_000_000;

fn backlog() -> Check {
    for family in [V4, V6] {
        let socket = ok!(create_tcp_socket(family));
        fails!(socket.set_listen_backlog_size(0), ErrorCode::InvalidArgument);
        ok!(socket.set_listen_backlog_size(1));
        ok!(socket.set_listen_backlog_size(u64::MAX));
        ok!(socket.set_listen_backlog_size(16));
        ok!(bind(&socket, loopback(family, 0)));
        ok!(listen(&socket));
        fails!(socket.set_listen_backlog_size(0), ErrorCode::InvalidArgument);
        ensure!(matches!(socket.set_listen_backlog_size(8), Ok(()) | Err(ErrorCode::NotSupported)));
        let pair = connect_to(&socket, ok!(socket.local_address()))?;
        fails!(pair.near.set_listen_backlog_size(8), ErrorCode::InvalidState);
        fails!(pair.far.set_listen_backlog_size(8), ErrorCode::InvalidState);
    }
    Ok(())
}

fn keep_alive() -> Check {
    for family in [V4, V6] {
        let socket = ok!(create_tcp_socket(family));
        ok!(socket.keep_alive_enabled());
        for on in [true, false, true] {
            ok!(socket.set_keep_alive_enabled(on));
            equal!(ok!(socket.keep_alive_enabled()), on);
        }
        ensure!(ok!(socket.keep_alive_idle_time()) > 0);
        ok!(socket.set_keep_alive_idle_time(100 * SECOND));
        equal!(ok!(socket.keep_alive_idle_time()), 100 * SECOND);
        fails!(socket.set_keep_alive_idle_time(0), ErrorCode::InvalidArgument);
        ensure!(ok!(socket.keep_alive_interval()) > 0);
        ok!(socket.set_keep_alive_interval(20 * SECOND));
        equal!(ok!(socket.keep_alive_interval()), 20 * SECOND);
        fails!(socket.set_keep_alive_interval(0), ErrorCode::InvalidArgument);
        ensure!(ok!(socket.keep_alive_count()) > 0);
        ok!(socket.set_keep_alive_count(5));
        equal!(ok!(socket.keep_alive_count()), 5);
        fails!(socket.set_keep_alive_count(0), ErrorCode::InvalidArgument);
        // Anything else is taken, and rounded.
        for extreme in [1, u64::MAX] {
            ok!(socket.set_keep_alive_idle_time(extreme));
            ensure!(ok!(socket.keep_alive_idle_time()) > 0);
            ok!(socket.set_keep_alive_interval(extreme));
            ensure!(ok!(socket.keep_alive_interval()) > 0);
            ok!(socket.set_keep_alive_count(extreme as u32));
            ensure!(ok!(socket.keep_alive_count()) > 0);
        }
    }
    Ok(())
}

fn hop_limit() -> Check {
    for family in [V4, V6] {
        let socket = ok!(create_tcp_socket(family));
        ensure!(ok!(socket.hop_limit()) > 0);
        for limit in [1, 64, 255] {
            ok!(socket.set_hop_limit(limit));
            equal!(ok!(socket.hop_limit()), limit);
        }
        fails!(socket.set_hop_limit(0), ErrorCode::InvalidArgument);
        equal!(ok!(socket.hop_limit()), 255);
    }
    Ok(())
}

fn buffers() -> Check {
    for family in [V4, V6] {
        let socket = ok!(create_tcp_socket(family));
        ensure!(ok!(socket.receive_buffer_size()) > 0 && ok!(socket.send_buffer_size()) > 0);
        fails!(socket.set_receive_buffer_size(0), ErrorCode::InvalidArgument);
        fails!(socket.set_send_buffer_size(0), ErrorCode::InvalidArgument);
        // Anything else is taken, and rounded.
        for size in [1, 64 * 1024, u64::MAX] {
            ok!(socket.set_receive_buffer_size(size));
            ok!(socket.set_send_buffer_size(size));
            ensure!(ok!(socket.receive_buffer_size()) > 0 && ok!(socket.send_buffer_size()) > 0);
        }
        ok!(socket.set_receive_buffer_size(16 * 1024));
        ok!(socket.set_send_buffer_size(16 * 1024));
        ensure!(ok!(socket.receive_buffer_size()) >= 16 * 1024 && ok!(socket.send_buffer_size()) >= 16 * 1024);
    }
    Ok(())
}

/// What is set on a listener holds for what it accepts.
fn inherited() -> Check {
    for family in [V4, V6] {
        let (listener, address) = listener(family)?;
        ok!(listener.set_keep_alive_enabled(true));
        ok!(listener.set_keep_alive_idle_time(100 * SECOND));
        ok!(listener.set_keep_alive_interval(20 * SECOND));
        ok!(listener.set_keep_alive_count(5));
        ok!(listener.set_hop_limit(42));
        let far = connect_to(&listener, address)?.far;
        equal!(far.address_family(), family);
        ensure!(ok!(far.keep_alive_enabled()));
        equal!(ok!(far.keep_alive_idle_time()), 100 * SECOND);
        equal!(ok!(far.keep_alive_interval()), 20 * SECOND);
        equal!(ok!(far.keep_alive_count()), 5);
        equal!(ok!(far.hop_limit()), 42);
    }
    Ok(())
}
