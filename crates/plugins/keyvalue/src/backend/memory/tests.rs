//! What holds for the store in memory alone.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::{Memory, MemoryConfig};
use crate::backend::{Change, Error, SetOptions, Store, conformance};

fn ttl(millis: u64) -> SetOptions {
    SetOptions { ttl: Some(Duration::from_millis(millis)), ..SetOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let store = Memory::new(MemoryConfig::default());
    conformance::check(&store, conformance::Traits::default()).await;
}

#[tokio::test]
async fn is_bounded() {
    let store = Memory::new(MemoryConfig { max_bytes: 10_000 });
    let value = Bytes::from(vec![0; 1000]);
    let mut written = 0;
    let full = loop {
        match store.set(&format!("key{written}"), value.clone(), SetOptions::default()).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::QuotaExceeded(_)), "{full:?}");
    assert!((7..10).contains(&written), "{written}");
    // A value that does not grow still fits, and there is room after a deletion.
    store.set("key0", value.clone(), SetOptions::default()).await.unwrap();
    store.delete("key0").await.unwrap();
    store.set("other", value, SetOptions::default()).await.unwrap();
    for key in store.keys("", None).await.unwrap().keys {
        store.delete(&key).await.unwrap();
    }
    assert_eq!(store.table.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn expired_entries_leave_memory() {
    let store = Memory::new(MemoryConfig { max_bytes: 10_000 });
    let mut changes = store.watch().await.unwrap();
    store.set("late", Bytes::new(), ttl(60_000)).await.unwrap();
    store.set("early", Bytes::from(vec![0; 9_000]), ttl(10)).await.unwrap();
    changes.next().await;
    changes.next().await;
    assert_eq!(changes.next().await, Some(Change::Deleted { key: "early".to_owned() }));
    store.set("next", Bytes::from(vec![0; 9_000]), SetOptions::default()).await.unwrap();
    changes.next().await;
    assert_eq!(changes.next().await, Some(Change::Deleted { key: "late".to_owned() }));
    // The task has ended; the next time to live starts another.
    store.set("again", Bytes::new(), ttl(10)).await.unwrap();
    changes.next().await;
    assert_eq!(changes.next().await, Some(Change::Deleted { key: "again".to_owned() }));
}

/// Run by hand: `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --lib memory::tests::measure -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "prints a measurement"]
async fn measure() {
    let store = Memory::new(MemoryConfig { max_bytes: u64::MAX });
    let mut ordered = std::collections::BTreeMap::new();
    for n in 0..1_000_000_u64 {
        let (key, value) = (format!("key:{}", n * 7_919 % 1_000_003), Bytes::from_static(b"0123456789"));
        ordered.insert(key.clone(), value.clone());
        store.set(&key, value, SetOptions::default()).await.unwrap();
    }
    let ordered = std::sync::RwLock::new(ordered);
    for distinct in [1000_u64, 1_000_000, 1000, 1_000_000] {
        let keys: Vec<String> = (0..distinct).map(|n| format!("key:{}", n * 104_729 % 1_000_003)).collect();
        let rounds = 1_000_000 / distinct;
        let start = std::time::Instant::now();
        for key in (0..rounds).flat_map(|_| &keys) {
            std::hint::black_box(store.get(key).await.unwrap());
        }
        let sharded = start.elapsed().as_nanos() / 1_000_000;
        let start = std::time::Instant::now();
        for key in (0..rounds).flat_map(|_| &keys) {
            std::hint::black_box(ordered.read().unwrap().get(key).cloned());
        }
        let ordered = start.elapsed().as_nanos() / 1_000_000;
        println!("{distinct} of 1,000,000 keys: {sharded} ns a get; {ordered} ns with one `BTreeMap`");
    }
}
