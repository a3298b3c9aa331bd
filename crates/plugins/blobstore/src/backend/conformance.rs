//! The promises of [`Container`], as tests that every backend passes.
//!
//! Takes an empty container; leaves it empty. Never asks what kind of container it is.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

use super::{Body, Container, Error, MAX_NAME, PIECE};

/// How long a test waits for a condition.
const PATIENCE: Duration = Duration::from_secs(30);

/// A body of these bytes, in pieces of an odd size.
pub(super) fn body(bytes: &[u8]) -> Body {
    let pieces: Vec<_> = bytes.chunks(10_007).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces).boxed()
}

/// Bytes that differ at every position that a mistake with pieces would confuse.
pub(super) fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

async fn collect(mut body: Body) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.try_next().await? {
        assert!((1..=PIECE).contains(&piece.len()), "a piece of {} bytes", piece.len());
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

pub(super) async fn read(store: &impl Container, name: &str) -> Result<Vec<u8>, Error> {
    let (info, body) = store.get(name, None).await?;
    let bytes = collect(body).await?;
    assert_eq!(info.size, bytes.len() as u64, "{name:?}");
    Ok(bytes)
}

async fn read_range(store: &impl Container, name: &str, range: Range<u64>) -> Result<Vec<u8>, Error> {
    collect(store.get(name, Some(range)).await?.1).await
}

pub(super) async fn names(store: &impl Container) -> BTreeSet<String> {
    let names: Vec<String> = store.list().await.unwrap().try_collect().await.unwrap();
    let set: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(set.len(), names.len(), "a name is listed twice: {names:?}");
    set
}

/// Waits until `condition` holds.
pub(super) async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what} takes more than {PATIENCE:?}");
}

/// Runs the suite.
pub(super) async fn conforms(store: &impl Container) {
    store.health().await.unwrap();
    arguments(store).await;
    objects(store).await;
    awkward_names(store).await;
    sizes_and_ranges(store).await;
    failed_writes(store).await;
    overwrite_while_reading(store).await;
    concurrent_writers(store).await;
    copies(store).await;
    lists(store).await;
    containers(store).await;
    assert!(names(store).await.is_empty());
}

async fn arguments(store: &impl Container) {
    for name in [String::new(), "x".repeat(MAX_NAME + 1), "é".repeat(MAX_NAME / 2) + "x"] {
        let problems = [
            store.get(&name, None).await.err(),
            store.put(&name, body(b"x")).await.err(),
            store.object_info(&name).await.err(),
            store.delete(std::slice::from_ref(&name)).await.err(),
            store.copy(&name, "there").await.err(),
        ];
        for problem in problems {
            assert!(matches!(problem, Some(Error::InvalidArgument(_))), "{problem:?} for {} bytes", name.len());
        }
    }
    store.put("source", body(b"x")).await.unwrap();
    for target in ["", &"x".repeat(MAX_NAME + 1)] {
        assert!(matches!(store.copy("source", target).await, Err(Error::InvalidArgument(_))));
    }
    #[expect(clippy::reversed_empty_ranges, reason = "it is what the test is about")]
    let reversed = store.get("source", Some(1..0)).await.err();
    assert!(matches!(reversed, Some(Error::InvalidArgument(_))), "{reversed:?}");
    store.delete(&["source".to_owned()]).await.unwrap();
}

async fn objects(store: &impl Container) {
    assert_eq!(store.get("photos/cat.jpg", None).await.err(), Some(Error::NoSuchObject));
    assert_eq!(store.get("photos/cat.jpg", Some(0..1)).await.err(), Some(Error::NoSuchObject));
    assert_eq!(store.object_info("photos/cat.jpg").await.err(), Some(Error::NoSuchObject));
    store.put("photos/cat.jpg", body(b"a cat")).await.unwrap();
    let first = store.object_info("photos/cat.jpg").await.unwrap();
    assert_eq!(first.size, 5);
    let now = super::now_ns();
    // A server may keep whole seconds, or have a clock of its own.
    assert!(now.abs_diff(first.created_ns) < 60_000_000_000, "{} is not near {now}", first.created_ns);
    assert_eq!(read(store, "photos/cat.jpg").await.unwrap(), b"a cat");
    store.put("photos/cat.jpg", body(b"another")).await.unwrap();
    assert_eq!(read(store, "photos/cat.jpg").await.unwrap(), b"another");
    assert_eq!(store.object_info("photos/cat.jpg").await.unwrap().size, 7);
    assert_eq!(names(store).await, BTreeSet::from(["photos/cat.jpg".to_owned()]));
    let both = ["photos/cat.jpg".to_owned(), "photos/dog.jpg".to_owned()];
    store.delete(&both).await.unwrap();
    store.delete(&both).await.expect("deleting what is not there does nothing");
    store.delete(&[]).await.unwrap();
    assert_eq!(store.get("photos/cat.jpg", None).await.err(), Some(Error::NoSuchObject));
    assert!(names(store).await.is_empty());
}

