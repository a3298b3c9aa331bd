//! What the attempts need that WASI 0.2 does in its own way: bytes, output, sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wasip2::filesystem::types::{Descriptor, filesystem_error_code};
use wasip2::io::poll::Pollable;
use wasip2::io::streams::{OutputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp::{OutgoingDatagram, UdpSocket};
use wasip2::sockets::udp_create_socket::create_udp_socket;

use crate::Outcome;

pub async fn print(text: String) {
    let out = wasip2::cli::stdout::get_stdout();
    for piece in text.as_bytes().chunks(4096) {
        out.blocking_write_and_flush(piece).unwrap();
    }
}

pub fn initial_folder() -> Option<String> {
    wasip2::cli::environment::initial_cwd()
}

fn short(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned()
}

/// The start of a file.
pub async fn read(file: &Descriptor) -> Outcome {
    call!(file.read(100, 0)).map(|(bytes, _)| short(&bytes))
}

pub async fn write(file: &Descriptor) -> Outcome {
    call!(file.write(b"broken", 0)).map(|count| format!("wrote {count} bytes"))
}

fn through(stream: OutputStream) -> Outcome {
    match stream.blocking_write_and_flush(b"broken") {
        Ok(()) => Ok("wrote through a stream".into()),
        Err(StreamError::Closed) => Err("closed".into()),
        Err(StreamError::LastOperationFailed(error)) => match filesystem_error_code(&error) {
            Some(code) => Err(format!("{} (stream)", code.name())),
            None => Err(error.to_debug_string()),
        },
    }
}

pub async fn write_stream(file: &Descriptor) -> Outcome {
    through(call!(file.write_via_stream(0))?)
}

pub async fn append_stream(file: &Descriptor) -> Outcome {
    through(call!(file.append_via_stream())?)
}

pub async fn list(dir: &Descriptor) -> Result<Vec<String>, String> {
    let entries = call!(dir.read_directory())?;
    let mut names = Vec::new();
    while let Some(entry) = call!(entries.read_directory_entry())? {
        names.push(entry.name);
    }
    names.sort();
    names.truncate(10);
    Ok(names)
}

fn family(address: SocketAddr) -> IpAddressFamily {
    if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 }
}

fn to_wasi(address: SocketAddr) -> IpSocketAddress {
    let port = address.port();
    match address.ip() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) })
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h] = ip.segments();
            let address = (a, b, c, d, e, f, g, h);
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 })
        }
    }
}

fn from_wasi(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).into(),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => Ipv6Addr::new(a, b, c, d, e, f, g, h).into(),
    }
}

fn unspecified(address: SocketAddr) -> SocketAddr {
    let ip = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(ip, 0)
}

/// Asks again until there is an answer, and names the step that was refused.
fn wait<T>(step: &str, pollable: &Pollable, mut ask: impl FnMut() -> Result<T, ErrorCode>) -> Result<T, String> {
    loop {
        match ask() {
            Err(ErrorCode::WouldBlock) => pollable.block(),
            result => return named(step, result),
        }
    }
}

fn named<T>(step: &str, result: Result<T, ErrorCode>) -> Result<T, String> {
    result.map_err(|code| format!("{} ({step})", code.name()))
}

pub async fn lookup(name: &str) -> Result<Vec<IpAddr>, String> {
    let stream = call!(wasip2::sockets::ip_name_lookup::resolve_addresses(&instance_network(), name))?;
    let mut found = Vec::new();
    loop {
        match stream.resolve_next_address() {
            Ok(Some(address)) => found.push(from_wasi(address)),
            Ok(None) => return Ok(found),
            Err(ErrorCode::WouldBlock) => stream.subscribe().block(),
            Err(code) => return Err(code.name().to_owned()),
        }
    }
}

pub async fn tcp_connect(address: SocketAddr) -> Outcome {
    let socket = named("create", create_tcp_socket(family(address)))?;
    named("connect", socket.start_connect(&instance_network(), to_wasi(address)))?;
    let pollable = socket.subscribe();
    let streams = wait("connect", &pollable, || socket.finish_connect())?;
    drop(streams);
    Ok(format!("connected to {address}"))
}

