//! Updating and stopping a workload under load causes no error for a client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use support::{TIMEOUT, TestServer, WORKLOAD_ID, get, workload};
use wharf::StartError;
use wharf::api::State;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_updates_fail_no_request() {
    let server = Arc::new(TestServer::with_guest("hello-p2", "").await);
    let (stop, responses) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (mut connection, stopped, count) = (server.connect().await, stop.clone(), responses.clone());
        clients.push(tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                assert_eq!(connection.send(get("w.test", "/")).await.0, 200);
                count.fetch_add(1, Ordering::Relaxed);
            }
        }));
        let (mut connection, stopped, count) = (server.connect_h2().await, stop.clone(), responses.clone());
        clients.push(tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let request = http::Request::get("http://w.test/").body(Full::default()).unwrap();
                let response = connection.send_request(request).await.unwrap();
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let modes = ["", "instances = { mode = 'reuse' }", "instances = { mode = 'warm', size = 2 }"];
    for round in 0..100 {
        let (guest, mode) = (["hello-p3", "hello-p2"][round % 2], modes[round % 3]);
        let before = responses.load(Ordering::Relaxed);
        server.host.workload_update(workload("w", "w.test", guest, mode)).await.unwrap();
        // Requests succeed between two updates.
        while responses.load(Ordering::Relaxed) < before + 4 {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    server.wait_until("no call is in flight", |status| status.calls + status.shared == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_completes_on_the_old_version() {
    let server = Arc::new(TestServer::with_guest("abuse-p2", "").await);
    let mut connection = server.connect().await;
    let call = tokio::spawn(async move { connection.send(get("w.test", "/sleep?ms=700")).await });
    server.wait_until("the call sleeps", |status| status.calls == 1).await;
    let updating = tokio::spawn({
        let server = server.clone();
        async move { server.host.workload_update(workload("w", "w.test", "hello-p2", "")).await }
    });
    // The new version serves new calls before the old call is done.
    let updated = tokio::time::timeout(TIMEOUT, async {
        while !server.get("/").await.1.starts_with("Hello") {
            tokio::task::yield_now().await;
        }
    });
    updated.await.unwrap();
    assert!(!call.is_finished(), "the old call ended before the new version served calls");
    assert_eq!(call.await.unwrap(), (200, "slept".into()));
    assert_eq!(updating.await.unwrap().unwrap().state, State::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_update_keeps_the_old_version() {
    let server = TestServer::with_guest("hello-p2", "").await;
    // The neighbour has this route.
    let error = server.host.workload_update(workload("w", "neighbour.test", "hello-p3", "")).await.unwrap_err();
    assert!(matches!(error, StartError::Trigger { .. }), "{error}");
    let mut missing = workload("w", "w.test", "hello-p2", "");
    missing.components.values_mut().for_each(|component| {
        component.source = wharf::workload::manifest::Source::Path("/nowhere.wasm".into());
    });
    let error = server.host.workload_update(missing).await.unwrap_err();
    assert!(matches!(error, StartError::Invalid { .. }), "{error}");
    assert_eq!(server.get("/").await.0, 200);
    server.assert_neighbour_responds().await;
    let error = server.host.workload_update(workload("new", "new.test", "hello-p2", "")).await.unwrap_err();
    assert!(matches!(error, StartError::NotRunning { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_hanging_calls_when_the_drain_time_is_over() {
    for guest in ["abuse-p2", "abuse-p3"] {
        for mode in ["", "instances = { mode = 'reuse' }"] {
            let drain = |host: wharf::HostBuilder| host.drain(Duration::from_millis(100));
            let server = TestServer::with(wharf::Engine::builder(), drain).await;
            server.host.workload_start(workload("w", "w.test", guest, mode)).await.unwrap();
            let mut calls = Vec::new();
            for path in ["/spin", "/sleep?ms=600000"] {
                let mut connection = server.connect().await;
                calls.push(tokio::spawn(async move { connection.send(get("w.test", path)).await.0 }));
            }
            server.wait_until("both calls are in flight", |status| status.calls == 2).await;
            let stopped = tokio::time::timeout(TIMEOUT, server.host.workload_stop(WORKLOAD_ID)).await.unwrap().unwrap();
            assert_eq!((stopped.calls, stopped.shared, stopped.ready), (0, 0, 0), "{guest} {mode}");
            for call in calls {
                let status = call.await.unwrap();
                assert!([502, 503].contains(&status), "{guest} {mode}: {status}");
            }
            assert_eq!(server.get("/hello").await.0, 404);
        }
    }
}
