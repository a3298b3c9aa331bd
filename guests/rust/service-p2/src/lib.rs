//! Counts and answers the lines that come to TCP 127.0.0.1:7000, and sends back the datagrams that come to UDP 7001.
//! The line `crash` makes it trap, `exit` makes it end well. WASI 0.2.

use wasip2::io::poll::poll;
use wasip2::io::streams::{InputStream, OutputStream};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::udp::{IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream, UdpSocket};
use wasip2::sockets::{tcp_create_socket::create_tcp_socket, udp_create_socket::create_udp_socket};

wasip2::cli::command::export!(Service);

struct Service;

impl wasip2::exports::cli::run::Guest for Service {
    fn run() -> Result<(), ()> {
        serve().map_err(|error| {
            let text = format!("cannot serve: {}\n", error.name());
            wasip2::cli::stderr::get_stderr().blocking_write_and_flush(text.as_bytes()).ok();
        })
    }
}

/// Streams are children of their sockets, so they go first.
struct Client {
    from: InputStream,
    to: OutputStream,
    _socket: TcpSocket,
    /// The received part of a line.
    begun: Vec<u8>,
}

struct Datagrams {
    from: IncomingDatagramStream,
    to: OutgoingDatagramStream,
    _socket: UdpSocket,
}

fn serve() -> Result<(), ErrorCode> {
    let (listener, datagrams) = (listen(7000)?, bind(7001)?);
    wasip2::cli::stdout::get_stdout().blocking_write_and_flush(b"listening\n").ok();
    let mut clients: Vec<Client> = Vec::new();
    let mut lines = 0;
    loop {
        {
            let mut ready = vec![listener.subscribe(), datagrams.from.subscribe()];
            ready.extend(clients.iter().map(|client| client.from.subscribe()));
            poll(&ready.iter().collect::<Vec<_>>());
        }
        // Whatever is not ready says so; so all are tried.
        match listener.accept() {
            Ok((socket, from, to)) => clients.push(Client { from, to, _socket: socket, begun: Vec::new() }),
            Err(ErrorCode::WouldBlock) => {}
            Err(error) => return Err(error),
        }
        send_back(&datagrams)?;
        let mut open = Vec::new();
        for mut client in clients {
            match answer(&mut client, &mut lines) {
                After::Go => open.push(client),
                After::Close => {}
                After::Exit => return Ok(()),
            }
        }
        clients = open;
    }
}

enum After {
    Go,
    Close,
    Exit,
}

/// Answers the lines of a client that have come.
fn answer(client: &mut Client, lines: &mut u32) -> After {
    let Ok(bytes) = client.from.read(4096) else { return After::Close };
    client.begun.extend(bytes);
    while let Some(end) = client.begun.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = client.begun.drain(..=end).collect();
        let line = String::from_utf8_lossy(&line[..end]);
        match line.as_ref() {
            "crash" => std::arch::wasm32::unreachable(),
            "exit" => return After::Exit,
            _ => {}
        }
        *lines += 1;
        for piece in format!("service {lines}: {line}\n").as_bytes().chunks(4096) {
            if client.to.blocking_write_and_flush(piece).is_err() {
                return After::Close;
            }
        }
    }
    After::Go
}

/// Sends back what has come; what cannot be sent now is lost, as datagrams may be.
fn send_back(datagrams: &Datagrams) -> Result<(), ErrorCode> {
    let came = datagrams.from.receive(16)?;
    let back = came.into_iter().map(|d| OutgoingDatagram { data: d.data, remote_address: Some(d.remote_address) });
    let back: Vec<_> = back.take(datagrams.to.check_send()? as usize).collect();
    if !back.is_empty() {
        datagrams.to.send(&back).ok();
    }
    Ok(())
}

fn loopback(port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) })
}

fn listen(port: u16) -> Result<TcpSocket, ErrorCode> {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
    socket.start_bind(&instance_network(), loopback(port))?;
    wait(|| socket.finish_bind(), || socket.subscribe().block())?;
    socket.start_listen()?;
    wait(|| socket.finish_listen(), || socket.subscribe().block())?;
    Ok(socket)
}

fn bind(port: u16) -> Result<Datagrams, ErrorCode> {
    let socket = create_udp_socket(IpAddressFamily::Ipv4)?;
    socket.start_bind(&instance_network(), loopback(port))?;
    wait(|| socket.finish_bind(), || socket.subscribe().block())?;
    let (from, to) = socket.stream(None)?;
    Ok(Datagrams { from, to, _socket: socket })
}

fn wait(finish: impl Fn() -> Result<(), ErrorCode>, block: impl Fn()) -> Result<(), ErrorCode> {
    loop {
        match finish() {
            Err(ErrorCode::WouldBlock) => block(),
            done => return done,
        }
    }
}
