//! Thousands of failing and aborted requests leak nothing. This test has a process of its own, because it counts the
//! file descriptors and memory of the process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use support::{TIMEOUT, TestServer, WORKLOAD_ID, get, open_descriptors, read_up_to, resident_kib, workload};

/// Waits until this process has at most this many file descriptors open.
async fn wait_for_descriptors(at_most: usize) {
    let waited = tokio::time::timeout(TIMEOUT, async {
        while open_descriptors() > at_most {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{} open_descriptors, not {at_most}", open_descriptors());
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_requests_leak_no_descriptors_memory_or_instances() {
    let server =
        TestServer::with_guest("abuse-p2", "limits = { time = '50ms', memory = '16MiB', response-body = '1MiB' }")
            .await;
    let p3 = workload("p3", "p3.test", "abuse-p3", "limits = { time = '50ms', memory = '16MiB' }");
    server.host.workload_start(p3).await.unwrap();
    let reuse = "instances = { mode = 'reuse', calls = 50 }\nlimits = { time = '50ms' }";
    server.host.workload_start(workload("r", "reuse.test", "abuse-p3", reuse)).await.unwrap();
    let round = async |n: usize| {
        let paths = ["/hello", "/unreachable", "/stack", "/no-answer", "/ignore-body", "/count", "/hello", "/log?n=1"];
        for (i, host) in ["w.test", "p3.test", "reuse.test"].into_iter().enumerate() {
            server.send(get(host, paths[(n + i) % paths.len()])).await;
        }
        if n.is_multiple_of(50) {
            for host in ["w.test", "p3.test", "reuse.test"] {
                for path in ["/spin", "/sleep?ms=600000", "/alloc", "/trap-mid", "/output?bytes=500000", "/grow-abort"]
                {
                    server.send(get(host, path)).await;
                }
                // One client disconnects before the response, and one in the middle of it.
                drop(server.connect_raw(&format!("GET /sleep?ms=600000 HTTP/1.1\r\nhost: {host}\r\n\r\n")).await);
                let mut stream = server.connect_raw(&format!("GET /output HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
                read_up_to(&mut stream, 10_000).await;
            }
            server.assert_neighbour_responds().await;
        }
    };
    for n in 0..200 {
        round(n).await;
    }
    let (open, memory) = (open_descriptors(), resident_kib());
    for n in 0..2000 {
        round(n).await;
    }
    for id in [WORKLOAD_ID, "default/p3", "default/r"] {
        let waited = tokio::time::timeout(TIMEOUT, async {
            while server.host.workload_status(id).await.unwrap().calls > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(waited.await.is_ok(), "{id}: {:?}", server.host.workload_status(id).await);
    }
    wait_for_descriptors(open + 4).await;
    // The instance pool keeps the memory that it has touched; thousands of leaks would exceed this allowance.
    assert!(resident_kib() < memory + 48 * 1024, "{} KiB, {memory} before", resident_kib());
    server.assert_neighbour_responds().await;
    for id in [WORKLOAD_ID, "default/p3", "default/r"] {
        let stopped = server.host.workload_stop(id).await.unwrap();
        assert_eq!((stopped.calls, stopped.ready, stopped.shared), (0, 0, 0));
    }
}
