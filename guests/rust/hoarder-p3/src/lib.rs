//! Has the host keep things for it, as many as the path asks for, and says how many there are by then. WASI 0.3.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use wasip3::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response};
use wasip3::sockets::types::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket, UdpSocket};
use wasip3::{wit_future, wit_stream};
use wit_bindgen::spawn_local;

include!("../../../shared/target.rs");

wasip3::http::service::export!(Hoarder);

struct Hoarder;

impl wasip3::exports::http::handler::Guest for Hoarder {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let n = number(&target, "n").unwrap_or(1);
        let port = number(&target, "port").unwrap_or(0) as u16;
        let kept = match path_of(&target) {
            "/fields" => keep(n, fields),
            "/streams" => keep(n, wit_stream::new::<u8>),
            "/random" => wasip3::random::random::get_random_bytes(n).len() as u64,
            "/directories" => {
                let folder = wasip3::filesystem::preopens::get_directories().into_iter().next().unwrap().0;
                let mut kept = Vec::new();
                for _ in 0..n {
                    let (mut entries, done) = folder.read_directory();
                    // One is read, so that all of them are being read.
                    entries.next().await;
                    kept.push((entries, done));
                }
                kept.len() as u64
            }
            "/open-files" => {
                let folder = wasip3::filesystem::preopens::get_directories().into_iter().next().unwrap().0;
                let mut kept = Vec::new();
                for _ in 0..n {
                    let opened = folder.open_at(PathFlags::empty(), "big".into(), OpenFlags::empty(), DescriptorFlags::READ);
                    let Ok(file) = opened.await else { break };
                    // Its stream keeps it open, and gives nothing when there are too many.
                    let (mut bytes, done) = file.read_via_stream(0);
                    if bytes.next().await.is_none() {
                        break;
                    }
                    kept.push((bytes, done));
                }
                kept.len() as u64
            }
            "/connections" => {
                let mut kept = Vec::new();
                for _ in 0..n {
                    let Ok(socket) = TcpSocket::create(IpAddressFamily::Ipv4) else { break };
                    let address = Ipv4SocketAddress { port, address: (127, 0, 0, 1) };
                    if socket.connect(IpSocketAddress::Ipv4(address)).await.is_err() {
                        break;
                    }
                    // Its stream keeps it open.
                    kept.push(socket.receive());
                }
                kept.len() as u64
            }
            "/listeners" => {
                let mut kept = Vec::new();
                while let Ok(socket) = TcpSocket::create(IpAddressFamily::Ipv4) {
                    let address = Ipv4SocketAddress { port: 0, address: (127, 0, 0, 1) };
                    socket.bind(IpSocketAddress::Ipv4(address)).unwrap();
                    // Its stream keeps it open.
                    kept.push(socket.listen().unwrap());
                }
                kept.len() as u64
            }
            "/emptied-fields" => {
                let values = vec![Vec::new(); 900];
                keep(n, || {
                    let fields = Fields::new();
                    fields.set("a", &values).unwrap();
                    fields.get_and_delete("a").unwrap();
                    fields
                })
            }
            "/receives" => receives(n).await,
            "/methods" => keep(n, || {
                let request = Request::new(Fields::new(), None, wit_future::new(|| Ok(None)).1, None).0;
                request.set_method(&Method::Other("M".repeat(100_000))).unwrap();
                request
            }),
            "/accepted" => accepted().await,
            _ => 0,
        };
        let (mut body, contents) = wit_stream::new();
        let (trailers, trailing) = wit_future::new(|| Ok(None));
        drop(trailers);
        spawn_local(async move {
            body.write_all(kept.to_string().into_bytes()).await;
        });
        Ok(Response::new(Fields::new(), Some(contents), trailing).0)
    }
}

/// Connects to itself as often as it may, and accepts what it has room for: one for each client that it drops.
async fn accepted() -> u64 {
    let address = |port| IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) });
    let listening = TcpSocket::create(IpAddressFamily::Ipv4).unwrap();
    listening.bind(address(0)).unwrap();
    let mut accepted = listening.listen().unwrap();
    let IpSocketAddress::Ipv4(Ipv4SocketAddress { port, .. }) = listening.get_local_address().unwrap() else { return 0 };
    let mut clients = Vec::new();
    while let Ok(client) = TcpSocket::create(IpAddressFamily::Ipv4) {
        client.connect(address(port)).await.unwrap();
        clients.push(client);
    }
    let mut servers = Vec::new();
    while servers.len() < clients.len() {
        clients.pop();
        servers.extend(accepted.next().await);
        // There is no room for another, though it has connected.
        let mut late = pin!(wasip3::clocks::monotonic_clock::wait_for(20_000_000));
        let mut next = pin!(accepted.next());
        let none = poll_fn(|cx| match next.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending => late.as_mut().poll(cx).map(|()| true),
        });
        if !none.await {
            return 0;
        }
    }
    (clients.len() + servers.len()) as u64
}

/// Waits for datagrams so often at once, and counts the calls that wait.
async fn receives(n: u64) -> u64 {
    let address = Ipv4SocketAddress { port: 0, address: (127, 0, 0, 1) };
    let Ok(socket) = UdpSocket::create(IpAddressFamily::Ipv4) else { return 1_000_001 };
    if socket.bind(IpSocketAddress::Ipv4(address)).is_err() {
        return 1_000_002;
    }
    let (socket, refused) = (Rc::new(socket), Rc::new(Cell::new(0)));
    for _ in 0..n {
        let (socket, refused) = (socket.clone(), refused.clone());
        spawn_local(async move {
            if socket.receive().await.is_err() {
                refused.set(refused.get() + 1);
            }
        });
    }
    wasip3::clocks::monotonic_clock::wait_for(50_000_000).await;
    n - refused.get()
}

/// Makes so many, and drops none before there are all.
fn keep<T>(n: u64, make: impl Fn() -> T) -> u64 {
    let kept: Vec<T> = (0..n).map(|_| make()).collect();
    kept.len() as u64
}

/// As large as they may be.
fn fields() -> Fields {
    let fields = Fields::new();
    while fields.append("x-large", &[b'x'; 4000]).is_ok() && fields.get("x-large").len() < 14 {}
    fields
}
