//! Listens on 127.0.0.1 at the port that it is given (0 is any, which it prints), and sends back whatever comes on each
//! connection until the peer closes it. WASI 0.3.

use wasip3::sockets::types::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket};
use wasip3::wit_bindgen::StreamResult;

wasip3::cli::command::export!(Echo);

const PIECE: usize = 16 << 10;

struct Echo;

impl wasip3::exports::cli::run::Guest for Echo {
    async fn run() -> Result<(), ()> {
        let args = wasip3::cli::environment::get_arguments();
        let port = args.get(1).and_then(|text| text.parse().ok()).ok_or(())?;
        let listener = TcpSocket::create(IpAddressFamily::Ipv4).unwrap();
        let address = Ipv4SocketAddress { port, address: (127, 0, 0, 1) };
        listener.bind(IpSocketAddress::Ipv4(address)).unwrap();
        let mut connections = listener.listen().unwrap();
        if port == 0 {
            let Ok(IpSocketAddress::Ipv4(bound)) = listener.get_local_address() else { return Err(()) };
            print(format!("{}\n", bound.port)).await;
        }
        while let Some(connection) = connections.next().await {
            wit_bindgen::spawn_local(echo(connection));
        }
        Ok(())
    }
}

async fn print(text: String) {
    let (mut out, contents) = wasip3::wit_stream::new();
    let done = wasip3::cli::stdout::write_via_stream(contents);
    out.write_all(text.into_bytes()).await;
    drop(out);
    done.await.unwrap();
}

async fn echo(connection: TcpSocket) {
    let (mut from, received) = connection.receive();
    let (mut to, contents) = wasip3::wit_stream::new();
    let sent = connection.send(contents);
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        let (result, bytes) = from.read(piece).await;
        piece = to.write_all(bytes).await;
        if matches!(result, StreamResult::Dropped) || !piece.is_empty() {
            break;
        }
    }
    drop((from, to));
    // A peer that is gone is no concern of the others.
    let _ = (received.await, sent.await);
}