fn listening(address: Option<SocketAddr>, with: &str) -> Result<TcpSocket, String> {
    let ipv6 = address.map_or(with == "ipv6", |address| address.is_ipv6());
    let socket = create_tcp_socket(if ipv6 { IpAddressFamily::Ipv6 } else { IpAddressFamily::Ipv4 });
    let socket = named("create", socket)?;
    let pollable = socket.subscribe();
    if let Some(address) = address {
        named("bind", socket.start_bind(&instance_network(), to_wasi(address)))?;
        wait("bind", &pollable, || socket.finish_bind())?;
    }
    named("listen", socket.start_listen())?;
    wait("listen", &pollable, || socket.finish_listen())?;
    drop(pollable);
    Ok(socket)
}

pub async fn tcp_listen(address: Option<SocketAddr>, with: &str) -> Outcome {
    listening(address, with).map(|_| "listens".into())
}

/// Waits for a line of input.
pub async fn input() -> String {
    let stdin = wasip2::cli::stdin::get_stdin();
    loop {
        match stdin.blocking_read(1) {
            Ok(bytes) if bytes == b"\n" => return "a line came".into(),
            Ok(_) => {}
            Err(_) => return "the input ended".into(),
        }
    }
}

/// Asks each time that the socket may have something, until it has or a line of input comes.
async fn until_input<T>(pollable: &Pollable, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    print("holds\n".into()).await;
    let stdin = wasip2::cli::stdin::get_stdin();
    let input = stdin.subscribe();
    loop {
        let ready = wasip2::io::poll::poll(&[pollable, &input]);
        let answer = ask();
        if answer.is_some() || ready.contains(&1) {
            return answer;
        }
    }
}

pub async fn tcp_hold(address: SocketAddr) -> Outcome {
    let socket = listening(Some(address), "")?;
    let pollable = socket.subscribe();
    let accepted = until_input(&pollable, || match socket.accept() {
        Ok((accepted, from, to)) => {
            // The streams are the socket's children, so they go first.
            drop((from, to));
            drop(accepted);
            Some("somebody connected".into())
        }
        Err(ErrorCode::WouldBlock) => None,
        Err(code) => Some(format!("nobody connected: {}", code.name())),
    });
    Ok(accepted.await.unwrap_or_else(|| "nobody connected".into()))
}

pub async fn udp_hold(address: SocketAddr) -> Outcome {
    let socket = bound(address)?;
    let (from, _into) = named("connect", socket.stream(None))?;
    let pollable = from.subscribe();
    let received = until_input(&pollable, || match named("receive", from.receive(10)) {
        Ok(datagrams) if datagrams.is_empty() => None,
        Ok(datagrams) => Some(Ok(format!("received {} datagrams", datagrams.len()))),
        Err(code) => Some(Err(code)),
    });
    received.await.unwrap_or_else(|| Ok("received 0 datagrams".into()))
}

fn bound(address: SocketAddr) -> Result<UdpSocket, String> {
    let socket = named("create", create_udp_socket(family(address)))?;
    named("bind", socket.start_bind(&instance_network(), to_wasi(address)))?;
    let pollable = socket.subscribe();
    wait("bind", &pollable, || socket.finish_bind())?;
    drop(pollable);
    Ok(socket)
}

pub async fn udp_bind(address: SocketAddr) -> Outcome {
    bound(address).map(|_| "bound".into())
}

fn send(socket: &UdpSocket, remote: Option<SocketAddr>, to: Option<SocketAddr>) -> Outcome {
    let (_from, into) = named("connect", socket.stream(remote.map(to_wasi)))?;
    let pollable = into.subscribe();
    loop {
        match named("send", into.check_send())? {
            0 => pollable.block(),
            _ => break,
        }
    }
    let datagram = OutgoingDatagram { data: b"broken".to_vec(), remote_address: to.map(to_wasi) };
    let sent = named("send", into.send(&[datagram]))?;
    Ok(format!("sent {sent} datagrams"))
}

pub async fn udp_send(address: SocketAddr) -> Outcome {
    send(&bound(unspecified(address))?, None, Some(address))
}

pub async fn udp_connect(address: SocketAddr, other: Option<SocketAddr>) -> Outcome {
    send(&bound(unspecified(address))?, Some(address), other)
}
