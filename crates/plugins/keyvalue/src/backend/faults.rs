//! What a store on a server does when the server fails, checked over any backend that has one.
//!
//! Takes a server and a way to make stores; panics where an operation takes too long, fails with another error than it
//! should, or does not work again once the server does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;

use super::conformance::{eventually, text};
use super::servers::Server;
use super::{Change, Condition, Error, SetOptions, Store};

/// The time-out of the stores.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);
/// What the machine may be late.
const SLACK: Duration = Duration::from_secs(2);

/// Checks all faults. The server runs at the start and at the end.
pub(super) async fn check(server: &mut Server, make: impl Fn(u16) -> Arc<dyn Store>) {
    absent(server, &make).await;
    killed(server, make(server.port())).await;
    paused(server, &make).await;
    watched(server, make(server.port())).await;
}

/// Runs every operation. Returns their errors, of which none may take long.
async fn errors(store: &dyn Store) -> Vec<Error> {
    let start = Instant::now();
    let keys = ["a".to_owned(), "b".to_owned()];
    let results = [
        store.get("a").await.err(),
        store.set("a", text("1"), SetOptions::default()).await.err(),
        store.set("a", text("1"), SetOptions { if_absent: true, ttl: None }).await.err(),
        store.delete("a").await.err(),
        store.exists("a").await.err(),
        store.keys("", None).await.err(),
        store.increment("n", 1).await.err(),
        store.get_many(&keys).await.err(),
        store.set_many(vec![("a".to_owned(), text("1"))]).await.err(),
        store.delete_many(&keys).await.err(),
        store.entry("a").await.err(),
        store.swap("a", text("1"), Condition { absent: true, ..Condition::default() }).await.err(),
        store.watch().await.err(),
    ];
    let operations = u32::try_from(results.len()).unwrap();
    assert!(start.elapsed() < TIMEOUT * operations + SLACK, "{:?}", start.elapsed());
    results.into_iter().map(|error| error.expect("the server is away")).collect()
}

async fn unhealthy(store: &dyn Store) {
    let start = Instant::now();
    store.health().await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

async fn works(store: &dyn Store) {
    eventually("the store works again", || async {
        let set = store.set("works", text("1"), SetOptions::default()).await.is_ok();
        set && store.get("works").await == Ok(Some(text("1")))
    })
    .await;
    store.health().await.unwrap();
    store.delete("works").await.unwrap();
}

async fn absent(server: &mut Server, make: &impl Fn(u16) -> Arc<dyn Store>) {
    server.stop();
    let store = make(server.port());
    for error in errors(&*store).await {
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    }
    unhealthy(&*store).await;
    server.restart();
    works(&*store).await;
    store.close().await;
    assert!(matches!(store.get("a").await, Err(Error::Unavailable(_))), "the store is closed");
}

async fn killed(server: &mut Server, store: Arc<dyn Store>) {
    works(&*store).await;
    let workers: Vec<_> = (0..16).map(|n| tokio::spawn(work(store.clone(), n))).collect();
    // Every worker has written when it has counted to 3.
    for n in 0..16 {
        let (key, store) = (format!("worker{n}"), &store);
        eventually("the worker works", || async { store.increment(&key, 0).await.is_ok_and(|count| count > 2) }).await;
    }
    server.stop();
    for error in join_all(workers).await {
        let error = error.unwrap();
        assert!(matches!(error, Error::Unavailable(_) | Error::Timeout), "{error:?}");
    }
    for error in errors(&*store).await {
        assert!(matches!(error, Error::Unavailable(_) | Error::Timeout), "{error:?}");
    }
    unhealthy(&*store).await;
    server.restart();
    works(&*store).await;
}

/// Counts until it fails.
async fn work(store: Arc<dyn Store>, n: usize) -> Error {
    let key = format!("worker{n}");
    loop {
        let start = Instant::now();
        let result = store.increment(&key, 1).await;
        assert!(start.elapsed() < TIMEOUT + SLACK, "{:?}", start.elapsed());
        if let Err(error) = result {
            return error;
        }
    }
}

async fn paused(server: &Server, make: &impl Fn(u16) -> Arc<dyn Store>) {
    let (store, new) = (make(server.port()), make(server.port()));
    works(&*store).await;
    server.pause(true);
    for store in [&store, &new] {
        let start = Instant::now();
        let gets = join_all((0..100).map(|_| store.get("a"))).await;
        assert!(start.elapsed() < TIMEOUT + SLACK, "{:?}", start.elapsed());
        gets.into_iter().for_each(|get| assert_eq!(get, Err(Error::Timeout)));
        for error in errors(&**store).await {
            assert!(matches!(error, Error::Timeout | Error::Unavailable(_)), "{error:?}");
        }
        unhealthy(&**store).await;
    }
    server.pause(false);
    works(&*store).await;
    works(&*new).await;
}

async fn watched(server: &mut Server, store: Arc<dyn Store>) {
    works(&*store).await;
    let mut changes = store.watch().await.unwrap();
    server.stop();
    server.restart();
    works(&*store).await;
    // The stream goes on, whether or not it says that something was lost.
    let (mut seen, deadline) = (false, Instant::now() + Duration::from_secs(20));
    while !seen {
        assert!(Instant::now() < deadline, "the stream does not go on");
        // `works` also fails when the connection is still the broken one; the stream may take longer to start again.
        drop(store.set("watched", text("1"), SetOptions::default()).await);
        let wait = Duration::from_millis(100);
        while let Ok(change) = tokio::time::timeout(wait, changes.next()).await {
            seen |= change.expect("the stream goes on") == Change::Set { key: "watched".to_owned(), value: text("1") };
            if seen {
                break;
            }
        }
    }
    drop(store);
    let ends = async { while changes.next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), ends).await.expect("the stream ends with the store");
}
