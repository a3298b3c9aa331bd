//! Services run with their workload, restart as their policy says, and are reachable over the workload's own loopback only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use support::{TIMEOUT, TestServer, WORKLOAD_ID, get, guest_path, parse_workload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wharf::StartError;
use wharf::api::ServiceState;
use wharf::workload::manifest::{Component, HostRule, Restart, Service};
use wharf::workload::{Problem, Workload};

/// A workload with a service and a component that connects to it.
fn with_service(name: &str) -> Workload {
    with_client(name, "client-p2")
}

fn with_client(name: &str, client: &str) -> Workload {
    parse_workload(&format!(
        "name = '{name}'\n[components.service]\nsource = '{}'\nservice = true\n[components.client]\nsource = '{}'\n\
         [[triggers.http]]\ncomponent = 'client'\nhost = '{name}.test'\n",
        guest_path("service-p2").display(),
        guest_path(client).display()
    ))
}

/// The workload with another policy for its service.
fn with_policy(restart: Restart, max_restarts: Option<u32>) -> Workload {
    let mut workload = with_service("w");
    component(&mut workload, "service").service = Some(Service { restart, max_restarts });
    workload
}

fn component<'w>(workload: &'w mut Workload, name: &str) -> &'w mut Component {
    workload.components.get_mut(name).unwrap()
}

