//! What holds for the store in a file alone.

mod crash;

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;

use super::{Embedded, EmbeddedConfig, SyncMode};
use crate::backend::conformance::{Traits, all_keys, check, text};
use crate::backend::{Change, Error, SetOptions, Store};

const PLAIN: SetOptions = SetOptions { ttl: None, if_absent: false };
const MODES: [SyncMode; 3] = [SyncMode::Always, SyncMode::Every(Duration::from_millis(20)), SyncMode::Never];

fn config(folder: &Path, sync: SyncMode) -> EmbeddedConfig {
    EmbeddedConfig { sync, ..EmbeddedConfig::new(folder, "store") }
}

async fn open(folder: &Path) -> Result<Embedded, Error> {
    Embedded::open(config(folder, SyncMode::Always)).await
}

#[test]
fn reads_the_sync_setting() {
    let every = |millis| SyncMode::Every(Duration::from_millis(millis));
    let cases = [("always", SyncMode::Always), ("never", SyncMode::Never), ("100ms", every(100)), ("2s", every(2000))];
    for (text, sync) in cases {
        assert_eq!(text.parse(), Ok(sync));
    }
    for text in [
        "",
        "0ms",
        "ms",
        "1",
        "-1s",
        "1.5s",
        "1 s",
        "Always",
        "99999999999999999999s",
        "18446744073709551615m",
        "1\u{e4}",
    ] {
        assert!(matches!(text.parse::<SyncMode>(), Err(Error::InvalidArgument(_))), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    for sync in MODES {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(config(folder.path(), sync)).await.unwrap();
        check(&store, Traits::default()).await;
    }
}

#[tokio::test]
async fn outlives_the_process() {
    for sync in MODES {
        let folder = tempfile::tempdir().unwrap();
        let mut versions = std::collections::BTreeSet::new();
        for round in 0..4 {
            let store = Embedded::open(config(folder.path(), sync)).await.unwrap();
            assert_eq!(store.increment("rounds", 1).await.unwrap(), round + 1);
            store.set("key", text("1"), PLAIN).await.unwrap();
            assert!(versions.insert(store.entry("key").await.unwrap().unwrap().version));
            store.set(&round.to_string(), Bytes::from(vec![1; 5000]), PLAIN).await.unwrap();
            let soon = SetOptions { ttl: Some(Duration::from_millis(1)), ..PLAIN };
            store.set("soon", Bytes::from(vec![1; 5000]), soon).await.unwrap();
            if round % 2 == 0 {
                store.close().await;
                assert!(matches!(store.get("key").await, Err(Error::Unavailable(_))));
                assert!(matches!(store.set("key", text(""), PLAIN).await, Err(Error::Unavailable(_))));
            }
            // Otherwise dropping it closes the file, and the next opener waits for that.
        }
        let store = Embedded::open(config(folder.path(), sync)).await.unwrap();
        let keys = all_keys(&store, "").await;
        assert_eq!(keys, ["0", "1", "2", "3", "key", "rounds"].map(str::to_owned).into());
        assert_eq!(store.get("3").await.unwrap(), Some(Bytes::from(vec![1; 5000])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openers_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    std::fs::create_dir(folder.path().join("real")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("real"), &link).unwrap();
    let first = open(&folder.path().join("real")).await.unwrap();
    let second = open(&link).await.unwrap();
    let mut changes = second.watch().await.unwrap();
    first.set("a", text("1"), PLAIN).await.unwrap();
    assert_eq!(second.get("a").await.unwrap(), Some(text("1")));
    assert_eq!(changes.next().await, Some(Change::Set { key: "a".to_owned(), value: text("1") }));
    first.close().await;
    assert_eq!(second.increment("a", 1).await.unwrap(), 2);
    let third = open(&link).await.unwrap();
    drop(second);
    assert_eq!(third.get("a").await.unwrap(), Some(text("2")));
    drop(third);
    while changes.next().await.is_some() {}
    // Openers that come and go at the same time.
    let path = folder.path().join("real");
    let opened = join_all((0..20).map(|_| async {
        let store = open(&path).await.unwrap();
        store.increment("n", 1).await.unwrap();
    }));
    opened.await;
    assert_eq!(open(&path).await.unwrap().get("n").await.unwrap(), Some(text("20")));
}

#[tokio::test]
async fn the_last_opener_sets_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let limited = EmbeddedConfig { max_bytes: Some(10_000), ..config(folder.path(), SyncMode::Always) };
    let store = Embedded::open(limited.clone()).await.unwrap();
    let value = Bytes::from(vec![0; 1000]);
    let mut written = 0;
    let full = loop {
        match store.set(&format!("key{written}"), value.clone(), PLAIN).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::QuotaExceeded(_)), "{full:?}");
    assert!((8..10).contains(&written), "{written}");
    store.set("key0", value.clone(), PLAIN).await.unwrap();
    store.delete("key1").await.unwrap();
    store.set("other", value.clone(), PLAIN).await.unwrap();
    let more = EmbeddedConfig { max_bytes: Some(20_000), ..limited };
    let other = Embedded::open(more).await.unwrap();
    store.set("more", value, PLAIN).await.unwrap();
    for key in all_keys(&other, "").await {
        other.delete(&key).await.unwrap();
    }
    other.set("large", Bytes::from(vec![0; 19_000]), PLAIN).await.unwrap();
}

#[tokio::test]
async fn removes_what_has_expired() {
    let folder = tempfile::tempdir().unwrap();
    let limited = EmbeddedConfig { max_bytes: Some(10_000), ..config(folder.path(), SyncMode::Always) };
    let store = Embedded::open(limited).await.unwrap();
    let mut changes = store.watch().await.unwrap();
    let soon = SetOptions { ttl: Some(Duration::from_millis(20)), ..PLAIN };
    store.set("soon", Bytes::from(vec![0; 9000]), soon).await.unwrap();
    changes.next().await;
    assert_eq!(changes.next().await, Some(Change::Deleted { key: "soon".to_owned() }));
    store.set("next", Bytes::from(vec![0; 9000]), PLAIN).await.unwrap();
}

#[tokio::test]
async fn rejects_what_is_not_a_store() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["", ".", "..", ".hidden", "a/b", "a\0b", "\u{e4}", &"a".repeat(300)] {
        let opened = Embedded::open(EmbeddedConfig::new(folder.path(), name)).await.err().unwrap();
        assert!(matches!(opened, Error::InvalidArgument(_)), "{name:?} {opened:?}");
    }
    let path = folder.path().join("store.redb");
    std::fs::write(&path, "this is no store, and longer than a header of a store would be ".repeat(200)).unwrap();
    let error = open(folder.path()).await.err().unwrap();
    assert!(
        matches!(&error, Error::Other(text) if text.contains("store.redb") && text.contains("corrupt")),
        "{error:?}"
    );
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = open(folder.path()).await.err().unwrap();
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("store.redb")), "{error:?}");
    // The path is free again after each failure.
    std::fs::remove_dir(&path).unwrap();
    open(folder.path()).await.unwrap().set("a", text("1"), PLAIN).await.unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = open(&folder.path().join("file")).await.err().unwrap();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let entries = (0..200).map(|n| (format!("key{n}"), Bytes::from(vec![n; 2000]))).collect();
    store.set_many(entries).await.unwrap();
    store.close().await;
    let path = folder.path().join("store.redb");
    let good = std::fs::read(&path).unwrap();
    let mut found = 0;
    for at in (0..good.len()).step_by(good.len() / 40) {
        std::fs::write(&path, &good).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let end = (at + 512).min(good.len());
        let flipped: Vec<u8> = good[at..end].iter().map(|byte| !byte).collect();
        file.write_all_at(&flipped, at as u64).unwrap();
        match open(folder.path()).await {
            Err(Error::Other(text)) => {
                assert!(text.contains("store.redb"), "{text}");
                found += 1;
            }
            Err(error) => panic!("{error:?}"),
            // A page that is free, or that redb could restore.
            Ok(store) => {
                for n in 0..200_u8 {
                    assert_eq!(store.get(&format!("key{n}")).await.unwrap(), Some(Bytes::from(vec![n; 2000])));
                }
                store.close().await;
            }
        }
    }
    assert!(found > 10, "{found}");
    for length in [1, 100, 4096, 5000, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        let error = open(folder.path()).await.err().unwrap();
        assert!(matches!(&error, Error::Other(text) if text.contains("store.redb")), "{length}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_makes_writers_wait() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(config(folder.path(), SyncMode::Never)).await.unwrap();
    let large = Bytes::from(vec![0; 20 * 1024 * 1024]);
    let keys: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    for result in join_all(keys.iter().map(|key| store.set(key, large.clone(), PLAIN))).await {
        result.unwrap();
    }
    assert_eq!(store.get("11").await.unwrap(), Some(large));
    store.close().await;
}

/// Run by hand: `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --lib embedded::tests::measure -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints a measurement"]
async fn measure() {
    use redb::{ReadableDatabase as _, TableDefinition};
    const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("t");
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(config(folder.path(), SyncMode::Always)).await.unwrap();
    let bare = redb::Database::create(folder.path().join("bare")).unwrap();
    let name = |n: usize| format!("key:{}", n * 7919 % 100_003);
    store.set_many((0..100_000).map(|n| (name(n), Bytes::from(vec![1; 100]))).collect()).await.unwrap();
    let transaction = bare.begin_write().unwrap();
    {
        let mut table = transaction.open_table(TABLE).unwrap();
        (0..100_000).for_each(|n| drop(table.insert(&*name(n), &[1; 100][..]).unwrap()));
    }
    transaction.commit().unwrap();
    let keys: Vec<String> = (0..200_000).map(|n| name(n * 31)).collect();
    for _ in 0..3 {
        let start = std::time::Instant::now();
        for key in &keys {
            std::hint::black_box(store.get(key).await.unwrap());
        }
        let ours = start.elapsed();
        let start = std::time::Instant::now();
        let table = bare.begin_read().unwrap().open_table(TABLE).unwrap();
        for key in &keys {
            std::hint::black_box(table.get(&**key).unwrap().map(|value| value.value().to_vec()));
        }
        let open_table = start.elapsed();
        let start = std::time::Instant::now();
        for key in &keys {
            let table = bare.begin_read().unwrap().open_table(TABLE).unwrap();
            std::hint::black_box(table.get(&**key).unwrap().map(|value| value.value().to_vec()));
        }
        let each = start.elapsed();
        let start = std::time::Instant::now();
        for key in &keys[..20_000] {
            let (store, key) = (&store, key.clone());
            let _ = tokio::task::spawn_blocking(move || key.len()).await;
            std::hint::black_box(store.get(&keys[0]).await.unwrap());
        }
        let nanos = |time: Duration, count: u32| (time / count).as_nanos();
        println!(
            "get {} ns; redb {} ns with one open table, {} ns with a transaction each; with spawn_blocking {} ns",
            nanos(ours, 200_000),
            nanos(open_table, 200_000),
            nanos(each, 200_000),
            nanos(start.elapsed(), 20_000)
        );
    }
    for writers in [1, 16, 256] {
        let start = std::time::Instant::now();
        let mut written = 0;
        while start.elapsed() < Duration::from_secs(1) {
            let keys: Vec<String> = (0..writers).map(name).collect();
            join_all(keys.iter().map(|key| store.set(key, text("1"), PLAIN))).await;
            written += writers;
        }
        println!("{writers} writers: {written} synced writes a second");
    }
}
