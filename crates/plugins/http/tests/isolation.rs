//! Whatever a component or a client does, the neighbour is served.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use support::{PATIENCE, Served, read, workload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wharf::HostApi as _;

#[tokio::test(flavor = "multi_thread")]
async fn components_that_spin_leave_the_neighbour_and_the_host_alive() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let served = Served::of(guest, "limits = { concurrency = 16, time = '1m', cpu = '1m' }").await;
        let mut spinning = Vec::new();
        for _ in 0..16 {
            spinning.push(served.raw("GET /spin HTTP/1.1\r\nhost: w.test\r\n\r\n").await);
        }
        served.until("all spin", |status| status.calls == 16).await;
        for _ in 0..50 {
            served.neighbour_is_well().await;
        }
        assert_eq!(served.host.heartbeat().await.workloads.len(), 2);
        // Clients that hang up end what they asked for.
        drop(spinning);
        served.until("nothing spins", |status| status.calls == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_nobody_reads_and_bodies_that_never_come_cost_no_more_than_themselves() {
    for (guest, mode) in [("abuse-p2", ""), ("abuse-p3", ""), ("abuse-p3", "instances = { mode = 'reuse' }")] {
        // What was written counts until it is read, or its reader is given up.
        let mut settings = Served::settings();
        settings.write_timeout = Duration::from_secs(1);
        let served = Served::on(settings, wharf::Engine::builder(), |host| host).await;
        let spends = workload("w", "w.test", guest, &format!("{mode}\nlimits = {{ time = '2s' }}"));
        served.host.workload_start(spends).await.unwrap();
        served.host.workload_start(workload("n", "neighbour.test", "hello-p2", "")).await.unwrap();
        let mut idle = Vec::new();
        for _ in 0..8 {
            idle.push(served.raw("GET /output HTTP/1.1\r\nhost: w.test\r\n\r\n").await);
            idle.push(served.raw("POST /read-body HTTP/1.1\r\nhost: w.test\r\ncontent-length: 99\r\n\r\nabc").await);
        }
        served.neighbour_is_well().await;
        assert_eq!(served.get("/ignore-body").await, (200, "ignored".into()), "{guest} {mode}");
        served.until("their time is up", |status| status.calls + status.shared == 0).await;
        served.neighbour_is_well().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_let_go() {
    let mut settings = Served::settings();
    settings.write_timeout = Duration::from_millis(200);
    let served = Served::on(settings, wharf::Engine::builder(), |host| host).await;
    served.host.workload_start(workload("w", "w.test", "abuse-p2", "")).await.unwrap();
    let mut stream = served.raw("GET /output HTTP/1.1\r\nhost: w.test\r\n\r\n").await;
    served.until("it has begun", |status| status.calls == 1).await;
    served.until("it was ended", |status| status.calls == 0).await;
    // What was on its way is there still, and after that the end.
    read(&mut stream, usize::MAX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_connections_are_served() {
    let served = Served::of("hello-p2", "limits = { concurrency = 64 }").await;
    let mut streams = Vec::new();
    // As many as the system lets this process have at both ends, up to two thousand.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1024);
    for _ in 0..(limit / 4).min(2000) {
        streams.push(served.raw("").await);
    }
    for stream in &mut streams {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: w.test\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    served.neighbour_is_well().await;
}
