//! A service of WASI 0.3 that takes requests: one instance, in which `run` goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use support::{TestServer, WORKLOAD_ID, get, workload};
use wharf::api::ServiceState;

async fn worker(more: &str) -> TestServer {
    let server = TestServer::new().await;
    server.host.workload_start(workload("w", "w.test", "worker-p3", &format!("service = true\n{more}"))).await.unwrap();
    server
}

/// The number after a word of the worker's report.
fn number(text: &str, word: &str) -> u32 {
    let mut words = text.split_whitespace().skip_while(|w| *w != word);
    words.nth(1).and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no `{word}` in {text:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn run_and_requests_share_one_instance() {
    let server = Arc::new(worker("").await);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let server = server.clone();
        asking.spawn(async move { server.get("/wait?ms=20").await });
    }
    while let Some(asked) = asking.join_next().await {
        assert_eq!(asked.unwrap().0, 200);
    }
    let (status, text) = server.get("/count").await;
    assert_eq!(status, 200);
    assert_eq!(number(&text, "requests"), 51, "{text}");
    assert!(number(&text, "steps") > 0, "`run` goes on: {text}");
    assert!(server.get("/stream?ms=5").await.1 == "piece\npiece\n");
    assert_eq!(server.status().await.services[0].state, ServiceState::Running);
}

/// `run` returns while a call is in progress: the call completes in its instance, and the next one is made in another.
#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_for_the_next_instance_while_the_last_one_completes() {
    for (restart, end) in [("always", "/done"), ("on-failure", "/fail")] {
        let server = Arc::new(TestServer::new().await);
        let more = format!("service = {{ restart = '{restart}' }}");
        server.host.workload_start(workload("w", "w.test", "worker-p3", &more)).await.unwrap();
        let waiting = {
            let server = server.clone();
            tokio::spawn(async move { server.get("/wait?ms=400").await })
        };
        server.wait_until("the request is in progress", |status| status.calls == 1).await;
        assert_eq!(server.get(end).await.0, 200);
        // Each of these is answered by the instance that ends or by the next one, and none by neither.
        while server.status().await.services[0].restarts == 0 {
            let (status, text) = server.get("/count").await;
            assert_eq!(status, 200, "{restart}: {text}");
        }
        assert_eq!(waiting.await.unwrap().0, 200, "{restart}: the call in progress completes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_restarts_the_instance_as_a_whole() {
    let server = Arc::new(worker("").await);
    let waiting = {
        let server = server.clone();
        tokio::spawn(async move { server.get("/wait?ms=60000").await })
    };
    server.wait_until("the request is in progress", |status| status.calls == 1).await;
    assert_eq!(server.get("/trap").await.0, 502);
    assert_eq!(waiting.await.unwrap().0, 502, "the other call ended with its instance");
    // The next request waits for the restart.
    let (status, text) = server.get("/count").await;
    assert_eq!((status, number(&text, "requests")), (200, 1), "{text}");
    assert_eq!(server.status().await.services[0].restarts, 1);
    server.wait_until("no call is left", |status| status.calls == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_run_succeeded_serves_on() {
    let server = worker("").await;
    assert_eq!(server.get("/done").await.0, 200);
    let ended = async { while !server.get("/count").await.1.contains("run ended") {} };
    tokio::time::timeout(support::TIMEOUT, ended).await.unwrap();
    assert_eq!(server.status().await.services[0].restarts, 0);
    let always = worker("").await;
    let restarted = workload("w", "w.test", "worker-p3", "service = { restart = 'always' }");
    always.host.workload_update(restarted).await.unwrap();
    assert_eq!(always.get("/done").await.0, 200);
    always.wait_until("the service has restarted", |status| status.services[0].restarts == 1).await;
    assert!(always.get("/count").await.1.contains("requests 1 run runs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_failed_for_good_refuses_requests() {
    let server = worker("").await;
    server.host.workload_update(workload("w", "w.test", "worker-p3", "service = { restart = 'never' }")).await.unwrap();
    assert_eq!(server.get("/fail").await.0, 200);
    server.wait_until("the service has failed", |status| status.services[0].state == ServiceState::Failed).await;
    let (status, text) = server.get("/count").await;
    assert_eq!((status, text.as_str()), (503, "the service has ended\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_call_ends_alone_and_one_that_spins_ends_the_instance() {
    let server = worker("limits = { time = '300ms' }").await;
    assert_eq!(server.get("/wait?ms=10000").await.0, 504);
    let (_, text) = server.get("/count").await;
    assert_eq!(number(&text, "requests"), 2, "the instance goes on: {text}");
    // `run` itself has no limit of time.
    while number(&server.get("/count").await.1, "steps") < 40 {}
    assert_eq!(server.status().await.services[0].restarts, 0);
    assert_eq!(server.get("/spin").await.0, 504);
    server.wait_until("the service has restarted", |status| status.services[0].restarts == 1).await;
    assert_eq!(number(&server.get("/count").await.1, "requests"), 1);
}

/// A client that goes away ends its call and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_leaves_the_service_alone() {
    let server = worker("").await;
    for i in 0..20 {
        let client = server.connect_raw("GET /wait?ms=50 HTTP/1.1\r\nhost: w.test\r\n\r\n").await;
        if i % 2 == 0 {
            server.wait_until("the request is in progress", |status| status.calls > 0).await;
        }
        drop(client);
    }
    assert_eq!(server.get("/count").await.0, 200);
    server.wait_until("no call is left", |status| status.calls == 0).await;
    assert_eq!(server.status().await.services[0].restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_moves_requests_to_the_new_instance() {
    let server = Arc::new(worker("").await);
    let waiting = {
        let server = server.clone();
        tokio::spawn(async move { server.get("/wait?ms=300").await })
    };
    server.wait_until("the request is in progress", |status| status.calls == 1).await;
    server
        .host
        .workload_update(workload("w", "w.test", "worker-p3", "service = true\nenv = { VERSION = '2' }"))
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap().0, 200, "the old instance answered before it ended");
    assert_eq!(number(&server.get("/count").await.1, "requests"), 1);
    server.host.workload_stop(WORKLOAD_ID).await.unwrap();
    assert_eq!(server.get("/count").await.0, 404);
}

/// A service with requests on a port of the machine is handed over when its calls have ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_hands_a_real_port_and_its_requests_over() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let server = Arc::new(TestServer::new().await);
    let version = |n: u32| {
        let more = format!("service = true\nhosts = ['*']\nargs = ['{port}']\nenv = {{ VERSION = '{n}' }}");
        workload("w", "w.test", "worker-p3", &more)
    };
    server.host.workload_start(version(0)).await.unwrap();
    for n in 1..4 {
        let asking = {
            let server = server.clone();
            tokio::spawn(async move {
                let mut connection = server.connect().await;
                for _ in 0..20 {
                    let (status, text) = connection.send(get("w.test", "/wait?ms=10")).await;
                    assert_eq!(status, 200, "{text}");
                }
            })
        };
        server.host.workload_update(version(n)).await.unwrap();
        asking.await.unwrap();
        assert_eq!(server.status().await.services[0].restarts, 0);
    }
}

/// Calls that join an instance while it computes end with it, when it ends before they start.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_a_spinning_instance_end_with_it() {
    let server = Arc::new(worker("limits = { time = '500ms' }").await);
    let asking = |path: &'static str| {
        let server = server.clone();
        tokio::spawn(async move { server.get(path).await.0 })
    };
    let spinning = asking("/spin");
    server.wait_until("the request is in progress", |status| status.calls == 1).await;
    let joined: Vec<_> = (0..5).map(|_| asking("/count")).collect();
    assert_eq!(spinning.await.unwrap(), 504);
    for call in joined {
        // One that came after the end is answered by the next instance.
        let status = call.await.unwrap();
        assert!([200, 502, 504].contains(&status), "{status}");
    }
    server.wait_until("no call is left", |status| status.calls == 0).await;
    assert_eq!(server.get("/count").await.0, 200);
}

/// The guest writes on after its client is gone, which the engine answers with a trap if its stream was dropped.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_stream_ends_no_instance() {
    let server = Arc::new(worker("").await);
    let waiting = {
        let server = server.clone();
        tokio::spawn(async move { server.get("/wait?ms=1000").await })
    };
    for i in 0..40 {
        let mut client = server.connect_raw("GET /stream?ms=20 HTTP/1.1\r\nhost: w.test\r\n\r\n").await;
        if i % 2 == 0 {
            assert!(support::read_up_to(&mut client, 20).await > 0);
        }
        drop(client);
    }
    assert_eq!(waiting.await.unwrap().0, 200);
    server.wait_until("no call is left", |status| status.calls == 0).await;
    assert_eq!(server.status().await.services[0].restarts, 0);
}
