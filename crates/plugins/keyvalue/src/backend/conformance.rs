//! What every store promises, checked over any backend.
//!
//! Takes an empty store; panics where it breaks a promise of [`Store`]. Keeps the promises apart that a backend
//! declares not to keep ([`Traits`]).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};

use super::{Change, Condition, Entry, Error, MAX_KEY, MAX_VALUE, PAGE, SetOptions, Store, Swapped};

/// The promises that a backend may not keep.
#[derive(Clone, Copy)]
pub(super) struct Traits {
    /// Entries can expire.
    pub(super) ttl: bool,
    /// The longest key.
    pub(super) max_key: usize,
    /// A value that fits.
    pub(super) large_value: usize,
    /// A page is full unless it is the last.
    pub(super) full_pages: bool,
}

impl Default for Traits {
    fn default() -> Self {
        Self { ttl: true, max_key: MAX_KEY, large_value: 8 * 1024 * 1024, full_pages: true }
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
const PLAIN: SetOptions = SetOptions { ttl: None, if_absent: false };

/// Checks every promise.
pub(super) async fn check(store: &dyn Store, traits: Traits) {
    store.health().await.unwrap();
    values(store, traits).await;
    limits(store, traits).await;
    conditional_writes(store).await;
    listing(store, traits).await;
    numbers(store).await;
    many(store).await;
    versions(store).await;
    swaps(store).await;
    concurrency(store).await;
    watching(store).await;
    expiry(store, traits).await;
    clear(store).await;
    store.close().await;
}

pub(super) fn text(value: &str) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

/// Waits until something holds.
pub(super) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All keys with a prefix, once each.
pub(super) async fn all_keys(store: &dyn Store, prefix: &str) -> BTreeSet<String> {
    let (mut keys, mut cursor) = (BTreeSet::new(), None);
    loop {
        let page = store.keys(prefix, cursor.as_deref()).await.unwrap();
        assert!(page.keys.len() <= PAGE);
        assert!(page.keys.iter().map(String::len).sum::<usize>() <= 1024 * 1024 + MAX_KEY);
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return keys;
        }
    }
}

async fn clear(store: &dyn Store) {
    let keys: Vec<String> = all_keys(store, "").await.into_iter().collect();
    store.delete_many(&keys).await.unwrap();
    assert!(all_keys(store, "").await.is_empty());
}

async fn values(store: &dyn Store, traits: Traits) {
    let odd = [
        "",
        " ",
        ".",
        "..",
        "a.",
        ".a",
        "a..b",
        "a*b",
        "a?[b]\\",
        "=",
        "=41",
        "a=b",
        "\u{e4}\u{1f600}",
        "\0\r\n",
        "a>b",
        "/x/",
        "k",
    ];
    for key in odd {
        assert_eq!(store.get(key).await.unwrap(), None, "{key:?}");
        assert!(!store.exists(key).await.unwrap());
        store.delete(key).await.unwrap();
        store.set(key, text(key), PLAIN).await.unwrap();
    }
    for key in odd {
        assert_eq!(store.get(key).await.unwrap(), Some(text(key)), "{key:?}");
        assert!(store.exists(key).await.unwrap());
    }
    assert_eq!(all_keys(store, "").await, odd.iter().map(ToString::to_string).collect());
    for key in odd {
        let with_prefix = odd.iter().filter(|other| other.starts_with(key)).map(ToString::to_string).collect();
        assert_eq!(all_keys(store, key).await, with_prefix, "{key:?}");
    }
    for key in odd {
        store.delete(key).await.unwrap();
        assert_eq!(store.get(key).await.unwrap(), None, "{key:?}");
    }
    for value in [
        Bytes::new(),
        Bytes::from_static(b"\0\xff\r\n"),
        Bytes::from(vec![7; 3000]),
        Bytes::from(vec![7; traits.large_value]),
    ] {
        store.set("value", value.clone(), PLAIN).await.unwrap();
        assert_eq!(store.get("value").await.unwrap(), Some(value.clone()));
        let entry = store.entry("value").await.unwrap().unwrap();
        assert_eq!(entry.value, value);
    }
    clear(store).await;
}

async fn limits(store: &dyn Store, traits: Traits) {
    let longest = "k".repeat(traits.max_key);
    store.set(&longest, text("v"), PLAIN).await.unwrap();
    assert_eq!(store.get(&longest).await.unwrap(), Some(text("v")));
    store.delete(&longest).await.unwrap();
    let long = "k".repeat(MAX_KEY + 1);
    let invalid = |result: Result<(), Error>| assert!(matches!(result, Err(Error::InvalidArgument(_))), "{result:?}");
    invalid(store.get(&long).await.map(drop));
    invalid(store.set(&long, text(""), PLAIN).await);
    invalid(store.delete(&long).await);
    invalid(store.exists(&long).await.map(drop));
    invalid(store.keys(&long, None).await.map(drop));
    invalid(store.increment(&long, 1).await.map(drop));
    invalid(store.get_many(std::slice::from_ref(&long)).await.map(drop));
    invalid(store.set_many(vec![(long.clone(), text(""))]).await);
    invalid(store.delete_many(std::slice::from_ref(&long)).await);
    invalid(store.entry(&long).await.map(drop));
    invalid(store.swap(&long, text(""), Condition::default()).await.map(drop));
    for cursor in ["", "nonsense", "\u{1f600}", "-1", "99999999999999999999999"] {
        invalid(store.keys("", Some(cursor)).await.map(drop));
    }
    let huge = Bytes::from(vec![0; MAX_VALUE + 1]);
    let quota = |result: Result<(), Error>| assert!(matches!(result, Err(Error::QuotaExceeded(_))), "{result:?}");
    quota(store.set("huge", huge.clone(), PLAIN).await);
    quota(store.set_many(vec![("huge".to_owned(), huge.clone())]).await);
    quota(store.swap("huge", huge, Condition::default()).await.map(drop));
    assert!(!store.exists("huge").await.unwrap());
}

async fn conditional_writes(store: &dyn Store) {
    let absent = SetOptions { if_absent: true, ..PLAIN };
    store.set("once", text("1"), absent).await.unwrap();
    assert_eq!(store.set("once", text("2"), absent).await, Err(Error::PreconditionFailed));
    assert_eq!(store.get("once").await.unwrap(), Some(text("1")));
    store.delete("once").await.unwrap();
    store.set("once", text("3"), absent).await.unwrap();
    assert_eq!(store.get("once").await.unwrap(), Some(text("3")));
    let racers = join_all((0..20).map(|n| store.set("race", text(&n.to_string()), absent))).await;
    assert_eq!(racers.iter().filter(|result| result.is_ok()).count(), 1, "{racers:?}");
    clear(store).await;
}

async fn listing(store: &dyn Store, traits: Traits) {
    let names: BTreeSet<String> = (0..2500).map(|n| format!("list.{n:05}")).collect();
    let others: BTreeSet<String> = (0..50).map(|n| format!("other.{n}")).collect();
    let entries = names.iter().chain(&others).map(|name| (name.clone(), text("v"))).collect();
    store.set_many(entries).await.unwrap();
    assert_eq!(all_keys(store, "list.").await, names);
    assert_eq!(all_keys(store, "list").await, names);
    assert_eq!(all_keys(store, "other.").await, others);
    assert_eq!(all_keys(store, "list.0000").await.len(), 10);
    assert_eq!(all_keys(store, "none").await.len(), 0);
    assert_eq!(all_keys(store, "").await.len(), 2550);
    if traits.full_pages {
        assert_eq!(store.keys("list.", None).await.unwrap().keys.len(), PAGE);
    }
    // Keys that stay are listed, whatever comes and goes meanwhile.
    let (mut listed, mut cursor, mut round) = (BTreeSet::new(), None, 0);
    loop {
        let page = store.keys("list.", cursor.as_deref()).await.unwrap();
        listed.extend(page.keys);
        round += 1;
        store.set(&format!("list.new.{round}"), text(""), PLAIN).await.unwrap();
        store.set(&format!("list.{:05}", 2499 - round), text("again"), PLAIN).await.unwrap();
        store.delete(&format!("list.{round:05}")).await.unwrap();
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let stayed = (round + 1..2500).map(|n| format!("list.{n:05}"));
    stayed.for_each(|name| assert!(listed.contains(&name), "{name}"));
    clear(store).await;
}

async fn numbers(store: &dyn Store) {
    assert_eq!(store.increment("n", 5).await.unwrap(), 5);
    assert_eq!(store.increment("n", -7).await.unwrap(), -2);
    assert_eq!(store.get("n").await.unwrap(), Some(text("-2")));
    assert_eq!(store.increment("n", 0).await.unwrap(), -2);
    store.set("n", text(&i64::MAX.to_string()), PLAIN).await.unwrap();
    assert_eq!(store.increment("n", 0).await.unwrap(), i64::MAX);
    for delta in [1, i64::MAX] {
        assert!(matches!(store.increment("n", delta).await, Err(Error::Other(_))));
    }
    assert_eq!(store.increment("n", i64::MIN).await.unwrap(), -1);
    assert_eq!(store.increment("least", i64::MIN).await.unwrap(), i64::MIN);
    assert!(matches!(store.increment("least", -1).await, Err(Error::Other(_))));
    for value in ["", "x", "1.5", " 1", "+1", "01"] {
        store.set("word", text(value), PLAIN).await.unwrap();
        assert!(matches!(store.increment("word", 1).await, Err(Error::Other(_))), "{value:?}");
        assert_eq!(store.get("word").await.unwrap(), Some(text(value)));
    }
    clear(store).await;
}

async fn many(store: &dyn Store) {
    assert_eq!(store.get_many(&[]).await.unwrap(), vec![]);
    store.set_many(vec![]).await.unwrap();
    store.delete_many(&[]).await.unwrap();
    let keys: Vec<String> = (0..1500).map(|n| format!("many{n}")).collect();
    store.set_many(keys.iter().map(|key| (key.clone(), text(key))).collect()).await.unwrap();
    // The last of two entries of one key is left.
    store.set_many(vec![("twice".to_owned(), text("1")), ("twice".to_owned(), text("2"))]).await.unwrap();
    assert_eq!(store.get("twice").await.unwrap(), Some(text("2")));
    let mut asked: Vec<String> = keys.iter().rev().cloned().collect();
    asked.insert(1, "absent".to_owned());
    asked.push(keys[0].clone());
    let found = store.get_many(&asked).await.unwrap();
    for (key, value) in asked.iter().zip(found) {
        assert_eq!(value, (key != "absent").then(|| text(key)));
    }
    store.delete_many(&asked).await.unwrap();
    assert!(all_keys(store, "many").await.is_empty());
    clear(store).await;
}

async fn versions(store: &dyn Store) {
    assert_eq!(store.entry("v").await.unwrap(), None);
    let mut seen = BTreeSet::new();
    let mut fresh = async |what: &str| {
        let Entry { version, .. } = store.entry("v").await.unwrap().unwrap();
        assert_eq!(store.entry("v").await.unwrap().unwrap().version, version, "{what}: a read changes no version");
        assert!(seen.insert(version), "{what}");
    };
    store.set("v", text("1"), PLAIN).await.unwrap();
    fresh("set").await;
    store.set("v", text("1"), PLAIN).await.unwrap();
    fresh("set to the same value").await;
    store.set_many(vec![("v".to_owned(), text("1"))]).await.unwrap();
    fresh("set many").await;
    store.swap("v", text("1"), Condition::default()).await.unwrap();
    fresh("swap").await;
    store.increment("v", 0).await.unwrap();
    fresh("increment").await;
    store.increment("v", 1).await.unwrap();
    store.increment("v", -1).await.unwrap();
    fresh("there and back").await;
    store.delete("v").await.unwrap();
    store.set("v", text("1"), PLAIN).await.unwrap();
    fresh("delete and set").await;
    store.delete_many(&["v".to_owned()]).await.unwrap();
    store.set("v", text("1"), SetOptions { if_absent: true, ..PLAIN }).await.unwrap();
    fresh("delete many and set if absent").await;
    clear(store).await;
}

async fn swaps(store: &dyn Store) {
    let absent = Condition { absent: true, ..Condition::default() };
    let version = |version: &str| Condition { version: Some(version.to_owned()), ..Condition::default() };
    let value = |value: &str| Condition { value: Some(text(value)), ..Condition::default() };
    // Nothing is there.
    for condition in [version("1"), version(""), version("nonsense"), value(""), value("x")] {
        assert_eq!(store.swap("s", text("x"), condition).await.unwrap(), Swapped::Stale(None));
    }
    assert_eq!(store.swap("s", text("a"), absent.clone()).await.unwrap(), Swapped::Yes);
    let entry = store.entry("s").await.unwrap().unwrap();
    assert_eq!(entry.value, text("a"));
    let stale = Swapped::Stale(Some(entry.clone()));
    assert_eq!(store.swap("s", text("b"), absent.clone()).await.unwrap(), stale);
    assert_eq!(store.swap("s", text("b"), value("x")).await.unwrap(), stale);
    assert_eq!(store.swap("s", text("b"), version("nonsense")).await.unwrap(), stale);
    let both = |v: &str, t: &str| Condition { version: Some(v.to_owned()), value: Some(text(t)), absent: false };
    assert_eq!(store.swap("s", text("b"), both(&entry.version, "x")).await.unwrap(), stale);
    assert_eq!(store.swap("s", text("b"), both("0", "a")).await.unwrap(), stale);
    let never = Condition { absent: true, value: Some(text("a")), version: None };
    assert_eq!(store.swap("s", text("b"), never.clone()).await.unwrap(), stale);
    assert_eq!(store.entry("s").await.unwrap().unwrap(), entry, "a stale swap changes nothing");
    assert_eq!(store.swap("s", text("b"), both(&entry.version, "a")).await.unwrap(), Swapped::Yes);
    let Swapped::Stale(Some(now)) = store.swap("s", text("c"), version(&entry.version)).await.unwrap() else {
        panic!("an old version");
    };
    assert_eq!(now.value, text("b"));
    assert_eq!(store.swap("s", text("c"), version(&now.version)).await.unwrap(), Swapped::Yes);
    assert_eq!(store.swap("s", text("d"), value("c")).await.unwrap(), Swapped::Yes);
    assert_eq!(store.swap("s", Bytes::new(), Condition::default()).await.unwrap(), Swapped::Yes);
    assert_eq!(store.swap("s", text("e"), value("")).await.unwrap(), Swapped::Yes);
    // A version does not outlive its entry.
    let last = store.entry("s").await.unwrap().unwrap();
    store.delete("s").await.unwrap();
    assert_eq!(store.swap("s", text("f"), version(&last.version)).await.unwrap(), Swapped::Stale(None));
    store.set("s", text("e"), PLAIN).await.unwrap();
    assert!(matches!(store.swap("s", text("f"), version(&last.version)).await.unwrap(), Swapped::Stale(Some(_))));
    store.delete("s").await.unwrap();
    assert_eq!(store.swap("s", text("x"), never).await.unwrap(), Swapped::Stale(None));
    assert_eq!(store.swap("s", text("x"), absent).await.unwrap(), Swapped::Yes);
    clear(store).await;
}

async fn concurrency(store: &dyn Store) {
    let sums = join_all((0..40).map(|_| store.increment("sum", 1))).await;
    let sums: BTreeSet<i64> = sums.into_iter().map(Result::unwrap).collect();
    assert_eq!(sums, (1..=40).collect());
    store.set("swapped", text("0"), PLAIN).await.unwrap();
    let add = async || {
        for _ in 0..5 {
            loop {
                let Entry { value, version } = store.entry("swapped").await.unwrap().unwrap();
                let sum: i64 = std::str::from_utf8(&value).unwrap().parse().unwrap();
                let condition = Condition { version: Some(version), ..Condition::default() };
                if store.swap("swapped", text(&(sum + 1).to_string()), condition).await.unwrap() == Swapped::Yes {
                    break;
                }
            }
        }
    };
    join_all((0..8).map(|_| add())).await;
    assert_eq!(store.get("swapped").await.unwrap(), Some(text("40")));
    clear(store).await;
}

/// Waits for changes, in any order. Some backends report the changes before them again.
async fn next(changes: &mut BoxStream<'static, Change>, wanted: &[Change]) {
    let mut left: Vec<&Change> = wanted.iter().collect();
    let found = tokio::time::timeout(PATIENCE, async {
        while !left.is_empty() {
            let change = changes.next().await.expect("the stream goes on");
            assert_ne!(change, Change::Lost);
            left.retain(|wanted| **wanted != change);
        }
    });
    assert!(found.await.is_ok(), "no {left:?}");
}

async fn watching(store: &dyn Store) {
    store.set("before", text("0"), PLAIN).await.unwrap();
    let mut changes = store.watch().await.unwrap();
    let mut second = store.watch().await.unwrap();
    assert!(changes.next().now_or_never().is_none(), "only changes from now on");
    let set = |key: &str, value: &str| Change::Set { key: key.to_owned(), value: text(value) };
    let deleted = |key: &str| Change::Deleted { key: key.to_owned() };
    store.set("w.", text("1"), PLAIN).await.unwrap();
    next(&mut changes, &[set("w.", "1")]).await;
    next(&mut second, &[set("w.", "1")]).await;
    store.set("", Bytes::new(), PLAIN).await.unwrap();
    next(&mut changes, &[set("", "")]).await;
    store.increment("n", 3).await.unwrap();
    next(&mut changes, &[set("n", "3")]).await;
    store.swap("n", text("x"), Condition::default()).await.unwrap();
    next(&mut changes, &[set("n", "x")]).await;
    store.set_many(vec![("m1".to_owned(), text("1")), ("m2".to_owned(), text("2"))]).await.unwrap();
    next(&mut changes, &[set("m1", "1"), set("m2", "2")]).await;
    store.delete("w.").await.unwrap();
    next(&mut changes, &[deleted("w.")]).await;
    store.delete_many(&["m1".to_owned(), "m2".to_owned()]).await.unwrap();
    next(&mut changes, &[deleted("m1"), deleted("m2")]).await;
    clear(store).await;
}

async fn expiry(store: &dyn Store, traits: Traits) {
    let ttl = |millis| SetOptions { ttl: Some(Duration::from_millis(millis)), ..PLAIN };
    if !traits.ttl {
        assert!(matches!(store.set("t", text(""), ttl(50)).await, Err(Error::Other(_))));
        return;
    }
    let gone = async |key: &str| eventually(key, || async { !store.exists(key).await.unwrap() }).await;
    store.set("t", text("1"), ttl(50)).await.unwrap();
    store.set("stays", text("1"), ttl(50)).await.unwrap();
    store.set("stays", text("2"), PLAIN).await.unwrap();
    store.set("swapped", text("1"), ttl(50)).await.unwrap();
    assert_eq!(store.swap("swapped", text("2"), Condition::default()).await.unwrap(), Swapped::Yes);
    store.set("many", text("1"), ttl(50)).await.unwrap();
    store.set_many(vec![("many".to_owned(), text("2"))]).await.unwrap();
    store.set("number", text("1"), ttl(300)).await.unwrap();
    assert_eq!(store.increment("number", 1).await.unwrap(), 2);
    store.set("late", text("1"), ttl(600_000)).await.unwrap();
    store.set("latest", text("1"), SetOptions { ttl: Some(Duration::MAX), ..PLAIN }).await.unwrap();
    gone("t").await;
    assert_eq!(store.get("t").await.unwrap(), None);
    assert_eq!(store.entry("t").await.unwrap(), None);
    assert_eq!(store.get_many(&["t".to_owned()]).await.unwrap(), vec![None]);
    assert_eq!(store.increment("t", 1).await.unwrap(), 1);
    gone("number").await;
    let left = ["late", "latest", "many", "stays", "swapped", "t"].map(str::to_owned);
    assert_eq!(all_keys(store, "").await, BTreeSet::from(left));
    store.set("t", text("1"), SetOptions { if_absent: true, ..ttl(20) }).await.unwrap_err();
    store.delete("t").await.unwrap();
    store.set("t", text("1"), SetOptions { if_absent: true, ..ttl(20) }).await.unwrap();
    gone("t").await;
    store.set("t", text("2"), SetOptions { if_absent: true, ..PLAIN }).await.unwrap();
    clear(store).await;
}
