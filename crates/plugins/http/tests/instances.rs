//! What survives from one request to the next in each mode, and what ends an instance.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use support::{Served, get, workload};
use tokio::io::AsyncReadExt as _;
use wharf::{HostApi as _, Limit};

#[tokio::test(flavor = "multi_thread")]
async fn fresh_and_warm_keep_nothing() {
    for mode in ["", "instances = { mode = 'warm', size = 3 }"] {
        for guest in ["abuse-p2", "abuse-p3"] {
            let served = Served::of(guest, mode).await;
            for _ in 0..10 {
                assert_eq!(served.get("/count").await, (200, "1".into()), "{guest} {mode}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_instances_are_made_ahead_and_again() {
    let served = Served::of("abuse-p2", "instances = { mode = 'warm', size = 3 }").await;
    served.until("three are ready", |status| status.ready == 3).await;
    // More at once than there are: the others get fresh ones.
    let many = (0..12).map(|_| served.get("/count"));
    for answer in futures_util::future::join_all(many).await {
        assert_eq!(answer, (200, "1".into()));
    }
    served.until("three are ready again", |status| status.ready == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reuse_serves_so_many_calls_and_ends_when_idle() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let served = Served::of(guest, "instances = { mode = 'reuse', calls = 3, idle = '1m' }").await;
        let mut counts = Vec::new();
        for _ in 0..12 {
            counts.push(served.get("/count").await.1);
            // The answer may be there a moment before the instance is.
            served.until("the call is done", |status| status.calls + status.shared == 0).await;
        }
        assert_eq!(counts, ["1", "2", "3", "1", "2", "3", "1", "2", "3", "1", "2", "3"], "{guest}");
        let served = Served::of(guest, "instances = { mode = 'reuse', idle = '20ms' }").await;
        assert_eq!(served.get("/count").await.1, "1");
        served.until("nothing is kept", |status| status.ready == 0).await;
        assert_eq!(served.get("/count").await.1, "1", "{guest}: it was idle for too long");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_badly_is_not_used_again() {
    for guest in ["abuse-p2", "abuse-p3"] {
        let reuse = "instances = { mode = 'reuse', idle = '1m' }\nlimits = { time = '200ms' }";
        for (path, status) in [("/unreachable", 502), ("/spin", 504), ("/sleep?ms=60000", 504), ("/stack", 502)] {
            let served = Served::of(guest, reuse).await;
            for count in ["1", "2"] {
                assert_eq!(served.get("/count").await.1, count);
                // The answer may be there a moment before the instance is.
                served.until("the call is done", |status| status.calls + status.shared == 0).await;
            }
            assert_eq!(served.get(path).await.0, status, "{guest} {path}");
            assert_eq!(served.get("/count").await, (200, "1".into()), "{guest} after {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_serves_several_calls_at_once() {
    let served = Served::of("abuse-p3", "instances = { mode = 'reuse', concurrent = 4, idle = '1m' }").await;
    // Seen from outside: while one sleeps, three more fit into its instance, and the fifth does not.
    let sleeping = tokio::spawn({
        let request = get("w.test", "/sleep?ms=3000");
        let mut connection = served.connect().await;
        async move { connection.send(request).await }
    });
    served.until("it sleeps", |status| status.calls == 1).await;
    // It is open to others once it waits, which is soon and not at once.
    let mut counts = BTreeSet::new();
    while !sleeping.is_finished() {
        counts.insert(served.get("/count").await.1);
    }
    assert_eq!(sleeping.await.unwrap(), (200, "slept".into()));
    assert!(counts.contains("2") || counts.contains("3"), "none shared an instance: {counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_ends_the_calls_that_share_its_instance_and_no_others() {
    let served = Served::of("abuse-p3", "instances = { mode = 'reuse', concurrent = 64, idle = '1m' }").await;
    let mut sleepers = Vec::new();
    for _ in 0..8 {
        let mut connection = served.connect().await;
        let request = get("w.test", "/sleep?ms=60000");
        sleepers.push(tokio::spawn(async move { connection.send(request).await }));
    }
    served.until("all sleep", |status| status.calls == 8).await;
    // Each trap ends the instance that it came to; in the end no sleeper is left, and none hangs.
    while served.status().await.calls > 0 {
        assert_eq!(served.get("/unreachable").await.0, 502);
    }
    for sleeper in sleepers {
        assert_eq!(sleeper.await.unwrap().0, 502);
    }
    assert_eq!(served.get("/hello").await.0, 200);
    served.neighbour_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_after_the_answer_is_let_finish() {
    for mode in ["", "instances = { mode = 'reuse', idle = '1m' }"] {
        let served = Served::of("abuse-p3", mode).await;
        assert_eq!(served.get("/background").await.0, 200);
        served.until("it is done", |status| status.calls + status.shared == 0).await;
        let expected = if mode.is_empty() { "0" } else { "1" };
        assert_eq!(served.get("/background-count").await.1, expected, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_has_its_own_time_whatever_else_is_on_its_instance() {
    let served = Served::of("abuse-p3", "instances = { mode = 'reuse', idle = '1m' }\nlimits = { time = '1s' }").await;
    let mut late = served.connect().await;
    let late = tokio::spawn(async move { late.send(get("w.test", "/sleep?ms=60000")).await });
    served.until("it waits", |status| status.shared == 1).await;
    // These begin before its time is over, and end after it.
    let mut others = Vec::new();
    while !late.is_finished() {
        let mut connection = served.connect().await;
        others.push(tokio::spawn(async move { connection.send(get("w.test", "/sleep?ms=200")).await }));
        assert_eq!(served.get("/sleep?ms=20").await.0, 200);
    }
    assert_eq!(late.await.unwrap().0, 504);
    for other in others {
        assert_eq!(other.await.unwrap(), (200, "slept".into()));
    }
    assert_eq!(served.refused(Limit::Time).await, 1);
    // One whose answer has begun is cut, and the others go on.
    let mut begun = served.raw("GET /drip HTTP/1.1\r\nhost: w.test\r\n\r\n").await;
    served.until("it has begun", |status| status.shared >= 1).await;
    let mut other = served.connect().await;
    assert_eq!(served.get("/sleep?ms=500").await.0, 200);
    let other = tokio::spawn(async move { other.send(get("w.test", "/sleep?ms=900")).await });
    let mut answer = String::new();
    tokio::time::timeout(support::PATIENCE, begun.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    assert!(!other.is_finished(), "the other goes on");
    assert_eq!(other.await.unwrap(), (200, "slept".into()));
    served.until("its instance is done", |status| status.calls + status.shared == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_computes_beyond_its_time_ends_with_all_on_its_instance() {
    let served = Served::of("abuse-p3", "instances = { mode = 'reuse', idle = '1m' }\nlimits = { time = '4s' }").await;
    // Ends after the time of the one that computes, and before that of the one that waits.
    let between = workload("m", "between.test", "abuse-p2", "limits = { time = '6s' }");
    served.host.workload_start(between).await.unwrap();
    let mut connection = served.connect().await;
    let between = tokio::spawn(async move { connection.send(get("between.test", "/sleep?ms=60000")).await });
    let mut connection = served.connect().await;
    let spins = tokio::spawn(async move { connection.send(get("w.test", "/spin-late?ms=3500")).await });
    served.until("it waits", |status| status.shared == 1).await;
    assert_eq!(served.get("/sleep?ms=3000").await.0, 200);
    let mut connection = served.connect().await;
    let waits = tokio::spawn(async move { connection.send(get("w.test", "/sleep?ms=60000")).await });
    assert_eq!(spins.await.unwrap().0, 504);
    assert_eq!(waits.await.unwrap().0, 504);
    assert!(!between.is_finished(), "it ended with the younger's time, and not with its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn short_work_after_each_answer_never_ends_an_instance() {
    let limits = "limits = { time = '400ms', after-response = '400ms' }";
    let served = Served::of("abuse-p3", &format!("instances = {{ mode = 'reuse', calls = 1000000 }}\n{limits}")).await;
    let begun = Instant::now();
    let mut connection = served.connect().await;
    while begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(connection.send(get("w.test", "/background")).await, (200, "started".into()));
    }
    assert_eq!(served.status().await.refusals.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_after_an_answer_has_a_limit_of_its_own() {
    for guest in ["abuse-p2", "abuse-p3"] {
        for mode in ["", "instances = { mode = 'reuse', idle = '1m' }\n"] {
            let limits = "limits = { time = '10s', after-response = '100ms' }";
            let served = Served::of(guest, &format!("{mode}{limits}")).await;
            for (path, refused) in [("/sleep-after?ms=60000", 1), ("/spin-after", 2)] {
                assert_eq!(served.get(path).await, (200, "ok".into()), "{guest} {mode}");
                served.until("it was ended", |status| status.calls + status.shared == 0).await;
                assert_eq!(served.refused(Limit::AfterResponse).await, refused, "{guest} {mode} {path}");
            }
            assert_eq!(served.get("/sleep?ms=300").await.0, 200, "{guest} {mode}: it is for nothing else");
            let served = Served::of(guest, &format!("{mode}limits = {{ time = '100ms' }}")).await;
            assert_eq!(served.get("/sleep-after?ms=500").await.0, 200);
            served.until("it is done", |status| status.calls + status.shared == 0).await;
            assert_eq!(served.status().await.refusals.len(), 0, "{guest} {mode}: it ended by itself");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_content_is_one_when_its_head_is_out() {
    for guest in ["script-p2", "script-p3"] {
        for mode in ["", "instances = { mode = 'reuse', idle = '1m' }\n"] {
            let served =
                Served::of(guest, &format!("{mode}limits = {{ time = '10m', after-response = '100ms' }}")).await;
            for (method, script) in [
                ("HEAD", "body; respond; sleep 600000"),
                ("HEAD", "body; respond; write 60; leak; sleep 600000"),
                ("GET", "status 204; body; respond; sleep 600000"),
            ] {
                let request = http::Request::builder().method(method).uri("/").header("host", "w.test");
                let request = request.header("x-script", script).body(http_body_util::Full::default()).unwrap();
                let status = served.send(request).await.0;
                assert!([200, 204].contains(&status), "{guest} {mode} {script}: {status}");
                served.until("what it did after that was ended", |status| status.calls + status.shared == 0).await;
            }
            assert_eq!(served.refused(Limit::AfterResponse).await, 3, "{guest} {mode}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_after_an_answer_counts_as_a_call() {
    for guest in ["abuse-p2", "abuse-p3"] {
        for mode in ["", "instances = { mode = 'reuse', idle = '1m' }\n"] {
            let served = Served::of(guest, &format!("{mode}limits = {{ concurrency = 2 }}")).await;
            let mut connection = served.connect().await;
            for _ in 0..20 {
                assert_eq!(connection.send(get("w.test", "/spin-after?ms=50")).await, (200, "ok".into()));
                let status = served.status().await;
                // One may wait, and one that is done be counted yet.
                assert!(status.calls <= 4, "{guest} {mode}: {status:?}");
            }
            assert_eq!(served.status().await.refusals.len(), 0, "{guest} {mode}: its client waited");
        }
    }
}
