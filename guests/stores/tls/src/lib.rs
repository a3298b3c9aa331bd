//! Sends a line over TLS and returns the answer, `ADDRESS NAME LINE` in the `ask` header. WASI 0.2.

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{InputStream, OutputStream};
use wasip2::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::{instance_network, tcp::TcpSocket, tcp_create_socket};

wit_bindgen::generate!({
    path: "../wit/tls.wit",
    world: "client",
    with: {
        "wasi:io/error@0.2.12": wasip2::io::error,
        "wasi:io/poll@0.2.12": wasip2::io::poll,
        "wasi:io/streams@0.2.12": wasip2::io::streams,
    },
    generate_all,
});

use wasi::tls::types::ClientHandshake;

wasip2::http::proxy::export!(Client);

struct Client;

impl wasip2::exports::http::incoming_handler::Guest for Client {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let question = request.headers().get("ask").pop().unwrap_or_default();
        let question = String::from_utf8(question).unwrap();
        let words: Vec<&str> = question.split(' ').collect();
        let answer = ask(words[0], words[1], words[2]).unwrap_or_else(|error| format!("error: {error}"));
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().unwrap();
        stream.blocking_write_and_flush(answer.as_bytes()).unwrap();
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
    }
}

/// A socket, and its streams, which go first.
struct Connection {
    input: InputStream,
    output: OutputStream,
    _socket: TcpSocket,
}

fn connect(address: &str) -> Result<Connection, String> {
    let address: std::net::SocketAddrV4 = address.parse().map_err(|error| format!("{error}"))?;
    let [a, b, c, d] = address.ip().octets();
    let remote = IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) });
    let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4).map_err(|error| format!("{error:?}"))?;
    socket.start_connect(&instance_network::instance_network(), remote).map_err(|error| format!("{error:?}"))?;
    socket.subscribe().block();
    let (input, output) = socket.finish_connect().map_err(|error| format!("{error:?}"))?;
    Ok(Connection { input, output, _socket: socket })
}

fn ask(address: &str, name: &str, line: &str) -> Result<String, String> {
    let Connection { input, output, _socket } = connect(address)?;
    let handshake = ClientHandshake::finish(ClientHandshake::new(name, input, output));
    handshake.subscribe().block();
    let connected = handshake.get().ok_or("no result")?.map_err(|()| "taken")?;
    let (connection, input, output) = connected.map_err(|error| error.to_debug_string())?;
    output.blocking_write_and_flush(format!("{line}\n").as_bytes()).map_err(|error| format!("{error:?}"))?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") {
        answer.extend(input.blocking_read(1024).map_err(|error| format!("{error:?}"))?);
    }
    connection.close_output();
    String::from_utf8(answer).map_err(|error| error.to_string())
}
