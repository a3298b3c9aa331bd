//! What the attempts need that WASI 0.3 does in its own way: bytes, output, sockets.

use std::fmt::Debug;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::task::Poll;

use wasip3::filesystem::types::Descriptor;
use wasip3::sockets::types::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, TcpSocket, UdpSocket,
};
use wasip3::wit_stream;
use wit_bindgen::StreamReader;

use crate::Outcome;

/// The name that WIT gives a code: `ErrorCode::NoEntry` is `no-entry`.
pub fn name(code: &impl Debug) -> String {
    let text = format!("{code:?}");
    let text = text.strip_prefix("ErrorCode::").unwrap_or(&text);
    let (case, with) = text.split_at(text.find('(').unwrap_or(text.len()));
    let mut name = String::new();
    for letter in case.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    name + with
}

pub async fn print(text: String) {
    let (mut to, contents) = wit_stream::new();
    let done = wasip3::cli::stdout::write_via_stream(contents);
    to.write_all(text.into_bytes()).await;
    drop(to);
    done.await.unwrap();
}

pub fn initial_folder() -> Option<String> {
    wasip3::cli::environment::get_initial_cwd()
}

fn short(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned()
}

/// The start of a file.
pub async fn read(file: &Descriptor) -> Outcome {
    let (mut stream, done) = file.read_via_stream(0);
    let (_, bytes) = stream.read(Vec::with_capacity(100)).await;
    drop(stream);
    match done.await {
        Err(code) if bytes.is_empty() => Err(name(&code)),
        _ => Ok(short(&bytes)),
    }
}

pub async fn write(file: &Descriptor) -> Outcome {
    write_stream(file).await
}

pub async fn write_stream(file: &Descriptor) -> Outcome {
    let (mut to, contents) = wit_stream::new();
    let done = file.write_via_stream(contents, 0);
    to.write_all(b"broken".to_vec()).await;
    drop(to);
    done.await.map(|()| "wrote through a stream".into()).map_err(|code| format!("{} (stream)", name(&code)))
}

pub async fn append_stream(file: &Descriptor) -> Outcome {
    let (mut to, contents) = wit_stream::new();
    let done = file.append_via_stream(contents);
    to.write_all(b"broken".to_vec()).await;
    drop(to);
    done.await.map(|()| "wrote through a stream".into()).map_err(|code| format!("{} (stream)", name(&code)))
}

pub async fn list(dir: &Descriptor) -> Result<Vec<String>, String> {
    let (mut stream, done) = dir.read_directory();
    let mut names = Vec::new();
    while let Some(entry) = stream.next().await {
        names.push(entry.name);
    }
    done.await.map_err(|code| name(&code))?;
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

fn named<T>(step: &str, result: Result<T, ErrorCode>) -> Result<T, String> {
    result.map_err(|code| format!("{} ({step})", name(&code)))
}

pub async fn lookup(host: &str) -> Result<Vec<IpAddr>, String> {
    let found = wasip3::sockets::ip_name_lookup::resolve_addresses(host.into()).await;
    Ok(found.map_err(|code| name(&code))?.into_iter().map(from_wasi).collect())
}

pub async fn tcp_connect(address: SocketAddr) -> Outcome {
    let socket = named("create", TcpSocket::create(family(address)))?;
    named("connect", socket.connect(to_wasi(address)).await)?;
    Ok(format!("connected to {address}"))
}

fn listening(address: Option<SocketAddr>, with: &str) -> Result<StreamReader<TcpSocket>, String> {
    let ipv6 = address.map_or(with == "ipv6", |address| address.is_ipv6());
    let socket = TcpSocket::create(if ipv6 { IpAddressFamily::Ipv6 } else { IpAddressFamily::Ipv4 });
    let socket = named("create", socket)?;
    if let Some(address) = address {
        named("bind", socket.bind(to_wasi(address)))?;
    }
    named("listen", socket.listen())
}

pub async fn tcp_listen(address: Option<SocketAddr>, with: &str) -> Outcome {
    listening(address, with).map(|_| "listens".into())
}

/// Waits for a line of input.
pub async fn input() -> String {
    let (mut bytes, _done) = wasip3::cli::stdin::read_via_stream();
    while let Some(byte) = bytes.next().await {
        if byte == b'\n' {
            return "a line came".into();
        }
    }
    "the input ended".into()
}

/// What comes of it, unless a line of input comes first.
async fn until_input<T>(future: impl Future<Output = T>) -> Option<T> {
    print("holds\n".into()).await;
    let (mut future, mut end) = (pin!(future), pin!(input()));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => end.as_mut().poll(context).map(|_| None),
    })
    .await
}

pub async fn tcp_hold(address: SocketAddr) -> Outcome {
    let mut accepting = listening(Some(address), "")?;
    Ok(match until_input(accepting.next()).await {
        Some(Some(_)) => "somebody connected".into(),
        Some(None) => "it stopped".into(),
        None => "nobody connected".into(),
    })
}

pub async fn udp_hold(address: SocketAddr) -> Outcome {
    let socket = named("create", UdpSocket::create(family(address)))?;
    named("bind", socket.bind(to_wasi(address)))?;
    match until_input(socket.receive()).await {
        Some(received) => named("receive", received).map(|_| "received 1 datagrams".into()),
        None => Ok("received 0 datagrams".into()),
    }
}

pub async fn udp_bind(address: SocketAddr) -> Outcome {
    let socket = named("create", UdpSocket::create(family(address)))?;
    named("bind", socket.bind(to_wasi(address)))?;
    Ok("bound".into())
}

pub async fn udp_send(address: SocketAddr) -> Outcome {
    let socket = named("create", UdpSocket::create(family(address)))?;
    named("send", socket.send(b"broken".to_vec(), Some(to_wasi(address))).await)?;
    Ok("sent 1 datagrams".into())
}

pub async fn udp_connect(address: SocketAddr, other: Option<SocketAddr>) -> Outcome {
    let socket = named("create", UdpSocket::create(family(address)))?;
    named("connect", socket.connect(to_wasi(address)))?;
    named("send", socket.send(b"broken".to_vec(), other.map(to_wasi)).await)?;
    Ok("sent 1 datagrams".into())
}
