//! A component or client that misbehaves does not affect the workload next to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use support::{TIMEOUT, TestServer, read_up_to, workload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test(flavor = "multi_thread")]
async fn spinning_components_do_not_block_the_neighbour_or_the_host() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let server = TestServer::with_guest(guest, "limits = { concurrency = 16, time = '1m', cpu = '1m' }").await;
        let mut spinning = Vec::new();
        for _ in 0..16 {
            spinning.push(server.connect_raw("GET /spin HTTP/1.1\r\nhost: w.test\r\n\r\n").await);
        }
        server.wait_until("all calls spin", |status| status.calls == 16).await;
        for _ in 0..50 {
            server.assert_neighbour_responds().await;
        }
        assert_eq!(server.host.heartbeat().await.workloads.len(), 2);
        // A client that disconnects ends its call.
        drop(spinning);
        server.wait_until("no call spins", |status| status.calls == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_responses_and_missing_request_bodies_do_not_block_others() {
    for (guest, mode) in [("abuse-p2", ""), ("abuse-p3", ""), ("abuse-p3", "instances = { mode = 'reuse' }")] {
        // A written response counts as a call until its client reads it, or is disconnected.
        let mut settings = TestServer::settings();
        settings.write_timeout = Duration::from_secs(1);
        let server = TestServer::with_settings(settings, wharf::Engine::builder(), |host| host).await;
        let spends = workload("w", "w.test", guest, &format!("{mode}\nlimits = {{ time = '2s' }}"));
        server.host.workload_start(spends).await.unwrap();
        server.host.workload_start(workload("n", "neighbour.test", "hello-p2", "")).await.unwrap();
        let mut idle = Vec::new();
        for _ in 0..8 {
            idle.push(server.connect_raw("GET /output HTTP/1.1\r\nhost: w.test\r\n\r\n").await);
            idle.push(
                server.connect_raw("POST /read-body HTTP/1.1\r\nhost: w.test\r\ncontent-length: 99\r\n\r\nabc").await,
            );
        }
        server.assert_neighbour_responds().await;
        assert_eq!(server.get("/ignore-body").await, (200, "ignored".into()), "{guest} {mode}");
        server.wait_until("the calls have reached their time limit", |status| status.calls + status.shared == 0).await;
        server.assert_neighbour_responds().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnects_a_client_that_never_reads() {
    let mut settings = TestServer::settings();
    settings.write_timeout = Duration::from_millis(200);
    let server = TestServer::with_settings(settings, wharf::Engine::builder(), |host| host).await;
    server.host.workload_start(workload("w", "w.test", "abuse-p2", "")).await.unwrap();
    let mut stream = server.connect_raw("GET /output HTTP/1.1\r\nhost: w.test\r\n\r\n").await;
    server.wait_until("the call has begun", |status| status.calls == 1).await;
    server.wait_until("the call has ended", |status| status.calls == 0).await;
    // The socket still holds bytes, and closes after them.
    read_up_to(&mut stream, usize::MAX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_thousands_of_connections() {
    let server = TestServer::with_guest("hello-p2", "limits = { concurrency = 64 }").await;
    let mut streams = Vec::new();
    // The process has both ends of each connection open, so the limit on descriptors bounds their number.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1024);
    for _ in 0..(limit / 4).min(2000) {
        streams.push(server.connect_raw("").await);
    }
    for stream in &mut streams {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: w.test\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut response = String::new();
        tokio::time::timeout(TIMEOUT, stream.read_to_string(&mut response)).await.unwrap().unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    }
    server.assert_neighbour_responds().await;
}