/// Names that a file system, a URL, an XML document or a subject would take for something else.
#[rustfmt::skip]
const AWKWARD: &[&str] = &[
    ".", "..", "...", "../..", "../../etc/passwd", "/etc/passwd", "/", "//", "a/", "/a", "a//b", "a/b", "a",
    "a/b/c", "a/../b", "a/./b", "A", "a\0b", "\0", "\n", "\r\n", "\t", "\x7f", "tab\tnew\nline", " ", " a", "a ",
    ".hidden", "%", "%2F", "%2f", "a%2Fb", "%25", "%~x", "^a", "!", "!2f", "!~x", "~", "*", ">", "a.>", "a.*.b",
    ".a", "a.", "a..b", "?", "a?b=c&d", "#", "a#b", "\\", "a\\b", "\"quoted\"", "'", "`", "<xml>&amp;</xml>", "]]>",
    "{}", "[]", "|", ":", ";", "@", "$", "$O.bucket.M.x", "+", "a+b", "=", "é", "e\u{301}", "É", "ß", "ẞ",
    "日本語/猫.jpg", "🐈", "\u{feff}", "\u{fffe}", "\u{ffff}", "\u{202e}", "\u{2028}", "\u{85}", "İ", "ı", "con", "nul",
    "objects", "writing", "removed", "w-1-1-1", ".tmp", "tmp", ".wharf-tmp", "x.tmp", "x~", "#x#", "lost+found",
    "Photo.JPG", "photo.jpg", "PHOTO.JPG",
];

/// Names that are hard to store: awkward ones, and long ones of awkward letters.
pub(super) fn difficult_names() -> Vec<String> {
    let mut names: Vec<String> = AWKWARD.iter().map(|name| (*name).to_owned()).collect();
    let letters = ["x", "X", "é", "\0", "/", "../", "%", "!", "^", "日", "\u{ffff}", "a/"];
    for length in [200, 255, 256, 500, 1000, MAX_NAME] {
        for letter in letters {
            let mut name = letter.repeat(length / letter.len());
            name.push_str(&"x".repeat(length - name.len()));
            names.push(name.clone());
            // Long names that differ only in their last byte.
            name.pop().filter(char::is_ascii).into_iter().for_each(|_| name.push('y'));
            names.push(name);
        }
    }
    let unique: BTreeSet<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
    unique.into_iter().collect()
}

