//! Every limit is enforced, reported to the client, counted, and without effect on the neighbour.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use support::{TIMEOUT, TestServer, get, guest_path, read_up_to};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wharf::Limit;

fn post(path: &str, bytes: usize) -> http::Request<Full<Bytes>> {
    let body = Full::new(Bytes::from(vec![b'x'; bytes]));
    http::Request::post(path).header("host", "w.test").body(body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_limits_the_sum_of_all_memories() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let server = TestServer::with_guest(guest, "limits = { memory = '16MiB' }").await;
        let (status, kept) = server.get("/alloc").await;
        assert_eq!(status, 200, "{guest}: {kept}");
        let kept: u32 = kept.parse().unwrap();
        assert!((4..16).contains(&kept), "{guest} had {kept} MiB");
        assert!(server.refusals(Limit::Memory).await > 0);
        server.assert_neighbour_responds().await;
    }
    let server = TestServer::with_guest("abuse-p2", "limits = { memory = '16MiB' }").await;
    assert_eq!(server.get("/grow-abort").await.0, 502, "a guest that cannot handle the failure traps");
    let server = TestServer::with_guest("abuse-p2", "limits = { memory = '64KiB' }").await;
    assert_eq!(server.get("/hello").await.0, 502, "the initial memory exceeds the limit");
    assert!(server.refusals(Limit::Memory).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_and_cpu_limits_end_a_call() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let server = TestServer::with_guest(guest, "limits = { time = '150ms' }").await;
        for path in ["/spin", "/sleep?ms=60000"] {
            assert_eq!(server.get(path).await.0, 504, "{guest} {path}");
        }
        assert_eq!(server.refusals(Limit::Time).await, 2);
        let server = TestServer::with_guest(guest, "limits = { cpu = '50ms' }").await;
        assert_eq!(server.get("/spin").await.0, 504, "{guest}");
        assert_eq!(server.refusals(Limit::Cpu).await, 1);
        assert_eq!(server.get("/sleep?ms=100").await.0, 200, "{guest}: sleeping uses no CPU time");
        server.assert_neighbour_responds().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_concurrency_wait_and_are_then_refused() {
    let server = TestServer::with_guest("abuse-p2", "limits = { concurrency = 2 }").await;
    let mut calls = Vec::new();
    for _ in 0..5 {
        let mut connection = server.connect().await;
        calls.push(tokio::spawn(async move { connection.send(get("w.test", "/sleep?ms=500")).await.0 }));
    }
    let mut responses = Vec::new();
    for call in calls {
        responses.push(call.await.unwrap());
    }
    responses.sort_unstable();
    assert_eq!(responses, [200, 200, 200, 200, 503], "two run, two wait, one is refused");
    assert_eq!(server.refusals(Limit::Concurrency).await, 1);
    let mut raw = Vec::new();
    for _ in 0..5 {
        raw.push(server.connect_raw("GET /sleep?ms=500 HTTP/1.1\r\nhost: w.test\r\nconnection: close\r\n\r\n").await);
    }
    let mut retry = 0;
    for mut stream in raw {
        let mut response = String::new();
        tokio::time::timeout(TIMEOUT, stream.read_to_string(&mut response)).await.unwrap().unwrap();
        retry += u32::from(response.contains("503") && response.contains("retry-after: 1"));
    }
    assert_eq!(retry, 1, "a refusal has `retry-after`");
    server.assert_neighbour_responds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_the_size_of_bodies() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let server = TestServer::with_guest(guest, "limits = { request-body = '1KiB', response-body = '2KiB' }").await;
        assert_eq!(server.send(post("/read-body", 1024)).await, (200, "1024".into()), "{guest}");
        assert_eq!(server.send(post("/read-body", 1025)).await.0, 413, "{guest}");
        // A body without a declared length fails while the component reads it.
        let chunk = "800\r\n".to_owned() + &"x".repeat(0x800) + "\r\n0\r\n\r\n";
        let head =
            "POST /read-body HTTP/1.1\r\nhost: w.test\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        let mut stream = server.connect_raw(head).await;
        stream.write_all(chunk.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut response)).await.unwrap().ok();
        assert!(!String::from_utf8_lossy(&response).ends_with("2048"), "{guest}: the component read the whole body");
        assert_eq!(server.refusals(Limit::RequestBody).await, 2, "{guest}");
        let (status, text) = server.get("/output?bytes=2048").await;
        assert_eq!((status, text.len()), (200, 2048), "{guest}");
        let (status, text) = server.get("/output").await;
        assert!(
            status == 502 || text.starts_with("truncated"),
            "{guest}: an endless response ended as if it were complete"
        );
        assert!(server.refusals(Limit::ResponseBody).await > 0, "{guest}");
        server.wait_until("no call is in flight", |status| status.calls == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_the_size_of_headers() {
    let server = TestServer::with_guest("abuse-p2", "limits = { headers = '2KiB' }").await;
    let long = http::Request::get("/hello").header("host", "w.test").header("x-long", "x".repeat(3000));
    assert_eq!(server.send(long.body(Full::default()).unwrap()).await.0, 431);
    assert_eq!(server.refusals(Limit::Headers).await, 1);
    assert_eq!(server.get("/headers?bytes=1000").await.0, 200);
    assert_ne!(server.get("/headers?bytes=5000").await.0, 200);
    assert_eq!(server.get("/hello").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_the_files_of_an_instance() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "name = 'w'\n[volumes.data]\nhost = '{}'\n[components.it]\nsource = '{}'\nlimits = {{ files = 10 }}\n\
         volumes = [{{ volume = 'data', guest = '/data', access = 'read-write' }}]\n[[triggers.http]]\ncomponent = 'it'\nhost = 'w.test'\n",
        folder.path().display(),
        guest_path("abuse-p2").display()
    );
    let server = TestServer::new().await;
    server.host.workload_start(support::parse_workload(&text)).await.unwrap();
    for _ in 0..3 {
        let (_, opened) = server.get("/files?n=50").await;
        assert_eq!(opened, "9 quota", "the volume is one of the ten");
    }
    assert!(server.refusals(Limit::Files).await >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_the_connections_of_an_instance() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Send only the head of a response, so that the connection stays in use.
                stream.read_buf(&mut Vec::new()).await.ok();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await.ok();
                stream.read_to_end(&mut Vec::new()).await.ok();
            });
        }
    });
    let more = "hosts = ['127.0.0.1']\nlimits = { connections = 3, time = '5s' }";
    let server = TestServer::with_guest("abuse-p2", more).await;
    let (_, opened) = server.get(&format!("/connections?n=10&port={port}")).await;
    assert_eq!(opened, "3 new-socket-limit");
    let (_, fetched) = server.get(&format!("/fetch?n=10&port={port}")).await;
    assert!(fetched.starts_with("3 ") && fetched.contains("ConnectionLimitReached"), "{fetched}");
    assert!(server.refusals(Limit::Connections).await >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_the_rate_of_log_lines() {
    let server = TestServer::with_guest("abuse-p2", "limits = { log-rate = 5 }").await;
    for kind in ["log", "stdout"] {
        assert_eq!(
            server.get(&format!("/{kind}?n=500")).await,
            (200, "logged".into()),
            "the component receives no error"
        );
    }
    // Some of the 1,000 lines are logged, 5 for each second that the requests take.
    assert!(server.refusals(Limit::LogRate).await > 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_instance_pool_refuses_calls_and_recovers() {
    let server = TestServer::with(wharf::Engine::builder().instances(4), |host| host).await;
    server.host.workload_start(support::workload("w", "w.test", "abuse-p2", "")).await.unwrap();
    let mut calls = Vec::new();
    for _ in 0..12 {
        let mut connection = server.connect().await;
        calls.push(tokio::spawn(async move { connection.send(get("w.test", "/sleep?ms=500")).await.0 }));
    }
    let mut responses = Vec::new();
    for call in calls {
        responses.push(call.await.unwrap());
    }
    assert!(responses.contains(&200) && responses.contains(&503), "{responses:?}");
    assert!(responses.iter().all(|status| [200, 503].contains(status)), "{responses:?}");
    assert!(server.refusals(Limit::Instances).await > 0);
    // The last instance may not be back in the pool yet.
    let recovered = async { while server.get("/hello").await.0 != 200 {} };
    tokio::time::timeout(Duration::from_mins(1), recovered).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_a_workload_to_its_share_of_the_instance_pool() {
    let mut ceilings = wharf::workload::Ceilings::default();
    ceilings.instances = Some(3);
    for mode in ["", "instances = { mode = 'warm', size = 2 }", "instances = { mode = 'reuse', idle = '1ms' }"] {
        let server = TestServer::with(wharf::Engine::builder(), |host| host.ceilings(ceilings.clone())).await;
        for (name, host) in [("w", "w.test"), ("n", "neighbour.test")] {
            server.host.workload_start(support::workload(name, host, "abuse-p2", mode)).await.unwrap();
        }
        let mut calls = Vec::new();
        for _ in 0..12 {
            let mut connection = server.connect().await;
            calls.push(tokio::spawn(async move { connection.send(get("w.test", "/sleep?ms=500")).await.0 }));
        }
        server
            .wait_until("the workload uses its whole share", |status| {
                status.refusals.get(&Limit::Instances).is_some_and(|n| *n >= 9)
            })
            .await;
        assert_eq!(server.send(get("neighbour.test", "/hello")).await.0, 200, "{mode}");
        let mut responses = Vec::new();
        for call in calls {
            responses.push(call.await.unwrap());
        }
        responses.sort_unstable();
        assert_eq!(responses, [vec![200; 3], vec![503; 9]].concat(), "{mode}");
        let recovered = async { while server.get("/hello").await.0 != 200 {} };
        tokio::time::timeout(Duration::from_mins(1), recovered).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_while_streaming_truncates_the_response() {
    for (guest, mode) in [("abuse-p2", ""), ("abuse-p3", ""), ("abuse-p3", "instances = { mode = 'reuse' }")] {
        let server = TestServer::with_guest(guest, mode).await;
        let mut truncated = 0;
        for _ in 0..10 {
            let (status, text) = server.get("/trap-mid").await;
            truncated += u32::from(text.starts_with("truncated"));
            // On a busy machine the guest can trap before the server has sent the head.
            assert!(text.starts_with("truncated") || status == 502, "{guest} {mode}: {status} {text}");
            assert_eq!(server.get("/hello").await.0, 200, "{guest} {mode}");
        }
        assert!(truncated > 0, "{guest} {mode}");
    }
    let server = TestServer::with_guest("abuse-p2", "").await;
    assert_eq!(server.get("/no-answer").await.0, 502);
    let mut stream = server.connect_raw("GET /output HTTP/1.1\r\nhost: w.test\r\n\r\n").await;
    assert!(read_up_to(&mut stream, 1 << 20).await >= 1 << 20, "a response streams while its client reads");
    drop(stream);
    server.wait_until("the call has ended", |status| status.calls == 0).await;
}
