//! Sends a line over TLS so many times and returns how many bytes came back, `ADDRESS NAME LINE TIMES` in the `ask` header. WASI 0.3.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::sockets::types::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket};
use wasip3::{wit_future, wit_stream};
use wit_bindgen::StreamResult;

/// Apart, because its streams have names that those of HTTP have too.
mod bindings {
    wit_bindgen::generate!({ path: "../wit/tls-p3.wit", world: "client", generate_all });
}

use bindings::wasi::tls::client::Connector;

wasip3::http::service::export!(Client);

struct Client;

impl wasip3::exports::http::handler::Guest for Client {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let question = request.get_headers().get("ask").pop().unwrap_or_default();
        let question = String::from_utf8(question).unwrap();
        let words: Vec<&str> = question.split(' ').collect();
        let answer = match words.as_slice() {
            ["twice"] => twice().await,
            ["early"] => early().await,
            [address, name, line, times] => ask(address, name, line, times.parse().unwrap()).await,
            _ => Err("four words".to_owned()),
        };
        let answer = answer.unwrap_or_else(|error| format!("error: {error}"));
        let (mut body, contents) = wit_stream::new();
        let (trailers, trailing) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(contents), trailing);
        drop(trailers);
        wit_bindgen::spawn_local(async move {
            body.write_all(answer.into_bytes()).await;
        });
        Ok(response)
    }
}

async fn ask(address: &str, name: &str, line: &str, times: usize) -> Result<String, String> {
    let address: std::net::SocketAddrV4 = address.parse().map_err(|error| format!("{error}"))?;
    let [a, b, c, d] = address.ip().octets();
    let remote = IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) });
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(|error| format!("{error:?}"))?;
    socket.connect(remote).await.map_err(|error| format!("{error:?}"))?;
    let connector = Connector::new();
    let (mut cleartext, given) = wit_stream::new();
    let (encrypted, sent) = connector.send(given);
    let (from, received) = socket.receive();
    let (mut decrypted, ended) = connector.receive(from);
    let done = socket.send(encrypted);
    Connector::connect(connector, name.to_owned()).await.map_err(|error| error.to_debug_string())?;
    let text = format!("{line}\n").repeat(times).into_bytes();
    let expected = text.clone();
    wit_bindgen::spawn_local(async move {
        cleartext.write_all(text).await;
    });
    let mut answer = Vec::new();
    while answer.len() < expected.len() {
        let (result, piece) = decrypted.read(Vec::with_capacity(16 << 10)).await;
        answer.extend(piece);
        if matches!(result, StreamResult::Dropped) {
            break;
        }
    }
    sent.await.map_err(|error| format!("sent: {}", error.to_debug_string()))?;
    done.await.map_err(|error| format!("{error:?}"))?;
    // The server ends when it is told that no more comes.
    let (_, more) = decrypted.read(Vec::with_capacity(1)).await;
    ended.await.map_err(|error| format!("received: {}", error.to_debug_string()))?;
    drop(received);
    Ok(format!("{} bytes, {}", answer.len() + more.len(), if answer == expected { "as sent" } else { "garbled" }))
}

/// Sets one direction up twice.
async fn twice() -> Result<String, String> {
    let connector = Connector::new();
    let (_first, given) = wit_stream::new();
    let (_encrypted, first) = connector.send(given);
    let (_second, given) = wit_stream::new();
    let (_nothing, second) = connector.send(given);
    second.await.map_err(|error| error.to_debug_string())?;
    first.await.map_err(|error| error.to_debug_string())?;
    Ok("no error".to_owned())
}

/// Connects before the directions are set up, which also ends the one that is.
async fn early() -> Result<String, String> {
    let connector = Connector::new();
    let (_cleartext, given) = wit_stream::new();
    let (_encrypted, sent) = connector.send(given);
    let connected = Connector::connect(connector, "localhost".to_owned()).await;
    let connected = connected.err().map(|error| error.to_debug_string()).unwrap_or_default();
    Err(format!("{connected}; {}", sent.await.err().map(|error| error.to_debug_string()).unwrap_or_default()))
}
