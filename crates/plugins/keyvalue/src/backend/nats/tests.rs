//! What holds for the store in a bucket alone, and its faults.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use zeroize::Zeroizing;

use super::{Nats, NatsConfig};
use crate::backend::conformance::{Traits, all_keys, check, text};
use crate::backend::faults;
use crate::backend::servers::Server;
use crate::backend::{Error, SetOptions, Store};

const SECRET: &str = "a-secret-word";

fn config(server: &Server) -> NatsConfig {
    NatsConfig::new(format!("nats://127.0.0.1:{}", server.port()), "store")
}

fn traits() -> Traits {
    Traits { ttl: false, max_key: 3000, large_value: 1024 * 1024 - 256, full_pages: true }
}

async fn foreign(server: &Server) -> jetstream::Context {
    jetstream::new(async_nats::connect(config(server).url.as_str()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let server = Server::nats(&[]);
    let store = Nats::new(config(&server)).unwrap();
    check(&store, traits()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_with_a_longer_history() {
    let server = Server::nats(&[]);
    let store = Nats::new(NatsConfig { history: 5, ..config(&server) }).unwrap();
    check(&store, traits()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn survives_faults() {
    let mut server = Server::nats(&[]);
    faults::check(&mut server, |port| {
        let url = format!("nats://127.0.0.1:{port}");
        Arc::new(Nats::new(NatsConfig { timeout: faults::TIMEOUT, ..NatsConfig::new(url, "store") }).unwrap())
    })
    .await;
}

#[tokio::test]
async fn shows_no_secret() {
    let server = Server::nats(&["--user", "me", "--pass", SECRET]);
    let url = |login: &str| format!("nats://{login}@127.0.0.1:{}", server.port());
    let right = NatsConfig { credentials: None, ..NatsConfig::new(url(&format!("me:{SECRET}")), "store") };
    assert!(!format!("{right:?}").contains(SECRET));
    let store = Nats::new(right.clone()).unwrap();
    store.set("a", text("1"), SetOptions::default()).await.unwrap();
    for wrong in [url(&format!("me:{SECRET}x")), url(SECRET), format!("nats://127.0.0.1:{}", server.port())] {
        let error = Nats::new(NatsConfig::new(wrong, "store")).unwrap().get("a").await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable(text) if text.contains("rejects")), "{error:?}");
        assert!(!format!("{error:?}{error}").contains(SECRET), "{error}");
    }
    let credentials = Some(Zeroizing::new(format!("-----BEGIN NATS USER JWT-----\n{SECRET}")));
    let error = Nats::new(NatsConfig { credentials, ..right.clone() }).unwrap().get("a").await.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
    assert!(!error.to_string().contains(SECRET), "{error}");
    for url in ["", "http://x", &format!("nats://{SECRET}:{SECRET}@:x"), &format!("ws://{SECRET}@x"), "nats://"] {
        let Err(error) = Nats::new(NatsConfig::new(url, "store")) else { panic!("{url}") };
        assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
    for bucket in ["", "a.b", "a b", "a*", &"a".repeat(200)] {
        assert!(matches!(Nats::new(NatsConfig::new("nats://x", bucket)), Err(Error::InvalidArgument(_))), "{bucket}");
    }
}

#[tokio::test]
async fn a_token_logs_in() {
    let server = Server::nats(&["--auth", SECRET]);
    let url = format!("nats://{SECRET}@127.0.0.1:{}", server.port());
    let store = Nats::new(NatsConfig::new(url, "store")).unwrap();
    store.set("a", text("1"), SetOptions::default()).await.unwrap();
}

#[tokio::test]
async fn creates_a_bucket_only_if_it_may() {
    let server = Server::nats(&[]);
    let careful = Nats::new(NatsConfig { create: false, ..config(&server) }).unwrap();
    let error = careful.get("a").await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("no bucket `store`")), "{error:?}");
    let store = Nats::new(config(&server)).unwrap();
    store.set("a", text("1"), SetOptions::default()).await.unwrap();
    assert_eq!(careful.get("a").await.unwrap(), Some(text("1")));
    // A bucket that goes comes again.
    foreign(&server).await.delete_key_value("store").await.unwrap();
    let gone = store.set("a", text("2"), SetOptions::default()).await;
    assert!(matches!(gone, Err(Error::Unavailable(_))), "{gone:?}");
    store.set("a", text("3"), SetOptions::default()).await.unwrap();
}

#[tokio::test]
async fn says_when_jetstream_is_off() {
    let server = Server::nats_without_jetstream();
    let error = Nats::new(config(&server)).unwrap().get("a").await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("JetStream")), "{error:?}");
}

#[tokio::test]
async fn shares_its_keys_with_other_clients() {
    let server = Server::nats(&[]);
    let store = Nats::new(config(&server)).unwrap();
    store.set("users.1", text("1"), SetOptions::default()).await.unwrap();
    let bucket = foreign(&server).await.get_key_value("store").await.unwrap();
    assert_eq!(bucket.get("users.1").await.unwrap(), Some(text("1")));
    bucket.put("users.2", text("2")).await.unwrap();
    bucket.put("a=b", text("3")).await.unwrap();
    assert_eq!(store.get("users.2").await.unwrap(), Some(text("2")));
    assert_eq!(all_keys(&store, "").await, ["users.1", "users.2"].map(str::to_owned).into());
    bucket.purge("users.1").await.unwrap();
    assert_eq!(store.get("users.1").await.unwrap(), None);
    store.set("users.1", text("4"), SetOptions { if_absent: true, ttl: None }).await.unwrap();
    let before = store.entry("users.2").await.unwrap().unwrap().version;
    bucket.put("users.2", text("2")).await.unwrap();
    assert_ne!(store.entry("users.2").await.unwrap().unwrap().version, before);
}

#[tokio::test]
async fn limits_are_quota_errors() {
    let server = Server::nats(&[]);
    let stream = jetstream::stream::Config {
        name: "KV_small".to_owned(),
        subjects: vec!["$KV.small.>".to_owned()],
        max_messages_per_subject: 1,
        max_bytes: 10_000,
        max_message_size: 5000,
        discard: jetstream::stream::DiscardPolicy::New,
        allow_direct: true,
        ..jetstream::stream::Config::default()
    };
    foreign(&server).await.create_stream(stream).await.unwrap();
    let store = Nats::new(NatsConfig { bucket: "small".to_owned(), ..config(&server) }).unwrap();
    let quota = |result: Result<(), Error>| assert!(matches!(result, Err(Error::QuotaExceeded(_))), "{result:?}");
    quota(store.set("large", vec![0; 6000].into(), SetOptions::default()).await);
    quota(store.set("larger", vec![0; 2_000_000].into(), SetOptions::default()).await);
    store.set("a", vec![0; 4000].into(), SetOptions::default()).await.unwrap();
    store.set("b", vec![0; 4000].into(), SetOptions::default()).await.unwrap();
    quota(store.set("c", vec![0; 4000].into(), SetOptions::default()).await);
    let long = "k".repeat(3001);
    assert!(matches!(store.get(&long).await, Err(Error::InvalidArgument(_))));
}

#[tokio::test]
async fn says_what_expiry_needs() {
    let server = Server::nats(&[]);
    let store = Nats::new(config(&server)).unwrap();
    let ttl = SetOptions { ttl: Some(Duration::from_secs(1)), if_absent: false };
    let error = store.set("a", text("1"), ttl).await.unwrap_err();
    assert!(matches!(&error, Error::Other(text) if text.contains("2.11")), "{error:?}");
}
