//! Every limit is enforced, answered, counted, and no matter of the neighbour's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use support::{PATIENCE, Served, get, guest, read};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wharf::{HostApi as _, Limit};

fn post(path: &str, bytes: usize) -> http::Request<Full<Bytes>> {
    let body = Full::new(Bytes::from(vec![b'x'; bytes]));
    http::Request::post(path).header("host", "w.test").body(body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_what_all_memories_have_together() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let served = Served::of(guest, "limits = { memory = '16MiB' }").await;
        let (status, kept) = served.get("/alloc").await;
        assert_eq!(status, 200, "{guest}: {kept}");
        let kept: u32 = kept.parse().unwrap();
        assert!((4..16).contains(&kept), "{guest} had {kept} MiB");
        assert!(served.refused(Limit::Memory).await > 0);
        served.neighbour_is_well().await;
    }
    let served = Served::of("abuse-p2", "limits = { memory = '16MiB' }").await;
    assert_eq!(served.get("/grow-abort").await.0, 502, "who cannot do without ends");
    let served = Served::of("abuse-p2", "limits = { memory = '64KiB' }").await;
    assert_eq!(served.get("/hello").await.0, 502, "not even its first memory fits");
    assert!(served.refused(Limit::Memory).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_and_cpu_end_a_call() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let served = Served::of(guest, "limits = { time = '150ms' }").await;
        for path in ["/spin", "/sleep?ms=60000"] {
            assert_eq!(served.get(path).await.0, 504, "{guest} {path}");
        }
        assert_eq!(served.refused(Limit::Time).await, 2);
        let served = Served::of(guest, "limits = { cpu = '50ms' }").await;
        assert_eq!(served.get("/spin").await.0, 504, "{guest}");
        assert_eq!(served.refused(Limit::Cpu).await, 1);
        assert_eq!(served.get("/sleep?ms=100").await.0, 200, "{guest}: sleeping is no computing");
        served.neighbour_is_well().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_concurrency_calls_wait_and_then_are_refused() {
    let served = Served::of("abuse-p2", "limits = { concurrency = 2 }").await;
    let mut calls = Vec::new();
    for _ in 0..5 {
        let mut connection = served.connect().await;
        calls.push(tokio::spawn(async move { connection.send(get("w.test", "/sleep?ms=500")).await.0 }));
    }
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, [200, 200, 200, 200, 503], "two at once, two that wait, one too many");
    assert_eq!(served.refused(Limit::Concurrency).await, 1);
    let mut raw = Vec::new();
    for _ in 0..5 {
        raw.push(served.raw("GET /sleep?ms=500 HTTP/1.1\r\nhost: w.test\r\nconnection: close\r\n\r\n").await);
    }
    let mut retry = 0;
    for mut stream in raw {
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        retry += u32::from(answer.contains("503") && answer.contains("retry-after: 1"));
    }
    assert_eq!(retry, 1, "a refusal says when to come again");
    served.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_held_to_their_sizes() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let served = Served::of(guest, "limits = { request-body = '1KiB', response-body = '2KiB' }").await;
        assert_eq!(served.send(post("/read-body", 1024)).await, (200, "1024".into()), "{guest}");
        assert_eq!(served.send(post("/read-body", 1025)).await.0, 413, "{guest}");
        // One whose length is not said fails in the component's hands.
        let chunk = "800\r\n".to_owned() + &"x".repeat(0x800) + "\r\n0\r\n\r\n";
        let head =
            "POST /read-body HTTP/1.1\r\nhost: w.test\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        let mut stream = served.raw(head).await;
        stream.write_all(chunk.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().ok();
        assert!(!String::from_utf8_lossy(&answer).ends_with("2048"), "{guest}: all of it was read");
        assert_eq!(served.refused(Limit::RequestBody).await, 2, "{guest}");
        let (status, text) = served.get("/output?bytes=2048").await;
        assert_eq!((status, text.len()), (200, 2048), "{guest}");
        let (status, text) = served.get("/output").await;
        assert!(status == 502 || text.starts_with("cut"), "{guest}: output without end ended as if it were whole");
        assert!(served.refused(Limit::ResponseBody).await > 0, "{guest}");
        served.until("nothing goes on", |status| status.calls == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_held_to_their_size() {
    let served = Served::of("abuse-p2", "limits = { headers = '2KiB' }").await;
    let long = http::Request::get("/hello").header("host", "w.test").header("x-long", "x".repeat(3000));
    assert_eq!(served.send(long.body(Full::default()).unwrap()).await.0, 431);
    assert_eq!(served.refused(Limit::Headers).await, 1);
    assert_eq!(served.get("/headers?bytes=1000").await.0, 200);
    assert_ne!(served.get("/headers?bytes=5000").await.0, 200);
    assert_eq!(served.get("/hello").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_counted_for_an_instance() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "name = 'w'\n[volumes.data]\nhost = '{}'\n[components.it]\nsource = '{}'\nlimits = {{ files = 10 }}\n\
         volumes = [{{ volume = 'data', guest = '/data', access = 'read-write' }}]\n[[triggers.http]]\ncomponent = 'it'\nhost = 'w.test'\n",
        folder.path().display(),
        guest("abuse-p2").display()
    );
    let served = Served::new().await;
    served.host.workload_start(support::declared(&text)).await.unwrap();
    for _ in 0..3 {
        let (_, opened) = served.get("/files?n=50").await;
        assert_eq!(opened, "9 quota", "the volume itself is one of ten");
    }
    assert!(served.refused(Limit::Files).await >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_counted_for_an_instance() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Half an answer to whoever asks: the connection is in use until it is given up.
                stream.read_buf(&mut Vec::new()).await.ok();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await.ok();
                stream.read_to_end(&mut Vec::new()).await.ok();
            });
        }
    });
    let more = "hosts = ['127.0.0.1']\nlimits = { connections = 3, time = '5s' }";
    let served = Served::of("abuse-p2", more).await;
    let (_, opened) = served.get(&format!("/connections?n=10&port={port}")).await;
    assert_eq!(opened, "3 new-socket-limit");
    let (_, fetched) = served.get(&format!("/fetch?n=10&port={port}")).await;
    assert!(fetched.starts_with("3 ") && fetched.contains("ConnectionLimitReached"), "{fetched}");
    assert!(served.refused(Limit::Connections).await >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_are_counted_by_the_second() {
    let served = Served::of("abuse-p2", "limits = { log-rate = 5 }").await;
    for kind in ["log", "stdout"] {
        assert_eq!(served.get(&format!("/{kind}?n=500")).await, (200, "logged".into()), "it is not told");
    }
    // 1,000 lines took less than a hundred seconds.
    assert!(served.refused(Limit::LogRate).await > 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_empty_refuses_and_recovers() {
    let served = Served::with(wharf::Engine::builder().instances(4), |host| host).await;
    served.host.workload_start(support::workload("w", "w.test", "abuse-p2", "")).await.unwrap();
    let mut calls = Vec::new();
    for _ in 0..12 {
        let mut connection = served.connect().await;
        calls.push(tokio::spawn(async move { connection.send(get("w.test", "/sleep?ms=500")).await.0 }));
    }
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    assert!(answers.contains(&200) && answers.contains(&503), "{answers:?}");
    assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    assert!(served.refused(Limit::Instances).await > 0);
    // The last instance may be on its way back still.
    let recovered = async { while served.get("/hello").await.0 != 200 {} };
    tokio::time::timeout(Duration::from_mins(1), recovered).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_has_no_more_than_its_share_of_the_pool() {
    let mut ceilings = wharf::workload::Ceilings::default();
    ceilings.instances = Some(3);
    for mode in ["", "instances = { mode = 'warm', size = 2 }", "instances = { mode = 'reuse', idle = '1ms' }"] {
        let served = Served::with(wharf::Engine::builder(), |host| host.ceilings(ceilings.clone())).await;
        for (name, host) in [("w", "w.test"), ("n", "neighbour.test")] {
            served.host.workload_start(support::workload(name, host, "abuse-p2", mode)).await.unwrap();
        }
        let mut calls = Vec::new();
        for _ in 0..12 {
            let mut connection = served.connect().await;
            calls.push(tokio::spawn(async move { connection.send(get("w.test", "/sleep?ms=500")).await.0 }));
        }
        served
            .until("its share is used up", |status| status.refusals.get(&Limit::Instances).is_some_and(|n| *n >= 9))
            .await;
        assert_eq!(served.send(get("neighbour.test", "/hello")).await.0, 200, "{mode}");
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.await.unwrap());
        }
        answers.sort_unstable();
        assert_eq!(answers, [vec![200; 3], vec![503; 9]].concat(), "{mode}");
        let recovered = async { while served.get("/hello").await.0 != 200 {} };
        tokio::time::timeout(Duration::from_mins(1), recovered).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_in_the_middle_cuts_the_answer() {
    for (guest, mode) in [("abuse-p2", ""), ("abuse-p3", ""), ("abuse-p3", "instances = { mode = 'reuse' }")] {
        let served = Served::of(guest, mode).await;
        let mut cut = 0;
        for _ in 0..10 {
            let (status, text) = served.get("/trap-mid").await;
            cut += u32::from(text.starts_with("cut"));
            // On a busy machine it can trap before anything is out.
            assert!(text.starts_with("cut") || status == 502, "{guest} {mode}: {status} {text}");
            assert_eq!(served.get("/hello").await.0, 200, "{guest} {mode}");
        }
        assert!(cut > 0, "{guest} {mode}");
    }
    let served = Served::of("abuse-p2", "").await;
    assert_eq!(served.get("/no-answer").await.0, 502);
    let mut stream = served.raw("GET /output HTTP/1.1\r\nhost: w.test\r\n\r\n").await;
    assert!(read(&mut stream, 1 << 20).await >= 1 << 20, "output flows as long as somebody reads");
    drop(stream);
    served.until("whoever wrote has ended", |status| status.calls == 0).await;
}
