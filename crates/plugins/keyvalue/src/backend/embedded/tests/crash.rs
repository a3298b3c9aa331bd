//! What is left after a crash, and on a full disk.
//!
//! Each test runs this test program again, as a process that it can kill or take the disk space from: [`child`], with
//! the task in an environment variable.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{PLAIN, config, open};
use crate::backend::conformance::{all_keys, text};
use crate::backend::embedded::{Embedded, EmbeddedConfig, SyncMode};
use crate::backend::{Error, Store};

const TASK: &str = "KEYVALUE_TEST_TASK";
const FOLDER: &str = "KEYVALUE_TEST_FOLDER";
const TEST: &str = "embedded::tests::crash::child";

/// A process that kills its child when it goes.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The value of a key: long enough for pages of its own, and only whole if every byte is right.
fn value(key: &str) -> Bytes {
    Bytes::from(key.repeat(5000 / key.len()))
}

/// This test program again, after `before` in a shell.
fn child_command(task: &str, folder: &Path, before: &str) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("sh");
    let script = format!("{before}exec \"$0\" \"$@\"");
    command.arg("-c").arg(script).arg(program).args([TEST, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(TASK, task).env(FOLDER, folder).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn start(task: &str, folder: &Path) -> (Process, impl Iterator<Item = String> + use<>) {
    let mut child = child_command(task, folder, "").spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    // The test program itself prints too, and not always a whole line.
    let said = lines.filter_map(|line| line.split_once("said ").map(|(_, said)| said.to_owned()));
    (Process(child), said)
}

fn say(what: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "said {what}").unwrap();
    out.flush().unwrap();
}

/// Runs in the processes that the other tests start.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other tests run it"]
async fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let folder = std::path::PathBuf::from(std::env::var_os(FOLDER).unwrap());
    match task.as_str() {
        "hold" => {
            let _store = open(&folder).await.unwrap();
            say("open");
            std::future::pending::<()>().await;
        }
        "write" => {
            let store = open(&folder).await.unwrap();
            join_all((0..8).map(|writer| write(&store, format!("w{writer}-")))).await;
        }
        "every" | "never" => {
            let sync = if task == "every" { SyncMode::Every(Duration::from_millis(20)) } else { SyncMode::Never };
            let store = Embedded::open(config(&folder, sync)).await.unwrap();
            write(&store, String::new()).await;
        }
        "full" => full(&folder).await,
        "short" => short(&folder).await,
        other => panic!("{other}"),
    }
}

/// Writes keys with consecutive numbers, and says each one that is acknowledged.
async fn write(store: &Embedded, prefix: String) {
    for n in 1_u64.. {
        let key = format!("{prefix}{n}");
        store.set(&key, value(&key), PLAIN).await.unwrap();
        say(&key);
    }
}

#[tokio::test]
async fn another_process_keeps_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let (process, mut said) = start("hold", folder.path());
    assert_eq!(said.next().as_deref(), Some("open"));
    let error = open(folder.path()).await.err().unwrap();
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("another process")), "{error:?}");
    drop(process);
    open(folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_crash_loses_no_acknowledged_write() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = std::collections::BTreeSet::new();
    for round in 1..=4 {
        let (mut process, mut said) = start("write", folder.path());
        acknowledged.extend(said.by_ref().take(round * 61));
        process.kill();
        // What was said before it was killed counts too.
        acknowledged.extend(said);
        let store = open(folder.path()).await.unwrap();
        for key in &acknowledged {
            assert_eq!(store.get(key).await.unwrap(), Some(value(key)), "{key}");
        }
        for key in all_keys(&store, "").await {
            assert_eq!(store.get(&key).await.unwrap(), Some(value(&key)), "{key} is torn");
        }
        store.close().await;
    }
    assert!(acknowledged.len() > 200);
}

