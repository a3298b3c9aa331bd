//! Whatever a component or a client does, the neighbour is served, and nothing is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use support::{ID, PATIENCE, Served, descriptors, get, read, resident, workload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wharf::HostApi as _;

/// Waits until this process has no more descriptors than so many.
async fn descriptors_are_back(at_most: usize) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while descriptors() > at_most {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{} descriptors, not {at_most}", descriptors());
}

/// One after the other in one test: they count what belongs to the whole process.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_rounds_leave_nothing_behind() {
    let served = Served::of("abuse-p2", "limits = { time = '50ms', memory = '16MiB', response-body = '1MiB' }").await;
    let p3 = workload("p3", "p3.test", "abuse-p3", "limits = { time = '50ms', memory = '16MiB' }");
    served.host.workload_start(p3).await.unwrap();
    let reuse = "instances = { mode = 'reuse', calls = 50 }\nlimits = { time = '50ms' }";
    served.host.workload_start(workload("r", "reuse.test", "abuse-p3", reuse)).await.unwrap();
    let round = async |n: usize| {
        let paths = ["/hello", "/unreachable", "/stack", "/no-answer", "/ignore-body", "/count", "/hello", "/log?n=1"];
        for (i, host) in ["w.test", "p3.test", "reuse.test"].into_iter().enumerate() {
            served.send(get(host, paths[(n + i) % paths.len()])).await;
        }
        if n.is_multiple_of(50) {
            for host in ["w.test", "p3.test", "reuse.test"] {
                for path in ["/spin", "/sleep?ms=600000", "/alloc", "/trap-mid", "/output?bytes=500000", "/grow-abort"]
                {
                    served.send(get(host, path)).await;
                }
                // One that hangs up before the answer, and one in the middle of it.
                drop(served.raw(&format!("GET /sleep?ms=600000 HTTP/1.1\r\nhost: {host}\r\n\r\n")).await);
                let mut stream = served.raw(&format!("GET /output HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
                read(&mut stream, 10_000).await;
            }
            served.neighbour_is_well().await;
        }
    };
    for n in 0..200 {
        round(n).await;
    }
    let (open, memory) = (descriptors(), resident());
    for n in 0..2000 {
        round(n).await;
    }
    for id in [ID, "default/p3", "default/r"] {
        let waited = tokio::time::timeout(PATIENCE, async {
            while served.host.workload_status(id).await.unwrap().calls > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(waited.await.is_ok(), "{id}: {:?}", served.host.workload_status(id).await);
    }
    descriptors_are_back(open + 4).await;
    // The pool keeps what it once touched; thousands of leaks would be much more than this.
    assert!(resident() < memory + 48 * 1024, "{} KiB, {memory} before", resident());
    served.neighbour_is_well().await;
    for id in [ID, "default/p3", "default/r"] {
        let stopped = served.host.workload_stop(id).await.unwrap();
        assert_eq!((stopped.calls, stopped.ready, stopped.shared), (0, 0, 0));
    }
}

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
        let served = Served::of(guest, &format!("{mode}\nlimits = {{ time = '2s' }}")).await;
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
    let open = descriptors();
    let streams = [served.raw("GET /output HTTP/1.1\r\nhost: w.test\r\n\r\n").await];
    // Its end is open still, and the server's is closed, with what wrote to it.
    served.until("it has begun", |status| status.calls == 1).await;
    served.until("it was ended", |status| status.calls == 0).await;
    descriptors_are_back(open + streams.len()).await;
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
