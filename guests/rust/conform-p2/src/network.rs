//! What the tests of sockets have in common: addresses of the loopback, and connections over it.

use wasip2::io::streams::{InputStream, OutputStream};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

pub const V4: IpAddressFamily = IpAddressFamily::Ipv4;
pub const V6: IpAddressFamily = IpAddressFamily::Ipv6;

pub type Octets = (u8, u8, u8, u8);
pub type Segments = (u16, u16, u16, u16, u16, u16, u16, u16);

pub const MAPPED: Segments = (0, 0, 0, 0, 0, 0xffff, 0x7f00, 1);

pub fn v4(address: Octets, port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address })
}

pub fn v6(address: Segments, port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 })
}

pub fn loopback(family: IpAddressFamily, port: u16) -> IpSocketAddress {
    if family == V4 { v4((127, 0, 0, 1), port) } else { v6((0, 0, 0, 0, 0, 0, 0, 1), port) }
}

/// The address that stands for any.
pub fn unspecified(family: IpAddressFamily, port: u16) -> IpSocketAddress {
    if family == V4 { v4((0, 0, 0, 0), port) } else { v6((0, 0, 0, 0, 0, 0, 0, 0), port) }
}

pub fn other(family: IpAddressFamily) -> IpAddressFamily {
    if family == V4 { V6 } else { V4 }
}

/// An address as text, to compare it.
pub fn text(address: IpSocketAddress) -> String {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
    match address {
        IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) }) => {
            SocketAddr::from((Ipv4Addr::new(a, b, c, d), port)).to_string()
        }
        IpSocketAddress::Ipv6(Ipv6SocketAddress { port, address: (a, b, c, d, e, f, g, h), .. }) => {
            SocketAddr::from((Ipv6Addr::new(a, b, c, d, e, f, g, h), port)).to_string()
        }
    }
}

pub fn port(address: IpSocketAddress) -> u16 {
    match address {
        IpSocketAddress::Ipv4(address) => address.port,
        IpSocketAddress::Ipv6(address) => address.port,
    }
}

/// Tries again, whenever the socket says that it is ready, for as long as it would block.
pub fn wait<T>(socket: &TcpSocket, mut attempt: impl FnMut() -> Result<T, ErrorCode>) -> Result<T, ErrorCode> {
    loop {
        match attempt() {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            other => return other,
        }
    }
}

pub fn bind(socket: &TcpSocket, address: IpSocketAddress) -> Result<(), ErrorCode> {
    socket.start_bind(&instance_network(), address)?;
    wait(socket, || socket.finish_bind())
}

pub fn listen(socket: &TcpSocket) -> Result<(), ErrorCode> {
    socket.start_listen()?;
    wait(socket, || socket.finish_listen())
}

pub fn connect(socket: &TcpSocket, address: IpSocketAddress) -> Result<(InputStream, OutputStream), ErrorCode> {
    socket.start_connect(&instance_network(), address)?;
    wait(socket, || socket.finish_connect())
}

/// A socket that listens on the loopback, and where.
pub fn listener(family: IpAddressFamily) -> Result<(TcpSocket, IpSocketAddress), String> {
    let socket = ok!(create_tcp_socket(family));
    ok!(bind(&socket, loopback(family, 0)));
    ok!(listen(&socket));
    let address = ok!(socket.local_address());
    Ok((socket, address))
}

/// Both ends of a connection. Streams are children of their sockets, so they go first.
pub struct Pair {
    pub near_from: InputStream,
    pub near_to: OutputStream,
    pub near: TcpSocket,
    pub far_from: InputStream,
    pub far_to: OutputStream,
    pub far: TcpSocket,
}

pub fn connect_to(listener: &TcpSocket, address: IpSocketAddress) -> Result<Pair, String> {
    let near = ok!(create_tcp_socket(listener.address_family()));
    let (near_from, near_to) = ok!(connect(&near, address));
    let (far, far_from, far_to) = ok!(wait(listener, || listener.accept()));
    Ok(Pair { near_from, near_to, near, far_from, far_to, far })
}

pub fn connected(family: IpAddressFamily) -> Result<Pair, String> {
    let (listener, address) = listener(family)?;
    connect_to(&listener, address)
}
