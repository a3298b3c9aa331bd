//! Components that use `wasi:http` in any order: the server must respond, and a client that reuses the connection must receive the
//! next response intact.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use wharf::workload::Workload;
use wharf::workload::manifest::{Format, parse};
use wharf::{Engine, Host};
use wharf_http::{HttpPlugin, HttpServer, Settings};

const TIMEOUT: Duration = Duration::from_secs(30);

#[path = "../../crates/plugins/http/tests/support/http1_client.rs"]
#[allow(dead_code)]
mod http1_client;

use http1_client::{Http1Client, Received};

/// An operation of the guests `script-p2` and `script-p3`.
#[derive(Arbitrary, Debug)]
enum Op {
    Status(u16),
    Length(u8),
    Header(Name, Vec<u8>),
    Trailer(Name, Vec<u8>),
    Body,
    Write(u32),
    Flush,
    DropStream,
    DropBody,
    Leak,
    Finish,
    Respond,
    Error,
    ReadBody,
    Sleep,
    Trap,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Name {
    ContentLength,
    TransferEncoding,
    Connection,
    Host,
    Trailer,
    Value,
}

#[derive(Arbitrary, Debug)]
struct Case {
    guest: u8,
    method: u8,
    body: u8,
    script: Vec<Op>,
}

/// The guests, each with its own host name.
const GUESTS: [(&str, &str); 3] =
    [("script-p2", ""), ("script-p3", ""), ("script-p3", "instances = { mode = 'reuse' }")];

struct Served {
    runtime: tokio::runtime::Runtime,
    server: HttpServer,
    _host: Host,
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (server, host) = runtime.block_on(async {
        let server = HttpServer::bind(Settings::new(([127, 0, 0, 1], 0).into())).await.unwrap();
        let engine = Engine::builder().instances(100).build().unwrap();
        let host = Host::builder(engine).plugin(HttpPlugin).trigger(server.clone()).build().unwrap();
        for (index, (guest, mode)) in GUESTS.iter().enumerate() {
            host.workload_start(workload(&format!("w{index}"), guest, mode)).await.unwrap();
        }
        host.workload_start(workload("neighbour", "hello-p2", "")).await.unwrap();
        server.accept();
        (server, host)
    });
    Served { runtime, server, _host: host }
});

fn workload(name: &str, guest: &str, mode: &str) -> Workload {
    let limits = "limits = { time = '100ms', after-response = '100ms', memory = '16MiB' }";
    let prebuilt = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/prebuilt");
    let text = format!(
        "name = '{name}'\n[components.it]\nsource = '{prebuilt}/{guest}.wasm'\n{limits}\n{mode}\n\
         [[triggers.http]]\ncomponent = 'it'\nhost = '{name}.test'\n"
    );
    parse(&text, Format::Toml).workload.unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect()
}

impl Op {
    fn text(&self) -> String {
        match self {
            Self::Status(code) => format!("status {}", code % 1000),
            Self::Length(length) => format!("header content-length {}", hex(length.to_string().as_bytes())),
            Self::Header(name, value) => format!("header {} {}", name.text(), hex(value)),
            Self::Trailer(name, value) => format!("trailer {} {}", name.text(), hex(value)),
            Self::Body => "body".into(),
            Self::Write(count) => format!("write {}", count % 200_000),
            Self::Flush => "flush".into(),
            Self::DropStream => "drop-stream".into(),
            Self::DropBody => "drop-body".into(),
            Self::Leak => "leak".into(),
            Self::Finish => "finish".into(),
            Self::Respond => "respond".into(),
            Self::Error => "error".into(),
            Self::ReadBody => "read-body".into(),
            Self::Sleep => "sleep 1".into(),
            Self::Trap => "trap".into(),
        }
    }
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Self::ContentLength => "content-length",
            Self::TransferEncoding => "transfer-encoding",
            Self::Connection => "connection",
            Self::Host => "host",
            Self::Trailer => "trailer",
            Self::Value => "x-value",
        }
    }
}

fuzz_target!(|case: Case| {
    let guest = usize::from(case.guest) % GUESTS.len();
    let method = ["GET", "HEAD", "POST", "DELETE"][usize::from(case.method % 4)];
    let script: Vec<_> = case.script.iter().take(32).map(Op::text).collect();
    let body = "x".repeat(usize::from(case.body));
    let request = format!(
        "{method} / HTTP/1.1\r\nhost: w{guest}.test\r\nx-script: {}\r\ncontent-length: {}\r\n\r\n{body}",
        script.join("; "),
        body.len()
    );
    let next = b"GET / HTTP/1.1\r\nhost: neighbour.test\r\nconnection: close\r\n\r\n";
    let served = &*SERVED;
    served.runtime.block_on(async {
        let mut client = Http1Client::connect(served.server.local_addr()).await;
        client.send(&[request.as_bytes(), next].concat()).await;
        let first = client.read(method).await;
        let Received::Complete(answer) = &first else { return };
        assert!(!(100..200).contains(&answer.status) && answer.header("x-forged").is_none(), "{first:?}");
        // The server may close the connection after a complete response.
        if let Received::Complete(answer) = client.read("GET").await {
            assert_eq!((answer.status, &*answer.text()), (200, "Hello from WASI 0.2\n"), "after {first:?}");
        }
        assert!(client.is_closed_and_empty().await, "bytes after the last response");
    });
});