/// Sends a line to the service, once: a request waits for a service that is starting.
async fn ask(server: &TestServer, name: &str, line: &str) -> String {
    let (status, text) = server.send(get(&format!("{name}.test"), &format!("/ask?line={line}"))).await;
    assert_eq!(status, 200, "{text}");
    text
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
async fn the_first_request_waits_for_the_service() {
    let server = TestServer::new().await;
    for (i, client) in ["client-p2", "worker-p3"].iter().cycle().take(20).enumerate() {
        let name = format!("w{i}");
        server.host.workload_start(with_client(&name, client)).await.unwrap();
        let path = if *client == "client-p2" { "/ask?line=a" } else { "/ask" };
        let (status, text) = server.send(get(&format!("{name}.test"), path)).await;
        assert_eq!((status, text.trim()), (200, "service 1: a"), "{client}");
    }
}

/// A connection to a port that no sibling opens is refused at once where no service may open it, and after a bound where one
/// may.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_service_has_an_end() {
    let server = TestServer::new().await;
    let mut without = with_service("w");
    without.components.remove("service");
    server.host.workload_start(without).await.unwrap();
    assert_eq!(server.get("/port?n=7000").await.1.trim(), "connection-refused");
    server.host.workload_stop(WORKLOAD_ID).await.unwrap();
    server.host.workload_start(with_service("w")).await.unwrap();
    assert_eq!(server.get("/port?n=7009").await.1.trim(), "connection-refused", "within the call's time limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_under_load_fails_no_request() {
    let server = Arc::new(TestServer::new().await);
    server.host.workload_start(with_service("w")).await.unwrap();
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (server, done, answered) = (server.clone(), done.clone(), answered.clone());
            tokio::spawn(async move {
                let mut connection = server.connect().await;
                while !done.load(Ordering::Relaxed) {
                    let (status, text) = connection.send(get("w.test", "/ask?line=a")).await;
                    assert_eq!(status, 200, "{text}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for version in 0..10 {
        let mut next = with_service("w");
        component(&mut next, "service").env.insert("VERSION".into(), version.to_string());
        server.host.workload_update(next).await.unwrap();
        let so_far = answered.load(Ordering::Relaxed);
        let more = async {
            while answered.load(Ordering::Relaxed) < so_far + 20 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TIMEOUT, more).await.expect("requests are answered");
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
}

/// The guest asks for a backlog of its own, which is far smaller than this.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_connections_reaches_a_service() {
    let server = Arc::new(TestServer::new().await);
    let mut workload = with_service("w");
    component(&mut workload, "client").limits.concurrency = Some(300);
    server.host.workload_start(workload).await.unwrap();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let server = server.clone();
        asking.spawn(async move { ask(&server, "w", "a").await });
    }
    while let Some(asked) = asking.join_next().await {
        assert!(asked.unwrap().starts_with("service "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_a_service_in_a_fresh_store() {
    let server = TestServer::new().await;
    server.host.workload_start(with_policy(Restart::Always, None)).await.unwrap();
    for (restarts, end) in [(1, "crash"), (2, "exit")] {
        assert_eq!(ask(&server, "w", "a").await.trim(), "service 1: a", "no state survives a restart");
        assert_eq!(ask(&server, "w", "b").await.trim(), "service 2: b");
        assert_ne!(server.get(&format!("/ask?line={end}")).await.0, 200);
        server.wait_until("the service has restarted", |status| status.services[0].restarts == restarts).await;
    }
    server.host.workload_update(with_policy(Restart::OnFailure, None)).await.unwrap();
    assert_eq!(ask(&server, "w", "a").await.trim(), "service 1: a", "an update starts a new service");
    assert_eq!(server.status().await.services[0].restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_policy_decides_whether_a_service_comes_back() {
    let cases = [
        (Restart::OnFailure, None, "exit", ServiceState::Ended, 0),
        (Restart::Never, None, "crash", ServiceState::Failed, 0),
        (Restart::OnFailure, Some(1), "crash", ServiceState::Failed, 1),
        (Restart::Always, Some(1), "exit", ServiceState::Failed, 1),
    ];
    for (restart, max_restarts, end, state, restarts) in cases {
        let server = TestServer::new().await;
        server.host.workload_start(with_policy(restart, max_restarts)).await.unwrap();
        for restart in 0..=restarts {
            server.wait_until("the service runs again", |status| status.services[0].restarts == restart).await;
            assert_ne!(server.get(&format!("/ask?line={end}")).await.0, 200);
        }
        server.wait_until("the service has ended", |status| status.services[0].state == state).await;
        assert_eq!(server.status().await.services[0].restarts, restarts, "{restart:?} {max_restarts:?}");
        assert_eq!(server.get("/port?n=7000").await.1.trim(), "connection-refused");
    }
}

/// An update to what runs already changes nothing: the service keeps its state. A service that has failed starts again.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_without_a_change_keeps_the_version() {
    let server = TestServer::new().await;
    let workload = with_policy(Restart::Never, None);
    server.host.workload_start(workload.clone()).await.unwrap();
    assert_eq!(ask(&server, "w", "a").await.trim(), "service 1: a");
    server.host.workload_update(workload.clone()).await.unwrap();
    assert_eq!(ask(&server, "w", "b").await.trim(), "service 2: b");
    assert_ne!(server.get("/ask?line=crash").await.0, 200);
    server.wait_until("the service has failed", |status| status.services[0].state == ServiceState::Failed).await;
    server.host.workload_update(workload).await.unwrap();
    assert_eq!(ask(&server, "w", "a").await.trim(), "service 1: a");
}

/// A service on a port of the machine: two versions cannot hold it at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_hands_a_real_port_over() {
    let server = TestServer::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    for version in 0..3 {
        let mut workload = parse_workload(&format!(
            "name = 'w'\n[components.echo]\nsource = '{}'\nservice = true\nargs = ['{port}']\nenv = {{ VERSION = '{version}' }}",
            guest_path("tcp-echo-p3").display()
        ));
        component(&mut workload, "echo").hosts = vec![HostRule::ANY];
        if version == 0 {
            server.host.workload_start(workload).await.unwrap();
        } else {
            server.host.workload_update(workload).await.unwrap();
        }
        let connect = async {
            loop {
                match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let mut stream = tokio::time::timeout(TIMEOUT, connect).await.expect("the service listens");
        stream.write_all(b"ping").await.unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"ping");
        assert_eq!(
            server.status().await.services[0].restarts,
            0,
            "the service never failed because its port was taken"
        );
    }
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
    workload.components.values_mut().for_each(|component| component.service = Some(Service::default()));
    let Err(StartError::Invalid { problems, .. }) = server.host.workload_start(workload).await else {
        panic!("the workload started");
    };
    assert!(matches!(&problems[..], [Problem::ServiceWithoutExport { .. }]), "{problems:?}");
}
