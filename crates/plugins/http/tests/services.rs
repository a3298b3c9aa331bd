//! Services run with their workload, come again when they end, and are reached over the workload's own loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use support::{ID, PATIENCE, Served, declared, get, guest};
use wharf::workload::{Problem, Workload};
use wharf::{HostApi as _, StartError};

/// A service and a component that asks it, as a workload of this name.
fn with_service(name: &str) -> Workload {
    declared(&format!(
        "name = '{name}'\n[components.service]\nsource = '{}'\nservice = true\n[components.client]\nsource = '{}'\n\
         [[triggers.http]]\ncomponent = 'client'\nhost = '{name}.test'\n",
        guest("service-p2").display(),
        guest("client-p2").display()
    ))
}

/// Asks until the service answers: it takes a moment to listen.
async fn ask(served: &Served, name: &str, line: &str) -> String {
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            let (status, text) = served.send(get(&format!("{name}.test"), &format!("/ask?line={line}"))).await;
            if status == 200 {
                return text;
            }
            assert_eq!(text.trim(), "connection-refused");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    asked.await.expect("the service never answered")
}

#[tokio::test(flavor = "multi_thread")]
async fn siblings_reach_a_service_and_nobody_else_does() {
    let served = Served::new().await;
    for name in ["one", "two"] {
        served.host.workload_start(with_service(name)).await.unwrap();
    }
    // Both listen on port 7000, and each workload has its own.
    assert_eq!(ask(&served, "one", "a").await.trim(), "service 1: a");
    assert_eq!(ask(&served, "one", "b").await.trim(), "service 2: b");
    assert_eq!(ask(&served, "two", "c").await.trim(), "service 1: c");
    // The real port 7000 of this machine is nobody's, unless somebody else has it.
    let real = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = real.local_addr().unwrap().port();
    let (_, answer) = served.send(get("one.test", &format!("/port?n={port}"))).await;
    assert_eq!(answer.trim(), "connection-refused", "a real port was reached");
    real.set_nonblocking(true).unwrap();
    assert!(real.accept().is_err(), "nobody came");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_ends_comes_again_in_a_fresh_store() {
    let served = Served::new().await;
    served.host.workload_start(with_service("w")).await.unwrap();
    for (restarts, end) in [(1, "crash"), (2, "exit")] {
        assert_eq!(ask(&served, "w", "a").await.trim(), "service 1: a", "nothing survived");
        assert_eq!(ask(&served, "w", "b").await.trim(), "service 2: b");
        assert_ne!(served.get(&format!("/ask?line={end}")).await.0, 200);
        served.until("it was started again", |status| status.services[0].restarts == restarts).await;
    }
    served.host.workload_update(with_service("w")).await.unwrap();
    assert_eq!(ask(&served, "w", "a").await.trim(), "service 1: a", "the new version has a service of its own");
    assert_eq!(served.status().await.services[0].restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_stopped_last() {
    let served = Served::new().await;
    served.host.workload_start(with_service("w")).await.unwrap();
    ask(&served, "w", "a").await;
    let stopped = tokio::time::timeout(PATIENCE, served.host.workload_stop(ID)).await.unwrap().unwrap();
    assert_eq!(stopped.calls, 0);
    assert!(stopped.services.is_empty());
}

#[tokio::test]
async fn a_service_is_a_command() {
    let served = Served::new().await;
    let mut workload = support::workload("w", "w.test", "hello-p2", "");
    workload.components.values_mut().for_each(|component| component.service = true);
    let Err(StartError::Unresolved { problems, .. }) = served.host.workload_start(workload).await else {
        panic!("it started");
    };
    assert!(matches!(&problems[..], [Problem::ServiceWithoutExport { .. }]), "{problems:?}");
}
