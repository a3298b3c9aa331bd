// Connections to 127.0.0.1 through WASI 0.2. Included by the guests that make some.

fn loopback(port: u16) -> wasip2::sockets::network::IpSocketAddress {
    use wasip2::sockets::network::{IpSocketAddress, Ipv4SocketAddress};
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) })
}

/// Begins to connect, and does not wait.
fn start_connect(port: u16) -> Result<wasip2::sockets::tcp::TcpSocket, wasip2::sockets::network::ErrorCode> {
    use wasip2::sockets::{instance_network, network::IpAddressFamily, tcp_create_socket};
    let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4)?;
    socket.start_connect(&instance_network::instance_network(), loopback(port))?;
    Ok(socket)
}

/// An open connection. Its streams are the socket's children, so they go first.
type Connection =
    (wasip2::io::streams::InputStream, wasip2::io::streams::OutputStream, wasip2::sockets::tcp::TcpSocket);

/// Waits until it is connected.
fn finish_connect(socket: wasip2::sockets::tcp::TcpSocket) -> Result<Connection, wasip2::sockets::network::ErrorCode> {
    loop {
        match socket.finish_connect() {
            Ok((from, to)) => return Ok((from, to, socket)),
            Err(wasip2::sockets::network::ErrorCode::WouldBlock) => socket.subscribe().block(),
            Err(error) => return Err(error),
        }
    }
}
