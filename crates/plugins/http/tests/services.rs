//! Services run with their workload, restart when they end, and are reachable over the workload's own loopback only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use support::{TIMEOUT, TestServer, WORKLOAD_ID, get, guest_path, parse_workload};
use wharf::StartError;
use wharf::workload::{Problem, Workload};

/// A workload with a service and a component that connects to it.
fn with_service(name: &str) -> Workload {
    parse_workload(&format!(
        "name = '{name}'\n[components.service]\nsource = '{}'\nservice = true\n[components.client]\nsource = '{}'\n\
         [[triggers.http]]\ncomponent = 'client'\nhost = '{name}.test'\n",
        guest_path("service-p2").display(),
        guest_path("client-p2").display()
    ))
}

/// Sends a line to the service. Retries until the service listens.
async fn ask(server: &TestServer, name: &str, line: &str) -> String {
    let asked = tokio::time::timeout(TIMEOUT, async {
        loop {
            let (status, text) = server.send(get(&format!("{name}.test"), &format!("/ask?line={line}"))).await;
            if status == 200 {
                return text;
            }
            assert_eq!(text.trim(), "connection-refused");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    asked.await.expect("the service does not respond")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_siblings_reach_a_service() {
    let server = TestServer::new().await;
    for name in ["one", "two"] {
        server.host.workload_start(with_service(name)).await.unwrap();
    }
    // Both services listen on port 7000, each on its workload's own loopback.
    assert_eq!(ask(&server, "one", "a").await.trim(), "service 1: a");
    assert_eq!(ask(&server, "one", "b").await.trim(), "service 2: b");
    assert_eq!(ask(&server, "two", "c").await.trim(), "service 1: c");
    // A port of the machine's own loopback must stay unreachable.
    let real = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = real.local_addr().unwrap().port();
    let (_, response) = server.send(get("one.test", &format!("/port?n={port}"))).await;
    assert_eq!(response.trim(), "connection-refused", "a component reached a port of the machine");
    real.set_nonblocking(true).unwrap();
    assert!(real.accept().is_err(), "a component connected to a port of the machine");
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_a_service_in_a_fresh_store() {
    let server = TestServer::new().await;
    server.host.workload_start(with_service("w")).await.unwrap();
    for (restarts, end) in [(1, "crash"), (2, "exit")] {
        assert_eq!(ask(&server, "w", "a").await.trim(), "service 1: a", "no state survives a restart");
        assert_eq!(ask(&server, "w", "b").await.trim(), "service 2: b");
        assert_ne!(server.get(&format!("/ask?line={end}")).await.0, 200);
        server.wait_until("the service has restarted", |status| status.services[0].restarts == restarts).await;
    }
    server.host.workload_update(with_service("w")).await.unwrap();
    assert_eq!(ask(&server, "w", "a").await.trim(), "service 1: a", "an update starts a new service");
    assert_eq!(server.status().await.services[0].restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_services_with_the_workload() {
    let server = TestServer::new().await;
    server.host.workload_start(with_service("w")).await.unwrap();
    ask(&server, "w", "a").await;
    let stopped = tokio::time::timeout(TIMEOUT, server.host.workload_stop(WORKLOAD_ID)).await.unwrap().unwrap();
    assert_eq!(stopped.calls, 0);
    assert!(stopped.services.is_empty());
}

#[tokio::test]
async fn rejects_a_service_that_is_no_command() {
    let server = TestServer::new().await;
    let mut workload = support::workload("w", "w.test", "hello-p2", "");
    workload.components.values_mut().for_each(|component| component.service = true);
    let Err(StartError::Invalid { problems, .. }) = server.host.workload_start(workload).await else {
        panic!("the workload started");
    };
    assert!(matches!(&problems[..], [Problem::ServiceWithoutExport { .. }]), "{problems:?}");
}
