//! What a backend does while its server is away: tests that every backend with a server passes.
//!
//! Takes a server and a store on it; leaves the server running.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::conformance::{body, eventually, names, pattern, read};
use super::servers::Server;
use super::{Container, Error, HEALTH_TIMEOUT};

/// The timeout of a store under test.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);
/// How long an operation may take when its server is away. An operation has a few steps, each with a timeout.
const BOUND: Duration = Duration::from_secs(20);

async fn bounded<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, work).await.unwrap_or_else(|_| panic!("{what} takes more than {BOUND:?}"))
}

/// Asserts that every operation fails, in bounded time and with an error that says that the server is away.
async fn is_away(store: &impl Container, when: &str) {
    let list = async {
        match store.list().await {
            Ok(names) => names.try_collect::<Vec<_>>().await.err(),
            Err(error) => Some(error),
        }
    };
    let large = pattern(9 * 1024 * 1024, 1);
    let problems = [
        bounded("get", store.get("object", None)).await.err(),
        bounded("get of a range", store.get("object", Some(1..2))).await.err(),
        bounded("put", store.put("object", body(b"x"))).await.err(),
        bounded("put of a large object", store.put("object", body(&large))).await.err(),
        bounded("delete", store.delete(&["object".to_owned()])).await.err(),
        bounded("object_info", store.object_info("object")).await.err(),
        bounded("clear", store.clear()).await.err(),
        bounded("copy", store.copy("object", "copied")).await.err(),
        bounded("list", list).await,
    ];
    for (index, problem) in problems.into_iter().enumerate() {
        let is_expected = matches!(problem, Some(Error::Unavailable(_) | Error::Timeout));
        assert!(is_expected, "operation {index} {when}: {problem:?}");
        let text = problem.map(|error| error.to_string()).unwrap_or_default();
        assert!(!text.contains("127.0.0.1") && !text.contains("hunter2"), "{text}");
    }
    let health = tokio::time::timeout(HEALTH_TIMEOUT + Duration::from_secs(1), store.health()).await;
    health.expect("health answers in time").expect_err(when);
}

/// Runs the suite. The server must not run yet; `prepare` makes it ready after each start.
pub(super) async fn survives(server: &mut Server, store: &impl Container, prepare: impl AsyncFn(&Server)) {
    is_away(store, "before the server starts").await;
    server.restart();
    prepare(server).await;
    eventually("the first write", async || store.put("object", body(b"old")).await.is_ok()).await;
    store.health().await.unwrap();
    killed_amid_write(server, store, &prepare).await;
    killed_amid_read(server, store, &prepare).await;
    paused(server, store).await;
    store.clear().await.unwrap();
    assert!(names(store).await.is_empty());
}

async fn killed_amid_write(server: &mut Server, store: &impl Container, prepare: &impl AsyncFn(&Server)) {
    let (half, reached) = tokio::sync::oneshot::channel();
    let (go_on, resumed) = tokio::sync::oneshot::channel::<()>();
    let middle = stream::once(async move {
        half.send(()).unwrap();
        resumed.await.unwrap();
        Ok(Bytes::from_static(b"middle"))
    });
    let bytes = pattern(20 * 1024 * 1024, 2);
    let mut put = store.put("object", body(&bytes).chain(middle).chain(body(&bytes)).boxed());
    tokio::select! {
        result = &mut put => panic!("the body has not ended: {result:?}"),
        _ = reached => (),
    }
    server.kill();
    go_on.send(()).unwrap();
    let problem = bounded("the write", put).await.err();
    assert!(matches!(problem, Some(Error::Unavailable(_) | Error::Timeout)), "{problem:?}");
    is_away(store, "after the server was killed").await;
    server.restart();
    prepare(server).await;
    eventually("a write after the restart", async || store.put("object", body(&bytes)).await.is_ok()).await;
}

async fn killed_amid_read(server: &mut Server, store: &impl Container, prepare: &impl AsyncFn(&Server)) {
    let bytes = pattern(20 * 1024 * 1024, 2);
    let (_, mut reader) = store.get("object", None).await.unwrap();
    let mut got = reader.try_next().await.unwrap().unwrap().to_vec();
    server.kill();
    let end = bounded("the read", async {
        loop {
            match reader.next().await {
                Some(Ok(piece)) => got.extend_from_slice(&piece),
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        }
    });
    let end = end.await;
    assert!(matches!(end, Some(Error::Unavailable(_) | Error::Timeout)), "{end:?} after {} bytes", got.len());
    assert!(got == bytes[..got.len()]);
    server.restart();
    prepare(server).await;
    eventually("a write after the restart", async || store.put("object", body(&bytes)).await.is_ok()).await;
    assert!(read(store, "object").await.unwrap() == bytes);
}

async fn paused(server: &Server, store: &impl Container) {
    store.put("object", body(b"old")).await.unwrap();
    server.pause();
    is_away(store, "while the server is paused").await;
    server.resume();
    eventually("a write after the pause", async || store.put("object", body(b"new")).await.is_ok()).await;
    assert_eq!(read(store, "object").await.unwrap(), b"new");
}
