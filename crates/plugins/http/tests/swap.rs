//! A workload is replaced and stopped under load, and no client sees an error.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use support::{ID, PATIENCE, Served, get, workload};
use wharf::host::State;
use wharf::{HostApi as _, StartError};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_swaps_drop_nothing() {
    let served = Arc::new(Served::of("hello-p2", "").await);
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (mut connection, stopped, count) = (served.connect().await, stop.clone(), answered.clone());
        clients.push(tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                assert_eq!(connection.send(get("w.test", "/")).await.0, 200);
                count.fetch_add(1, Ordering::Relaxed);
            }
        }));
        let (mut connection, stopped, count) = (served.connect_h2().await, stop.clone(), answered.clone());
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
        let before = answered.load(Ordering::Relaxed);
        served.host.workload_update(workload("w", "w.test", guest, mode)).await.unwrap();
        // Somebody is served between two swaps.
        while answered.load(Ordering::Relaxed) < before + 4 {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    served.until("nothing is under way", |status| status.calls + status.shared == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_ends_on_the_version_that_it_began_on() {
    let served = Arc::new(Served::of("abuse-p2", "").await);
    let mut connection = served.connect().await;
    let call = tokio::spawn(async move { connection.send(get("w.test", "/sleep?ms=700")).await });
    served.until("it sleeps", |status| status.calls == 1).await;
    let updating = tokio::spawn({
        let served = served.clone();
        async move { served.host.workload_update(workload("w", "w.test", "hello-p2", "")).await }
    });
    // New calls go to the new one before the old one is done.
    let new = tokio::time::timeout(PATIENCE, async {
        while !served.get("/").await.1.starts_with("Hello") {
            tokio::task::yield_now().await;
        }
    });
    new.await.unwrap();
    assert!(!call.is_finished(), "the old call was not waited for");
    assert_eq!(call.await.unwrap(), (200, "slept".into()));
    assert_eq!(updating.await.unwrap().unwrap().state, State::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_replaces_nothing() {
    let served = Served::of("hello-p2", "").await;
    // The neighbour's route.
    let error = served.host.workload_update(workload("w", "neighbour.test", "hello-p3", "")).await.unwrap_err();
    assert!(matches!(error, StartError::Trigger { .. }), "{error}");
    let mut missing = workload("w", "w.test", "hello-p2", "");
    missing.components.values_mut().for_each(|component| {
        component.source = wharf::workload::manifest::Source::Path("/nowhere.wasm".into());
    });
    let error = served.host.workload_update(missing).await.unwrap_err();
    assert!(matches!(error, StartError::Unresolved { .. }), "{error}");
    assert_eq!(served.get("/").await.0, 200);
    served.neighbour_is_well().await;
    let error = served.host.workload_update(workload("new", "new.test", "hello-p2", "")).await.unwrap_err();
    assert!(matches!(error, StartError::NotRunning { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_is_ended_when_the_time_to_drain_is_over() {
    for guest in ["abuse-p2", "abuse-p3"] {
        for mode in ["", "instances = { mode = 'reuse' }"] {
            let drain = |host: wharf::HostBuilder| host.drain(Duration::from_millis(100));
            let served = Served::with(wharf::Engine::builder(), drain).await;
            served.host.workload_start(workload("w", "w.test", guest, mode)).await.unwrap();
            let mut calls = Vec::new();
            for path in ["/spin", "/sleep?ms=600000"] {
                let mut connection = served.connect().await;
                calls.push(tokio::spawn(async move { connection.send(get("w.test", path)).await.0 }));
            }
            served.until("both are under way", |status| status.calls == 2).await;
            let stopped = tokio::time::timeout(PATIENCE, served.host.workload_stop(ID)).await.unwrap().unwrap();
            assert_eq!((stopped.calls, stopped.shared, stopped.ready), (0, 0, 0), "{guest} {mode}");
            for call in calls {
                let status = call.await.unwrap();
                assert!([502, 503].contains(&status), "{guest} {mode}: {status}");
            }
            assert_eq!(served.get("/hello").await.0, 404);
        }
    }
}
