//! Tests against a NATS server.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{Nats, NatsConfig};
use crate::backend::conformance::{body, conforms, eventually, names, pattern, read};
use crate::backend::faults::{TIMEOUT, survives};
use crate::backend::servers::Server;
use crate::backend::{Container as _, Error};

fn config(port: u16) -> NatsConfig {
    NatsConfig {
        url: Zeroizing::new(format!("nats://user:hunter2@127.0.0.1:{port}")),
        bucket: "objects".to_owned(),
        credentials: None,
        create: true,
        timeout: Duration::from_secs(5),
    }
}

/// How many messages the bucket's stream has.
async fn messages(store: &Nats) -> u64 {
    store.api.info().await.unwrap().state.messages
}

#[tokio::test]
async fn nats_conforms() {
    let server = Server::nats().running();
    let store = Nats::open(config(server.port)).await.unwrap();
    conforms(&store).await;
    eventually("the deletion of unfinished chunks", async || messages(&store).await == 0).await;
}

#[tokio::test]
async fn survives_the_server() {
    let mut server = Server::nats();
    let store = Nats::open(NatsConfig { timeout: TIMEOUT, ..config(server.port) }).await.unwrap();
    survives(&mut server, &store, async |_| ()).await;
    // The chunks of writes that the server did not survive go with later writes.
    let swept = async || {
        store.put("sweep", body(b"")).await.unwrap();
        store.delete(&["sweep".to_owned()]).await.unwrap();
        messages(&store).await == 0
    };
    eventually("the deletion of unfinished chunks", swept).await;
}

#[tokio::test]
async fn objects_outlive_the_server() {
    let mut server = Server::nats().running();
    let store = Nats::open(config(server.port)).await.unwrap();
    let (bytes, created) = (pattern(3_000_000, 1), store.info().await.unwrap());
    store.put("object", body(&bytes)).await.unwrap();
    server.restart();
    eventually("a read after the restart", async || read(&store, "object").await.is_ok_and(|read| read == bytes)).await;
    assert_eq!(store.info().await.unwrap(), created);
    let second = Nats::open(config(server.port)).await.unwrap();
    assert_eq!(names(&second).await, ["object".to_owned()].into());
    store.remove().await.unwrap();
    assert_eq!(second.info().await, Err(Error::NoSuchContainer), "another store removed it");
    let third = Nats::open(config(server.port)).await.unwrap();
    third.info().await.expect("opening a store creates its container");
}

#[tokio::test]
async fn other_clients_read_the_objects_and_write_them() {
    use tokio::io::AsyncReadExt as _;
    let server = Server::nats().running();
    let store = Nats::open(config(server.port)).await.unwrap();
    let bytes = pattern(1_000_000, 1);
    store.put("ours/ä\0", body(&bytes)).await.unwrap();
    let client = async_nats::connect(format!("127.0.0.1:{}", server.port)).await.unwrap();
    let bucket = async_nats::jetstream::new(client).get_object_store("objects").await.unwrap();
    let mut read_back = Vec::new();
    bucket.get("ours/ä\0").await.unwrap().read_to_end(&mut read_back).await.unwrap();
    assert!(read_back == bytes);
    bucket.put("theirs", &mut bytes.as_slice()).await.unwrap();
    assert!(read(&store, "theirs").await.unwrap() == bytes);
    let (_, range) = store.get("theirs", Some(500_000..500_010)).await.unwrap();
    let range: Vec<_> = futures_util::TryStreamExt::try_collect(range).await.unwrap();
    assert_eq!(range.concat(), bytes[500_000..500_010]);
    bucket.delete("theirs").await.unwrap();
    assert_eq!(store.get("theirs", None).await.err(), Some(Error::NoSuchObject));
    assert_eq!(names(&store).await, ["ours/ä\0".to_owned()].into());
    bucket.delete("ours/ä\0").await.unwrap();
    store.put("ours/ä\0", body(b"again")).await.unwrap();
    assert_eq!(read(&store, "ours/ä\0").await.unwrap(), b"again");
}

#[tokio::test]
async fn mistakes_in_the_settings_are_errors_without_secrets() {
    let server = Server::nats().running();
    let store = Nats::open(NatsConfig { create: false, ..config(server.port) }).await.unwrap();
    assert!(matches!(store.info().await, Err(Error::Unavailable(text)) if text.contains("`objects` does not exist")));
    for url in ["http://127.0.0.1:1", "hunter2", "nats:hunter2"] {
        let problem = Nats::open(NatsConfig { url: Zeroizing::new(url.to_owned()), ..config(1) }).await.err().unwrap();
        assert!(matches!(&problem, Error::InvalidArgument(text) if !text.contains("hunter2")), "{problem:?}");
    }
    for bucket in ["", "a.b", "a b", "*", "ä"] {
        let problem = Nats::open(NatsConfig { bucket: bucket.to_owned(), ..config(1) }).await.err();
        assert!(matches!(problem, Some(Error::InvalidArgument(_))), "{problem:?}");
    }
    let credentials = Some(Zeroizing::new("hunter2".to_owned()));
    assert!(matches!(
        Nats::open(NatsConfig { credentials, ..config(1) }).await.err(),
        Some(Error::InvalidArgument(text)) if !text.contains("hunter2")
    ));
    assert!(!format!("{:?}", config(1)).contains("hunter2"));
}
