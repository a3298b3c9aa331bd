//! Tests of what only a folder does: links, leftovers, crashes, limits, full disks.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use super::{Folder, FolderConfig};
use crate::backend::conformance::{body, conforms, names, pattern, read};
use crate::backend::{Body, Container as _, Error};

/// The folder that [`writes_until_killed`] writes to.
const CHILD_FOLDER: &str = "WHARF_TEST_FOLDER";
const MIB: usize = 1024 * 1024;

async fn open(folder: &Path) -> Folder {
    Folder::open(FolderConfig::new(folder)).await.unwrap()
}

/// The names of the files in a subfolder.
fn files(folder: &TempDir, name: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder.path().join(name)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A body that tells when its bytes were taken, and then neither goes on nor ends.
fn stuck(bytes: &[u8]) -> (Body, tokio::sync::oneshot::Receiver<()>) {
    let (taken, was_taken) = tokio::sync::oneshot::channel();
    let end = stream::once(async move {
        taken.send(()).unwrap();
        std::future::pending::<Result<Bytes, Error>>().await
    });
    (body(bytes).chain(end).boxed(), was_taken)
}

#[tokio::test]
async fn a_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conforms(&open(folder.path()).await).await;
    assert!(files(&folder, "objects").is_empty() && files(&folder, "writing").is_empty());
    assert_eq!(files(&folder, ""), BTreeSet::from(["objects".to_owned(), "writing".to_owned()]));
}

#[tokio::test]
async fn a_folder_with_a_limit_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let config = FolderConfig { sync: false, max_bytes: Some(64 * MIB as u64), ..FolderConfig::new(folder.path()) };
    conforms(&Folder::open(config).await.unwrap()).await;
}

#[tokio::test]
async fn objects_outlive_the_store_as_recognisable_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.put("photos/cat.jpg", body(b"a cat")).await.unwrap();
    let created = store.info().await.unwrap();
    store.close().await;
    assert!(matches!(store.put("photos/cat.jpg", body(b"")).await, Err(Error::Unavailable(_))));
    assert!(store.health().await.is_err());
    assert_eq!(fs::read(folder.path().join("objects/photos%2Fcat.jpg")).unwrap(), b"a cat");
    let store = open(folder.path()).await;
    assert_eq!(read(&store, "photos/cat.jpg").await.unwrap(), b"a cat");
    assert_eq!(store.info().await.unwrap(), created);
}

#[tokio::test]
async fn nothing_leads_out_of_the_folder() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secret = outside.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let store = open(folder.path()).await;
    let objects = folder.path().join("objects");
    symlink(&secret, objects.join("link")).unwrap();
    symlink(outside.path(), objects.join("up")).unwrap();
    fs::create_dir(objects.join("folder")).unwrap();
    assert!(Command::new("mkfifo").arg(objects.join("pipe")).status().unwrap().success());
    store.put("real", body(b"real")).await.unwrap();
    for name in ["link", "up", "folder", "pipe"] {
        assert_eq!(store.get(name, None).await.err(), Some(Error::NoSuchObject), "{name}");
        assert_eq!(store.object_info(name).await.err(), Some(Error::NoSuchObject), "{name}");
        assert_eq!(store.copy(name, "copied").await.err(), Some(Error::NoSuchObject), "{name}");
    }
    assert_eq!(names(&store).await, BTreeSet::from(["real".to_owned()]));
    // A write replaces a link instead of following it, and a deletion deletes it.
    store.put("link", body(b"mine")).await.unwrap();
    assert_eq!(read(&store, "link").await.unwrap(), b"mine");
    store.delete(&["up".to_owned(), "folder".to_owned()]).await.unwrap();
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    // A link in the place of the objects' folder.
    fs::rename(&objects, folder.path().join("moved")).unwrap();
    symlink(outside.path(), &objects).unwrap();
    for problem in [
        store.put("secret", body(b"overwritten")).await.err(),
        store.get("secret", None).await.err(),
        store.clear().await.err(),
        store.list().await.err(),
        Folder::open(FolderConfig::new(folder.path())).await.err(),
    ] {
        assert!(matches!(problem, Some(Error::Other(_))), "{problem:?}");
    }
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
}

#[tokio::test]
async fn opening_deletes_what_dead_processes_left_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.put("kept", body(b"kept")).await.unwrap();
    let (unfinished, was_taken) = stuck(&pattern(2 * MIB, 1));
    let mut put = store.put("unfinished", unfinished);
    tokio::select! {
        result = &mut put => panic!("the body has not ended: {result:?}"),
        _ = was_taken => (),
    }
    let live = files(&folder, "writing");
    assert_eq!(live.len(), 1);
    fs::write(folder.path().join("writing/w-1-1-1"), "left by a dead process").unwrap();
    fs::create_dir(folder.path().join("removed-1")).unwrap();
    fs::write(folder.path().join("removed-1/object"), "left by a dead process").unwrap();
    // The folder is open twice while a workload is replaced.
    let second = open(folder.path()).await;
    assert_eq!(files(&folder, "writing"), live);
    assert!(!folder.path().join("removed-1").exists());
    assert_eq!(read(&second, "kept").await.unwrap(), b"kept");
    second.put("new", body(b"new")).await.unwrap();
    assert_eq!(read(&store, "new").await.unwrap(), b"new");
    drop(put);
    crate::backend::conformance::eventually("the deletion of the file", async || files(&folder, "writing").is_empty())
        .await;
}

