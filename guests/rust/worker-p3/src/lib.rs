//! Works in `run`, and answers requests meanwhile, both in one instance. WASI 0.3.
//!
//! `run` counts steps of 10 ms, until a request ends it. With an argument it listens on that port of the loopback, too.
//! Requests: `/count` tells the steps, the requests and whether `run` goes on; `/done` and `/fail` end `run`; `/trap` traps;
//! `/spin` computes for ever; `/wait?ms=N` answers after a while; `/stream?ms=N` sends a piece, waits and sends another;
//! `/ask` connects to 127.0.0.1:7000, sends a line and answers with the one that comes back.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::sockets::types::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket};
use wasip3::{wit_future, wit_stream};

wasip3::cli::command::export!(Worker);
wasip3::http::service::export!(Worker);

struct Worker;

static STEPS: AtomicU32 = AtomicU32::new(0);
static REQUESTS: AtomicU32 = AtomicU32::new(0);
/// 0 while `run` goes on, then 1 to end it well and 2 to end it badly; 3 when it has ended.
static END: AtomicU32 = AtomicU32::new(0);

const STEP: u64 = 10_000_000;

impl wasip3::exports::cli::run::Guest for Worker {
    async fn run() -> Result<(), ()> {
        let args = wasip3::cli::environment::get_arguments();
        let _listener = args.get(1).and_then(|port| port.parse().ok()).map(listen);
        loop {
            wait_for(STEP).await;
            STEPS.fetch_add(1, Relaxed);
            let end = END.load(Relaxed);
            if end != 0 {
                END.store(3, Relaxed);
                return if end == 1 { Ok(()) } else { Err(()) };
            }
        }
    }
}

fn listen(port: u16) -> TcpSocket {
    let listener = TcpSocket::create(IpAddressFamily::Ipv4).unwrap();
    listener.bind(loopback(port)).unwrap();
    listener.listen().unwrap();
    listener
}

fn loopback(port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) })
}

impl wasip3::exports::http::handler::Guest for Worker {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let requests = REQUESTS.fetch_add(1, Relaxed) + 1;
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let millis = query.strip_prefix("ms=").and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        match path {
            "/done" => END.store(1, Relaxed),
            "/fail" => END.store(2, Relaxed),
            "/trap" => std::arch::wasm32::unreachable(),
            "/spin" => loop {
                std::hint::spin_loop();
            },
            "/wait" => wait_for(millis * 1_000_000).await,
            "/ask" => return Ok(response(ask().await, 0)),
            "/stream" => return Ok(response("piece\n".into(), millis)),
            _ => {}
        }
        let ended = END.load(Relaxed) == 3;
        let state = if ended { "ended" } else { "runs" };
        Ok(response(format!("steps {} requests {requests} run {state}\n", STEPS.load(Relaxed)), 0))
    }
}

/// A response of a text, and the same text once more after a while.
fn response(text: String, again_after_millis: u64) -> Response {
    let (mut body, contents) = wit_stream::new();
    let (trailers, trailing) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(Fields::new(), Some(contents), trailing);
    drop(trailers);
    wit_bindgen::spawn_local(async move {
        body.write_all(text.clone().into_bytes()).await;
        if again_after_millis > 0 {
            wait_for(again_after_millis * 1_000_000).await;
            body.write_all(text.into_bytes()).await;
        }
    });
    response
}

async fn ask() -> String {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).unwrap();
    if let Err(error) = socket.connect(loopback(7000)).await {
        return format!("{error:?}\n");
    }
    let (mut to, contents) = wit_stream::new();
    let _sent = socket.send(contents);
    let (mut from, _received) = socket.receive();
    to.write_all(b"a\n".to_vec()).await;
    let mut reply = Vec::new();
    while !reply.ends_with(b"\n") {
        let (_, bytes) = from.read(Vec::with_capacity(4096)).await;
        if bytes.is_empty() {
            break;
        }
        reply.extend(bytes);
    }
    String::from_utf8_lossy(&reply).into_owned()
}
