//! Which state survives from one request to the next in each instance mode, and what ends an instance.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use support::{TestServer, get, workload};
use tokio::io::AsyncReadExt as _;
use wharf::Limit;

#[tokio::test(flavor = "multi_thread")]
async fn fresh_and_warm_instances_keep_no_state() {
    for mode in ["", "instances = { mode = 'warm', size = 3 }"] {
        for guest in ["abuse-p2", "abuse-p3"] {
            let server = TestServer::with_guest(guest, mode).await;
            for _ in 0..10 {
                assert_eq!(server.get("/count").await, (200, "1".into()), "{guest} {mode}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replenishes_warm_instances() {
    let server = TestServer::with_guest("abuse-p2", "instances = { mode = 'warm', size = 3 }").await;
    server.wait_until("three instances are ready", |status| status.ready == 3).await;
    // More concurrent calls than warm instances: the others use fresh instances.
    let many = (0..12).map(|_| server.get("/count"));
    for response in futures_util::future::join_all(many).await {
        assert_eq!(response, (200, "1".into()));
    }
    server.wait_until("three instances are ready again", |status| status.ready == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reused_instances_end_after_their_calls_or_when_idle() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let server = TestServer::with_guest(guest, "instances = { mode = 'reuse', calls = 3, idle = '1m' }").await;
        let mut counts = Vec::new();
        for _ in 0..12 {
            counts.push(server.get("/count").await.1);
            // The response may arrive a moment before the instance is returned to the pool.
            server.wait_until("the call is done", |status| status.calls + status.shared == 0).await;
        }
        assert_eq!(counts, ["1", "2", "3", "1", "2", "3", "1", "2", "3", "1", "2", "3"], "{guest}");
        let server = TestServer::with_guest(guest, "instances = { mode = 'reuse', idle = '20ms' }").await;
        assert_eq!(server.get("/count").await.1, "1");
        server.wait_until("no instance is kept", |status| status.ready == 0).await;
        assert_eq!(server.get("/count").await.1, "1", "{guest}: the idle instance has ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn does_not_reuse_an_instance_after_a_failure() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let reuse = "instances = { mode = 'reuse', idle = '1m' }\nlimits = { time = '200ms' }";
        for (path, status) in [("/unreachable", 502), ("/spin", 504), ("/sleep?ms=60000", 504), ("/stack", 502)] {
            let server = TestServer::with_guest(guest, reuse).await;
            for count in ["1", "2"] {
                assert_eq!(server.get("/count").await.1, count);
                // The response may arrive a moment before the instance is returned to the pool.
                server.wait_until("the call is done", |status| status.calls + status.shared == 0).await;
            }
            assert_eq!(server.get(path).await.0, status, "{guest} {path}");
            assert_eq!(server.get("/count").await, (200, "1".into()), "{guest} after {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_serves_concurrent_calls() {
    let server =
        TestServer::with_guest("abuse-p3", "instances = { mode = 'reuse', concurrent = 4, idle = '1m' }").await;
    // While one call sleeps, its instance has room for three more.
    let sleeping = tokio::spawn({
        let request = get("w.test", "/sleep?ms=3000");
        let mut connection = server.connect().await;
        async move { connection.send(request).await }
    });
    server.wait_until("the call sleeps", |status| status.calls == 1).await;
    // Other calls may join the instance only once its first call waits.
    let mut counts = BTreeSet::new();
    while !sleeping.is_finished() {
        counts.insert(server.get("/count").await.1);
    }
    assert_eq!(sleeping.await.unwrap(), (200, "slept".into()));
    assert!(counts.contains("2") || counts.contains("3"), "no call shared the instance: {counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_ends_the_calls_that_share_its_instance_and_no_others() {
    let server =
        TestServer::with_guest("abuse-p3", "instances = { mode = 'reuse', concurrent = 64, idle = '1m' }").await;
    let mut sleepers = Vec::new();
    for _ in 0..8 {
        let mut connection = server.connect().await;
        let request = get("w.test", "/sleep?ms=60000");
        sleepers.push(tokio::spawn(async move { connection.send(request).await }));
    }
    server.wait_until("all calls sleep", |status| status.calls == 8).await;
    // Each trap ends the instance that it occurs in, so eventually every sleeping call has ended.
    while server.status().await.calls > 0 {
        assert_eq!(server.get("/unreachable").await.0, 502);
    }
    for sleeper in sleepers {
        assert_eq!(sleeper.await.unwrap().0, 502);
    }
    assert_eq!(server.get("/hello").await.0, 200);
    server.assert_neighbour_responds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_after_the_response_completes() {
    for mode in ["", "instances = { mode = 'reuse', idle = '1m' }"] {
        let server = TestServer::with_guest("abuse-p3", mode).await;
        assert_eq!(server.get("/background").await.0, 200);
        server.wait_until("the call is done", |status| status.calls + status.shared == 0).await;
        let expected = if mode.is_empty() { "0" } else { "1" };
        assert_eq!(server.get("/background-count").await.1, expected, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_on_a_shared_instance_has_its_own_time_limit() {
    let server =
        TestServer::with_guest("abuse-p3", "instances = { mode = 'reuse', idle = '1m' }\nlimits = { time = '1s' }")
            .await;
    let mut late = server.connect().await;
    let late = tokio::spawn(async move { late.send(get("w.test", "/sleep?ms=60000")).await });
    server.wait_until("the call waits", |status| status.shared == 1).await;
    // These calls start before its deadline, and end after it.
    let mut others = Vec::new();
    while !late.is_finished() {
        let mut connection = server.connect().await;
        others.push(tokio::spawn(async move { connection.send(get("w.test", "/sleep?ms=200")).await }));
        assert_eq!(server.get("/sleep?ms=20").await.0, 200);
    }
    assert_eq!(late.await.unwrap().0, 504);
    for other in others {
        assert_eq!(other.await.unwrap(), (200, "slept".into()));
    }
    assert_eq!(server.refusals(Limit::Time).await, 1);
    // A call whose response has begun is truncated at its deadline, and the others continue.
    let mut begun = server.connect_raw("GET /drip HTTP/1.1\r\nhost: w.test\r\n\r\n").await;
    server.wait_until("the response has begun", |status| status.shared >= 1).await;
    let mut other = server.connect().await;
    assert_eq!(server.get("/sleep?ms=500").await.0, 200);
    let other = tokio::spawn(async move { other.send(get("w.test", "/sleep?ms=900")).await });
    let mut response = String::new();
    tokio::time::timeout(support::TIMEOUT, begun.read_to_string(&mut response)).await.unwrap().unwrap();
    assert!(response.starts_with("HTTP/1.1 200") && !response.ends_with("0\r\n\r\n"), "{response}");
    assert!(!other.is_finished(), "the other call continues");
    assert_eq!(other.await.unwrap(), (200, "slept".into()));
    server.wait_until("the instance is done", |status| status.calls + status.shared == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_spins_past_its_deadline_ends_its_shared_instance() {
    let server =
        TestServer::with_guest("abuse-p3", "instances = { mode = 'reuse', idle = '1m' }\nlimits = { time = '4s' }")
            .await;
    // Its deadline is after that of the call that spins, and before that of the call that waits.
    let between = workload("m", "between.test", "abuse-p2", "limits = { time = '6s' }");
    server.host.workload_start(between).await.unwrap();
    let mut connection = server.connect().await;
    let between = tokio::spawn(async move { connection.send(get("between.test", "/sleep?ms=60000")).await });
    let mut connection = server.connect().await;
    let spins = tokio::spawn(async move { connection.send(get("w.test", "/spin-late?ms=3500")).await });
    server.wait_until("the call waits", |status| status.shared == 1).await;
    assert_eq!(server.get("/sleep?ms=3000").await.0, 200);
    let mut connection = server.connect().await;
    let waits = tokio::spawn(async move { connection.send(get("w.test", "/sleep?ms=60000")).await });
    assert_eq!(spins.await.unwrap().0, 504);
    assert_eq!(waits.await.unwrap().0, 504);
    assert!(!between.is_finished(), "the waiting call ended at its own deadline, not with the instance");
}

#[tokio::test(flavor = "multi_thread")]
async fn short_work_after_each_response_never_ends_an_instance() {
    let limits = "limits = { time = '400ms', after-response = '400ms' }";
    let server =
        TestServer::with_guest("abuse-p3", &format!("instances = {{ mode = 'reuse', calls = 1000000 }}\n{limits}"))
            .await;
    let begun = Instant::now();
    let mut connection = server.connect().await;
    while begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(connection.send(get("w.test", "/background")).await, (200, "started".into()));
    }
    assert_eq!(server.status().await.refusals.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_after_a_response_has_a_limit_of_its_own() {
    for guest in ["abuse-p2", "abuse-p3"] {
        for mode in ["", "instances = { mode = 'reuse', idle = '1m' }\n"] {
            let limits = "limits = { time = '10s', after-response = '100ms' }";
            let server = TestServer::with_guest(guest, &format!("{mode}{limits}")).await;
            for (path, refused) in [("/sleep-after?ms=60000", 1), ("/spin-after", 2)] {
                assert_eq!(server.get(path).await, (200, "ok".into()), "{guest} {mode}");
                server.wait_until("the work has ended", |status| status.calls + status.shared == 0).await;
                assert_eq!(server.refusals(Limit::AfterResponse).await, refused, "{guest} {mode} {path}");
            }
            assert_eq!(
                server.get("/sleep?ms=300").await.0,
                200,
                "{guest} {mode}: `after-response` must not limit the call itself"
            );
            let server = TestServer::with_guest(guest, &format!("{mode}limits = {{ time = '100ms' }}")).await;
            assert_eq!(server.get("/sleep-after?ms=500").await.0, 200);
            server.wait_until("the call is done", |status| status.calls + status.shared == 0).await;
            assert_eq!(server.status().await.refusals.len(), 0, "{guest} {mode}: the call ended by itself");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_without_content_is_complete_after_its_head() {
    for guest in ["script-p2", "script-p3"] {
        for mode in ["", "instances = { mode = 'reuse', idle = '1m' }\n"] {
            let server =
                TestServer::with_guest(guest, &format!("{mode}limits = {{ time = '10m', after-response = '100ms' }}"))
                    .await;
            for (method, script) in [
                ("HEAD", "body; respond; sleep 600000"),
                ("HEAD", "body; respond; write 60; leak; sleep 600000"),
                ("GET", "status 204; body; respond; sleep 600000"),
            ] {
                let request = http::Request::builder().method(method).uri("/").header("host", "w.test");
                let request = request.header("x-script", script).body(http_body_util::Full::default()).unwrap();
                let status = server.send(request).await.0;
                assert!([200, 204].contains(&status), "{guest} {mode} {script}: {status}");
                server
                    .wait_until("the work after the response has ended", |status| status.calls + status.shared == 0)
                    .await;
            }
            assert_eq!(server.refusals(Limit::AfterResponse).await, 3, "{guest} {mode}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_after_a_response_counts_as_a_call() {
    for guest in ["abuse-p2", "abuse-p3"] {
        for mode in ["", "instances = { mode = 'reuse', idle = '1m' }\n"] {
            let server = TestServer::with_guest(guest, &format!("{mode}limits = {{ concurrency = 2 }}")).await;
            let mut connection = server.connect().await;
            for _ in 0..20 {
                assert_eq!(connection.send(get("w.test", "/spin-after?ms=50")).await, (200, "ok".into()));
                let status = server.status().await;
                // One call may wait, and one that has just ended may still be counted.
                assert!(status.calls <= 4, "{guest} {mode}: {status:?}");
            }
            assert_eq!(server.status().await.refusals.len(), 0, "{guest} {mode}: no call may be refused");
        }
    }
}

/// `most` instances serve all calls, however many there are, and are kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_instances_serves_all_calls() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let server = TestServer::with_guest(guest, "instances = { mode = 'reuse', most = 1 }").await;
        let many = (0..40).map(|_| server.get("/sleep?ms=5"));
        for (status, text) in futures_util::future::join_all(many).await {
            assert_eq!(status, 200, "{guest}: {text}");
        }
        for count in 1..4 {
            assert_eq!(server.get("/count").await, (200, count.to_string()), "{guest}");
        }
        // Calls that compute wait for the instance, too.
        let many = (0..8).map(|_| server.get("/count"));
        let counts: BTreeSet<u32> =
            futures_util::future::join_all(many).await.into_iter().map(|(_, text)| text.parse().unwrap()).collect();
        assert_eq!(counts, (4..12).collect(), "{guest}");
        // A trap ends the instance, and the next call gets a new one.
        assert_eq!(server.get("/unreachable").await.0, 502);
        assert_eq!(server.get("/count").await, (200, "1".into()), "{guest}");
        server.wait_until("no call is left", |status| status.calls == 0).await;
    }
    let server = TestServer::with_guest("abuse-p2", "instances = { mode = 'reuse', most = 2 }").await;
    let many = (0..20).map(|_| server.get("/count"));
    let highest = futures_util::future::join_all(many).await.into_iter().map(|(_, text)| text.parse::<u32>().unwrap());
    assert!(highest.max().unwrap() >= 10, "two instances share twenty calls");
    server.wait_until("both are ready", |status| status.ready <= 2 && status.calls == 0).await;
}
