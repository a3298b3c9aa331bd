//! Addresses and pairs of connected sockets for the tests of `wasi:sockets`.

use wasip3::sockets::types::{
    IpAddressFamily, IpSocketAddress, Ipv4Address, Ipv4SocketAddress, Ipv6Address, Ipv6SocketAddress, TcpSocket,
};
use wit_bindgen::StreamReader;

use crate::conform::{Good, both};

pub use IpAddressFamily::{Ipv4 as V4, Ipv6 as V6};

pub const LOCAL4: Ipv4Address = (127, 0, 0, 1);
pub const LOCAL6: Ipv6Address = (0, 0, 0, 0, 0, 0, 0, 1);
/// 127.0.0.1 as an IPv6 address.
pub const MAPPED: Ipv6Address = (0, 0, 0, 0, 0, 0xffff, 0x7f00, 1);

pub fn v4(address: Ipv4Address, port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address })
}

pub fn v6(address: Ipv6Address, port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 })
}

/// This machine's own address.
pub fn local(family: IpAddressFamily, port: u16) -> IpSocketAddress {
    if family == V4 { v4(LOCAL4, port) } else { v6(LOCAL6, port) }
}

pub fn port(address: IpSocketAddress) -> u16 {
    match address {
        IpSocketAddress::Ipv4(address) => address.port,
        IpSocketAddress::Ipv6(address) => address.port,
    }
}

/// A listening socket, the stream of its connections, and its address.
pub fn listener(family: IpAddressFamily) -> Result<(TcpSocket, StreamReader<TcpSocket>, IpSocketAddress), String> {
    let socket = TcpSocket::create(family).good()?;
    socket.bind(local(family, 0)).good()?;
    let accepted = socket.listen().good()?;
    let address = socket.get_local_address().good()?;
    Ok((socket, accepted, address))
}

/// Both ends of a connection: that which connected, and that which was accepted.
pub async fn pair(family: IpAddressFamily) -> Result<(TcpSocket, TcpSocket), String> {
    let (_listener, mut accepted, address) = listener(family)?;
    let client = TcpSocket::create(family).good()?;
    let (connected, server) = both(client.connect(address), accepted.next()).await;
    connected.good()?;
    Ok((client, server.good()?))
}