#[tokio::test]
async fn stores_of_one_folder_share_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("objects")).unwrap();
    fs::write(folder.path().join("objects/old"), vec![0; MIB]).unwrap();
    let config = FolderConfig { max_bytes: Some(3 * MIB as u64), ..FolderConfig::new(folder.path()) };
    let (first, second) = (Folder::open(config.clone()).await.unwrap(), Folder::open(config).await.unwrap());
    first.put("first", body(&vec![0; MIB])).await.unwrap();
    let endless = stream::repeat_with(|| Ok(Bytes::from(vec![0; 65_536]))).boxed();
    let full = second.put("old", endless).await.unwrap_err();
    assert!(matches!(full, Error::QuotaExceeded(_)), "{full:?}");
    assert!(files(&folder, "writing").is_empty());
    assert_eq!(read(&second, "old").await.unwrap().len(), MIB);
    first.delete(&["first".to_owned()]).await.unwrap();
    second.put("second", body(&vec![0; MIB + MIB / 2])).await.unwrap();
    let full = second.copy("second", "third").await.unwrap_err();
    assert!(matches!(full, Error::QuotaExceeded(_)), "{full:?}");
    first.clear().await.unwrap();
    second.put("third", body(&vec![0; 2 * MIB])).await.unwrap();
    second.remove().await.unwrap();
    second.create().await.unwrap();
    first.put("fourth", body(&vec![0; 2 * MIB])).await.unwrap();
}

/// A file system of a few mebibytes. Dropping it unmounts it.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` if this process may not mount.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), Some(c"size=4m")).ok()?;
        Some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn a_full_disk_rejects_writes_until_there_is_space() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: mounting needs root");
        return;
    };
    let store = open(disk.0.path()).await;
    store.put("old", body(b"old")).await.unwrap();
    for name in ["old", "new"] {
        let full = store.put(name, body(&pattern(6 * MIB, 1))).await.unwrap_err();
        assert!(matches!(full, Error::QuotaExceeded(_)), "{full:?}");
    }
    assert!(files(&disk.0, "writing").is_empty());
    assert_eq!(names(&store).await, BTreeSet::from(["old".to_owned()]));
    assert_eq!(read(&store, "old").await.unwrap(), b"old");
    let fits = pattern(3 * MIB, 2);
    store.put("new", body(&fits)).await.unwrap();
    let full = store.copy("new", "copied").await.unwrap_err();
    assert!(matches!(full, Error::QuotaExceeded(_)), "{full:?}");
    store.delete(&["new".to_owned()]).await.unwrap();
    store.put("new", body(&fits)).await.unwrap();
    assert!(read(&store, "new").await.unwrap() == fits);
}

/// The body of an object that the child writes.
fn written(index: u64) -> Vec<u8> {
    pattern(usize::try_from(index % 7).unwrap() * 150_000 + 10, index)
}

/// The child of the next test: it writes objects, and a line for each one once it is acknowledged.
#[tokio::test]
#[ignore = "the next test starts it as a child process"]
async fn writes_until_killed() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    let store = open(Path::new(&folder)).await;
    for index in 0_u64.. {
        let (own, shared) = (format!("own/{index}"), written(index));
        let (own, shared) =
            futures_util::future::join(store.put(&own, body(&written(index))), store.put("shared", body(&shared)))
                .await;
        own.and(shared).unwrap();
        println!("\nacknowledged {index}");
        std::io::stdout().flush().unwrap();
    }
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_or_torn_when_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    for last in [3_u64, 10, 25] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["backend::folder::tests::writes_until_killed", "--exact", "--ignored", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let acknowledged = lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
        let acknowledged = acknowledged.inspect(|index| {
            if *index == last {
                child.kill().unwrap();
            }
        });
        // Lines that the child wrote before it was killed count too.
        let acknowledged = acknowledged.last().unwrap();
        child.wait().unwrap();
        assert!(acknowledged >= last);
        let store = open(folder.path()).await;
        assert!(files(&folder, "writing").is_empty());
        for index in 0..=acknowledged {
            assert!(read(&store, &format!("own/{index}")).await.unwrap() == written(index), "{index}");
        }
        let shared = read(&store, "shared").await.unwrap();
        assert!((acknowledged..acknowledged + 2).any(|index| shared == written(index)), "torn or lost");
        for name in names(&store).await {
            let whole = name.strip_prefix("own/").map(|index| written(index.parse().unwrap()));
            assert!(whole.is_none_or(|whole| whole.len() as u64
                == fs::metadata(folder.path().join("objects").join(name.replace('/', "%2F"))).unwrap().len()));
        }
        store.clear().await.unwrap();
    }
}