#[tokio::test]
async fn a_crash_leaves_one_moment() {
    for (task, window) in [("every", Some(Duration::from_secs(1))), ("never", None)] {
        let folder = tempfile::tempdir().unwrap();
        let (mut process, mut said) = start(task, folder.path());
        let first: Vec<u64> = said.by_ref().take(200).map(|key| key.parse().unwrap()).collect();
        let start = Instant::now();
        let mut last = 200;
        while window.is_some_and(|window| start.elapsed() < window) {
            last = said.next().unwrap().parse().unwrap();
        }
        process.kill();
        drop(said);
        let store = open(folder.path()).await.unwrap();
        let keys = all_keys(&store, "").await;
        for n in 1..=keys.len() {
            let key = n.to_string();
            assert_eq!(store.get(&key).await.unwrap(), Some(value(&key)), "{task}: {key} of {}", keys.len());
        }
        if window.is_some() {
            assert!(keys.len() >= first.len(), "{} of {last}", keys.len());
        }
    }
}

/// Fills the disk, which is small, and makes room again.
async fn full(folder: &Path) {
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![1; 2 * 1024 * 1024]).unwrap();
    let store = open(folder).await.unwrap();
    let (written, error) = fill(&store, 0).await;
    assert!(matches!(&error, Error::QuotaExceeded(text) if text.contains("store.redb")), "{error:?}");
    assert!(written > 100, "{written}");
    check_all(&store, written).await;
    store.health().await.unwrap();
    // A deletion needs no more space.
    store.delete("1").await.unwrap();
    assert_eq!(store.get("1").await.unwrap(), None);
    store.set("1", value("1"), PLAIN).await.ok();
    std::fs::remove_file(&ballast).unwrap();
    store.set("1", value("1"), PLAIN).await.unwrap();
    let (written, error) = fill(&store, written).await;
    assert!(matches!(error, Error::QuotaExceeded(_)), "{error:?}");
    check_all(&store, written).await;
    store.close().await;
    let store = open(folder).await.unwrap();
    check_all(&store, written).await;
    say("done");
}

/// Makes writes of the file fail, by a limit on its size that the disk does not know.
async fn short(folder: &Path) {
    let store = open(folder).await.unwrap();
    let (written, error) = fill(&store, 0).await;
    assert!(matches!(&error, Error::QuotaExceeded(text) if text.contains("store.redb")), "{error:?}");
    assert!(written > 50, "{written}");
    for _ in 0..3 {
        check_all(&store, written).await;
        let large = Bytes::from(vec![1; 8 * 1024 * 1024]);
        let error = store.set("large", large, PLAIN).await.unwrap_err();
        assert!(matches!(error, Error::QuotaExceeded(_)), "{error:?}");
    }
    let keys: Vec<String> = (20..=written).map(|n| n.to_string()).collect();
    store.delete_many(&keys).await.unwrap();
    store.set("small", text("1"), PLAIN).await.unwrap();
    check_all(&store, 19).await;
    store.close().await;
    let store = Embedded::open(EmbeddedConfig::new(folder, "store")).await.unwrap();
    check_all(&store, 19).await;
    say("done");
}

async fn fill(store: &Embedded, from: u64) -> (u64, Error) {
    for n in from + 1.. {
        let key = n.to_string();
        if let Err(error) = store.set(&key, value(&key), PLAIN).await {
            return (n - 1, error);
        }
    }
    panic!("the disk is endless")
}

async fn check_all(store: &Embedded, last: u64) {
    for n in 1..=last {
        let key = n.to_string();
        assert_eq!(store.get(&key).await.unwrap(), Some(value(&key)), "{key}");
    }
}

fn finishes(mut command: Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("said done"), "{said}");
}

#[test]
fn a_full_disk_is_an_error_until_there_is_room() {
    // A file system of its own, in a name space of its own: it goes with the process.
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=8m tmpfs \"${FOLDER}\" && ");
    let inner = child_command("full", folder.path(), &mount);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount"]).arg(inner.get_program()).args(inner.get_args());
    command.env(TASK, "full").env(FOLDER, folder.path());
    finishes(command);
}

#[test]
fn a_write_that_fails_leaves_the_store_usable() {
    let folder = tempfile::tempdir().unwrap();
    // Without the signal, a write beyond the limit is an error. The unit of the limit is 512 bytes.
    finishes(child_command("short", folder.path(), "trap '' XFSZ; ulimit -f 3000; "));
}
