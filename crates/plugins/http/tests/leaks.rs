//! Thousands of rounds of abuse leave nothing behind. Alone in its process, because what it counts is the process's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use support::{ID, PATIENCE, Served, descriptors, get, read, resident, workload};
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