async fn awkward_names(store: &impl Container) {
    let difficult = difficult_names();
    for (index, name) in difficult.iter().enumerate() {
        store.put(name, body(&pattern(17, index as u64))).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
    for (index, name) in difficult.iter().enumerate() {
        assert_eq!(read(store, name).await.unwrap(), pattern(17, index as u64), "{name:?}");
        assert_eq!(read_range(store, name, 3..9).await.unwrap(), pattern(17, index as u64)[3..9], "{name:?}");
        assert_eq!(store.object_info(name).await.unwrap().size, 17, "{name:?}");
    }
    assert_eq!(names(store).await, difficult.iter().cloned().collect());
    let (some, others) = difficult.split_at(difficult.len() / 2);
    store.delete(some).await.unwrap();
    assert_eq!(names(store).await, others.iter().cloned().collect());
    for name in some {
        assert_eq!(store.object_info(name).await.err(), Some(Error::NoSuchObject), "{name:?}");
    }
    store.clear().await.unwrap();
    assert!(names(store).await.is_empty());
}

async fn sizes_and_ranges(store: &impl Container) {
    let mib = 1024 * 1024;
    let sizes = [0, 1, PIECE - 1, PIECE, PIECE + 1, 128 * 1024, 300_000, mib + 1, 8 * mib, 8 * mib + 1, 17 * mib];
    for size in sizes {
        let (bytes, length) = (pattern(size, 1), size as u64);
        store.put("sized", body(&bytes)).await.unwrap();
        assert!(read(store, "sized").await.unwrap() == bytes, "{size} bytes");
        let middle = length / 2;
        let ranges = [
            0..0,
            0..1,
            0..length,
            0..length + 1,
            0..u64::MAX,
            middle..middle,
            middle..middle + 70_000,
            middle..u64::MAX,
            length.saturating_sub(1)..length,
            length..length,
            length..length + 1,
            length + 1..length + 2,
            length + 100_000..u64::MAX,
            u64::MAX - 1..u64::MAX,
            u64::MAX..u64::MAX,
            65_535..65_537,
            131_071..262_145,
        ];
        for range in ranges {
            let expected =
                usize::try_from(range.start.min(length)).unwrap()..usize::try_from(range.end.min(length)).unwrap();
            let (info, part) = store.get("sized", Some(range.clone())).await.unwrap();
            assert_eq!(info.size, length, "{range:?} of {size}");
            assert!(collect(part).await.unwrap() == bytes[expected], "{range:?} of {size}");
        }
    }
    store.delete(&["sized".to_owned()]).await.unwrap();
}

async fn failed_writes(store: &impl Container) {
    let old = pattern(100_000, 2);
    store.put("kept", body(&old)).await.unwrap();
    for size in [0, 10, 200_000, 20 * 1024 * 1024] {
        for name in ["kept", "absent"] {
            let failure = stream::iter([Err(Error::Other("the guest trapped".to_owned()))]);
            let failed = store.put(name, body(&pattern(size, 3)).chain(failure).boxed()).await;
            assert_eq!(failed, Err(Error::Other("the guest trapped".to_owned())), "{size}");
            // The future is dropped when the body has been taken and before it ends.
            let (taken, was_taken) = tokio::sync::oneshot::channel();
            let end = stream::once(async move {
                taken.send(()).unwrap();
                std::future::pending::<Result<Bytes, Error>>().await
            });
            let mut put = store.put(name, body(&pattern(size, 4)).chain(end).boxed());
            tokio::select! {
                result = &mut put => panic!("the body has not ended: {result:?}"),
                _ = was_taken => (),
            }
            drop(put);
        }
        assert!(read(store, "kept").await.unwrap() == old, "{size}");
        assert_eq!(store.object_info("absent").await.err(), Some(Error::NoSuchObject));
        assert_eq!(names(store).await, BTreeSet::from(["kept".to_owned()]));
    }
    drop(store.put("kept", body(b"never polled")));
    assert!(read(store, "kept").await.unwrap() == old);
    store.delete(&["kept".to_owned()]).await.unwrap();
}

/// A read that has begun gives its own version or an error, never a mixture, when the object is replaced or deleted.
async fn overwrite_while_reading(store: &impl Container) {
    let (old, new) = (pattern(9 * 1024 * 1024, 5), pattern(9 * 1024 * 1024, 6));
    for deleted in [false, true] {
        store.put("read", body(&old)).await.unwrap();
        let (_, mut reader) = store.get("read", None).await.unwrap();
        let mut got = reader.try_next().await.unwrap().unwrap().to_vec();
        if deleted {
            store.delete(&["read".to_owned()]).await.unwrap();
        } else {
            store.put("read", body(&new)).await.unwrap();
            assert!(read(store, "read").await.unwrap() == new);
        }
        let end = loop {
            match reader.next().await {
                Some(Ok(piece)) => got.extend_from_slice(&piece),
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        assert!(got == old[..got.len()], "a mixture");
        assert!(end.is_some() || got.len() == old.len(), "the end is missing: {} bytes", got.len());
        assert!(end.is_none() || reader.next().now_or_never().flatten().is_none(), "an error ends the stream");
    }
    store.clear().await.unwrap();
}

async fn concurrent_writers(store: &impl Container) {
    let versions: Vec<_> = (0..8).map(|seed| pattern(300_000, seed)).collect();
    let writes = versions.iter().map(|version| store.put("contested", body(version)));
    for result in futures_util::future::join_all(writes).await {
        result.unwrap();
    }
    let last = read(store, "contested").await.unwrap();
    assert!(versions.contains(&last), "a mixture of two versions");
    let others =
        (0..16).map(|index| async move { store.put(&format!("own-{index}"), body(&pattern(1000, index))).await });
    for result in futures_util::future::join_all(others).await {
        result.unwrap();
    }
    assert_eq!(names(store).await.len(), 17);
    store.clear().await.unwrap();
}

async fn copies(store: &impl Container) {
    let (long, large) = ("x".repeat(MAX_NAME), pattern(9 * 1024 * 1024, 7));
    assert_eq!(store.copy("none", "there").await, Err(Error::NoSuchObject));
    for (from, bytes) in
        [("empty", &[][..]), ("small", b"small"), ("large", &large), ("../up", b"up"), (&long, b"long")]
    {
        store.put(from, body(bytes)).await.unwrap();
        for to in ["copied", "an/other", &long, &"Ü/".repeat(300), from] {
            store.copy(from, to).await.unwrap_or_else(|error| panic!("{from:?} to {to:?}: {error}"));
            assert!(read(store, to).await.unwrap() == bytes, "{from:?} to {to:?}");
        }
        store.clear().await.unwrap();
    }
}

/// A listing of more names than any backend takes at a time; foreign changes while it runs do no harm.
async fn lists(store: &impl Container) {
    let expected: BTreeSet<_> = (0..1100).map(|index| format!("list/{index}")).collect();
    for batch in expected.iter().collect::<Vec<_>>().chunks(32) {
        let writes = batch.iter().map(|name| store.put(name, body(b"")));
        futures_util::future::try_join_all(writes).await.unwrap();
    }
    assert_eq!(names(store).await, expected);
    let mut listing = store.list().await.unwrap();
    assert!(listing.next().await.unwrap().is_ok());
    drop(listing);
    store.clear().await.unwrap();
    assert!(names(store).await.is_empty());
}

async fn containers(store: &impl Container) {
    let created = store.info().await.unwrap();
    assert!(created <= super::now_ns() + 60_000_000_000);
    assert_eq!(store.create().await, Err(Error::ContainerExists));
    store.put("gone", body(b"gone")).await.unwrap();
    // A write in progress, before and while the container is away.
    let (taken, was_taken) = tokio::sync::oneshot::channel();
    let (finish, finished) = tokio::sync::oneshot::channel::<()>();
    let end = stream::once(async move {
        taken.send(()).unwrap();
        finished.await.unwrap();
        Ok(Bytes::from_static(b"end"))
    });
    let mut put = store.put("late", body(&pattern(3_000_000, 8)).chain(end).boxed());
    tokio::select! {
        result = &mut put => panic!("the body has not ended: {result:?}"),
        _ = was_taken => (),
    }
    store.remove().await.unwrap();
    finish.send(()).unwrap();
    assert_eq!(put.await, Err(Error::NoSuchContainer));
    let problems = [
        store.info().await.err(),
        store.get("gone", None).await.err(),
        store.get("gone", Some(0..1)).await.err(),
        store.put("gone", body(b"x")).await.err(),
        store.put("gone", body(&pattern(9 * 1024 * 1024, 9))).await.err(),
        store.delete(&["gone".to_owned()]).await.err(),
        store.object_info("gone").await.err(),
        store.clear().await.err(),
        store.copy("gone", "there").await.err(),
        store.remove().await.err(),
        match store.list().await {
            Ok(names) => names.try_collect::<Vec<_>>().await.err(),
            Err(error) => Some(error),
        },
    ];
    for (index, problem) in problems.into_iter().enumerate() {
        assert_eq!(problem, Some(Error::NoSuchContainer), "operation {index}");
    }
    store.create().await.unwrap();
    assert!(names(store).await.is_empty());
    assert_eq!(store.get("gone", None).await.err(), Some(Error::NoSuchObject));
    store.put("new", body(b"new")).await.unwrap();
    assert_eq!(read(store, "new").await.unwrap(), b"new");
    store.delete(&["new".to_owned()]).await.unwrap();
}
