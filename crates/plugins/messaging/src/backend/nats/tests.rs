//! Core NATS against a server, and against one that is away, frozen or does not let the host in.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{Nats, NatsConfig};
use crate::backend::tests::conformance::{conforms, message, next, subscription, text};
use crate::backend::tests::server::NatsServer;
use crate::backend::{Broker, Error, Settlement};

fn config(server: &NatsServer) -> NatsConfig {
    NatsConfig { timeout: Duration::from_secs(1), ..NatsConfig::new(&server.url()) }
}

/// Waits until the broker answers again.
async fn recovers(broker: &dyn Broker) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(problem) = broker.health().await {
        assert!(Instant::now() < deadline, "{problem}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance() {
    let server = NatsServer::start(&[]);
    conforms(Nats::new(&NatsConfig::new(&server.url())).unwrap(), "t").await;
}

#[tokio::test]
async fn an_absent_server_fails_operations_in_time_and_is_used_when_it_is_there() {
    let mut server = NatsServer::absent(&[]);
    let broker = Nats::new(&config(&server)).unwrap();
    let started = Instant::now();
    let sent = broker.publish(message("a", "x")).await;
    assert!(matches!(&sent, Err(Error::Unavailable(it)) if it.contains(&server.port.to_string())), "{sent:?}");
    let asked = broker.request("a", "x".into(), Duration::from_mins(1)).await;
    assert!(matches!(asked, Err(Error::Unavailable(_))), "{asked:?}");
    assert!(broker.subscribe(subscription("a", None, 1)).await.is_err());
    assert!(broker.health().await.is_err());
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    server.run();
    recovers(&broker).await;
    let mut deliveries = broker.subscribe(subscription("a", None, 1)).await.unwrap();
    broker.publish(message("a", "y")).await.unwrap();
    assert_eq!(text(&next(&mut deliveries).await), "y", "what failed is not sent later");
}

#[tokio::test]
async fn subscribes_again_after_the_server_was_away() {
    let mut server = NatsServer::start(&[]);
    let broker = Nats::new(&config(&server)).unwrap();
    let mut deliveries = broker.subscribe(subscription("a", Some("q"), 2)).await.unwrap();
    broker.publish(message("a", "before")).await.unwrap();
    let held = next(&mut deliveries).await;
    server.kill();
    let deadline = Instant::now() + Duration::from_secs(10);
    while broker.publish(message("b", "")).await.is_ok() {
        assert!(Instant::now() < deadline, "it takes messages for a server that is away");
    }
    held.settle.settle(Settlement::Retry(Duration::ZERO)).await.unwrap();
    let again = next(&mut deliveries).await;
    assert_eq!(again.attempt, 2, "a retry needs no server");
    again.settle.settle(Settlement::Done).await.unwrap();
    assert!(timeout(Duration::from_millis(300), deliveries.next()).await.is_err(), "it waits for the server");
    server.run();
    recovers(&broker).await;
    broker.publish(message("a", "after")).await.unwrap();
    assert_eq!(text(&next(&mut deliveries).await), "after");
}

#[tokio::test]
async fn a_frozen_server_fails_requests_in_time() {
    let server = NatsServer::start(&[]);
    let broker = Nats::new(&config(&server)).unwrap();
    recovers(&broker).await;
    server.freeze(true);
    let started = Instant::now();
    assert!(broker.health().await.is_err());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let asked = broker.request("a", "x".into(), Duration::from_secs(1)).await;
    assert!(matches!(asked, Err(Error::Timeout)), "{asked:?}");
    assert!(broker.subscribe(subscription("a", None, 1)).await.is_err());
    // Messages go into the socket's buffers until those are full.
    let body = "x".repeat(1024 * 1024);
    let full = async { while broker.publish(message("a", &body)).await.is_ok() {} };
    timeout(Duration::from_secs(20), full).await.unwrap();
    server.freeze(false);
    recovers(&broker).await;
    broker.publish(message("a", "x")).await.unwrap();
}

#[tokio::test]
async fn secrets_are_used_and_never_shown() {
    let server = NatsServer::start(&["--user", "ann", "--pass", "s3cret"]);
    let with = |user: Option<&str>, password: Option<&str>, url: String| {
        let password = password.map(|it| Zeroizing::new(it.to_owned()));
        Nats::new(&NatsConfig { user: user.map(str::to_owned), password, url: url.into(), ..config(&server) }).unwrap()
    };
    let right = with(Some("ann"), Some("s3cret"), server.url());
    right.publish(message("a", "")).await.unwrap();
    let right = with(None, None, format!("nats://ann:s3cret@127.0.0.1:{}", server.port));
    right.publish(message("a", "")).await.unwrap();
    let wrong = with(None, None, format!("nats://ann:wr0ng@127.0.0.1:{}", server.port));
    let error = wrong.publish(message("a", "")).await.unwrap_err();
    assert_eq!(error, Error::Unavailable(format!("127.0.0.1:{}: authorization violation", server.port)));
    let health = wrong.health().await.unwrap_err();
    assert!(!health.contains("wr0ng"), "{health}");
}

#[tokio::test]
async fn an_operation_that_the_server_does_not_permit_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nats.conf");
    let permissions = r#"{ publish: ["ok.>"], subscribe: ["ok.>", "_INBOX.>"] }"#;
    std::fs::write(
        &file,
        format!("authorization {{ users = [{{ user: u, password: p, permissions: {permissions} }}] }}"),
    )
    .unwrap();
    let server = NatsServer::start(&["-c", file.to_str().unwrap()]);
    let config = NatsConfig { url: format!("nats://u:p@127.0.0.1:{}", server.port).into(), ..config(&server) };
    let broker = Nats::new(&config).unwrap();
    assert_eq!(broker.health().await, Ok(()), "a server that refuses answers");
    assert!(broker.subscribe(subscription("ok.a", None, 1)).await.is_ok());
    let refused = broker.subscribe(subscription("no.a", None, 1)).await.err();
    assert!(matches!(refused, Some(Error::Other(_))), "{refused:?}");
}
