//! What holds for the store on a Redis server alone, and its faults.

use std::sync::Arc;
use std::time::Duration;

use super::{Redis, RedisConfig};
use crate::backend::conformance::{Traits, all_keys, check, text};
use crate::backend::faults;
use crate::backend::servers::Server;
use crate::backend::{Condition, Error, SetOptions, Store, Swapped};

const SECRET: &str = "a-secret-word";

fn config(server: &Server) -> RedisConfig {
    RedisConfig::new(format!("redis://127.0.0.1:{}/", server.port()))
}

async fn foreign(server: &Server, command: &[&str]) -> redis::Value {
    let client = redis::Client::open(config(server).url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut packed = redis::cmd(command[0]);
    packed.arg(&command[1..]);
    packed.query_async(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let server = Server::redis(&[]);
    for prefix in ["", "app*[1]:"] {
        let store = Redis::new(&RedisConfig { prefix: prefix.to_owned(), ..config(&server) }).unwrap();
        check(&store, Traits { full_pages: false, ..Traits::default() }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn survives_faults() {
    let mut server = Server::redis(&[]);
    faults::check(&mut server, |port| {
        let url = format!("redis://127.0.0.1:{port}/");
        Arc::new(Redis::new(&RedisConfig { timeout: faults::TIMEOUT, ..RedisConfig::new(url) }).unwrap())
    })
    .await;
}

#[tokio::test]
async fn shows_no_secret() {
    let server = Server::redis(&["--requirepass", SECRET]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}/", server.port());
    let right = RedisConfig::new(url(SECRET));
    assert!(!format!("{right:?}").contains(SECRET));
    Redis::new(&right).unwrap().set("a", text("1"), SetOptions::default()).await.unwrap();
    for wrong in [url(&format!("{SECRET}x")), format!("redis://{SECRET}:{SECRET}@127.0.0.1:{}/", server.port())] {
        let error = Redis::new(&RedisConfig::new(wrong)).unwrap().get("a").await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable(text) if text.contains("rejects")), "{error:?}");
        assert!(!format!("{error:?}{error}").contains(SECRET), "{error}");
    }
    let none = format!("redis://127.0.0.1:{}/", server.port());
    let error = Redis::new(&RedisConfig::new(none)).unwrap().get("a").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    for url in [
        "",
        "redis",
        &format!("http://{SECRET}@x/"),
        &format!("redis://{SECRET}:port/"),
        &format!("redis://{SECRET}@:/x"),
    ] {
        let Err(error) = Redis::new(&RedisConfig::new(url)) else { continue };
        assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
}

#[tokio::test]
async fn shares_its_keys_with_other_clients() {
    let server = Server::redis(&[]);
    let store = Redis::new(&RedisConfig { prefix: "app:".to_owned(), ..config(&server) }).unwrap();
    store.set("a", text("1"), SetOptions::default()).await.unwrap();
    assert_eq!(foreign(&server, &["GET", "app:a"]).await, redis::Value::BulkString(b"1".to_vec()));
    assert_eq!(foreign(&server, &["DBSIZE"]).await, redis::Value::Int(1), "a plain write leaves one key");
    foreign(&server, &["SET", "app:b", "2"]).await;
    foreign(&server, &["SET", "other", "3"]).await;
    foreign(&server, &["RPUSH", "app:list", "x"]).await;
    assert_eq!(all_keys(&store, "").await, ["a", "b"].map(str::to_owned).into());
    assert_eq!(store.get("b").await.unwrap(), Some(text("2")));
    assert!(matches!(store.get("list").await, Err(Error::Other(_))));
    assert!(matches!(store.increment("list", 1).await, Err(Error::Other(_))));
    // A number that a floating-point one does not hold.
    store.set("large", text("9007199254740993"), SetOptions::default()).await.unwrap();
    assert_eq!(store.increment("large", 2).await.unwrap(), 9_007_199_254_740_995);
}

#[tokio::test]
async fn notices_the_writes_of_other_clients() {
    let server = Server::redis(&[]);
    let store = Redis::new(&config(&server)).unwrap();
    store.set("a", text("1"), SetOptions::default()).await.unwrap();
    let entry = store.entry("a").await.unwrap().unwrap();
    let condition = Condition { version: Some(entry.version.clone()), ..Condition::default() };
    foreign(&server, &["SET", "a", "2"]).await;
    assert_ne!(store.entry("a").await.unwrap().unwrap().version, entry.version);
    assert!(matches!(store.swap("a", text("3"), condition.clone()).await.unwrap(), Swapped::Stale(Some(_))));
    foreign(&server, &["DEL", "a"]).await;
    assert_eq!(store.swap("a", text("3"), condition).await.unwrap(), Swapped::Stale(None));
    // The documented limit: the same value again goes unnoticed.
    foreign(&server, &["SET", "b", "1"]).await;
    let entry = store.entry("b").await.unwrap().unwrap();
    foreign(&server, &["SET", "b", "1"]).await;
    let condition = Condition { version: Some(entry.version), ..Condition::default() };
    assert_eq!(store.swap("b", text("2"), condition).await.unwrap(), Swapped::Yes);
    // A script that the server has forgotten is loaded again.
    foreign(&server, &["SCRIPT", "FLUSH"]).await;
    store.set("b", text("3"), SetOptions::default()).await.unwrap();
}

#[tokio::test]
async fn reports_what_the_server_refuses() {
    let server = Server::redis(&["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"]);
    let store = Redis::new(&config(&server)).unwrap();
    let mut full = Ok(());
    for n in 0..100 {
        full = store.set(&n.to_string(), vec![0; 100_000].into(), SetOptions::default()).await;
        if full.is_err() {
            break;
        }
    }
    assert!(matches!(full, Err(Error::QuotaExceeded(_))), "{full:?}");
    for key in all_keys(&store, "").await {
        store.delete(&key).await.unwrap();
    }
    store.set("a", text("1"), SetOptions::default()).await.unwrap();
    foreign(&server, &["ACL", "SETUSER", "reader", "on", ">pass", "~*", "+@all", "-client|tracking", "-del"]).await;
    let url = format!("redis://reader:pass@127.0.0.1:{}/", server.port());
    let store = Redis::new(&RedisConfig::new(url)).unwrap();
    let Err(error) = store.watch().await else { panic!("watching is not permitted") };
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("+client|tracking")), "{error:?}");
    let error = store.delete("a").await.unwrap_err();
    assert!(matches!(&error, Error::Other(text) if text.contains("permit")), "{error:?}");
}

/// Run by hand: `cargo test --lib redis::tests::measure -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints a measurement"]
async fn measure() {
    let server = Server::redis(&[]);
    let store = Arc::new(Redis::new(&config(&server)).unwrap());
    let client = redis::Client::open(config(&server).url.as_str()).unwrap();
    let bare = client.get_multiplexed_async_connection().await.unwrap();
    store.set("a", text("1"), SetOptions::default()).await.unwrap();
    let rate = |start: std::time::Instant| Duration::from_secs(1).as_nanos() * 200_000 / start.elapsed().as_nanos();
    for _ in 0..2 {
        for (name, set) in [("get", false), ("set", true)] {
            let start = std::time::Instant::now();
            let tasks = (0..100).map(|_| {
                let mut bare = bare.clone();
                tokio::spawn(async move {
                    for _ in 0..2000 {
                        if set {
                            let _: () = redis::cmd("SET").arg("a").arg("1").query_async(&mut bare).await.unwrap();
                        } else {
                            let _: Vec<u8> = redis::cmd("GET").arg("a").query_async(&mut bare).await.unwrap();
                        }
                    }
                })
            });
            futures_util::future::join_all(tasks.collect::<Vec<_>>()).await;
            let theirs = rate(start);
            let start = std::time::Instant::now();
            let tasks = (0..100).map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    for _ in 0..2000 {
                        if set {
                            store.set("a", text("1"), SetOptions::default()).await.unwrap();
                        } else {
                            store.get("a").await.unwrap();
                        }
                    }
                })
            });
            futures_util::future::join_all(tasks.collect::<Vec<_>>()).await;
            println!("{name}: {} a second; {theirs} with the client alone", rate(start));
        }
    }
}
