//! What the host keeps for an instance counts in the instance's memory, whatever it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use support::{Served, descriptors, guest, resident};
use wharf::{HostApi as _, Limit};

/// KiB that one request may cost the host, whose guest has 4 MiB: those, what is on its way, and what allocators keep.
const MOST: usize = 24 << 10;

fn workload(hoarder: &str, folder: &std::path::Path, limits: &str) -> wharf::workload::Workload {
    support::declared(&format!(
        "name = 'w'\n[volumes.data]\nhost = '{}'\n[components.it]\nsource = '{}'\nlimits = {{ {limits} }}\n\
         hosts = ['tcp://127.0.0.1']\nvolumes = [{{ volume = 'data', guest = '/data', access = 'read-write' }}]\n\
         [[triggers.http]]\ncomponent = 'it'\nhost = 'w.test'\n",
        folder.display(),
        guest(hoarder).display()
    ))
}

async fn served(hoarder: &str, limits: &str) -> (Served, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::new().await;
    served.host.workload_start(workload(hoarder, folder.path(), limits)).await.unwrap();
    served.host.workload_start(support::workload("n", "neighbour.test", "hello-p2", "")).await.unwrap();
    (served, folder)
}

/// Fills a folder with files of long names.
fn fill(folder: &std::path::Path, files: usize) {
    for n in 0..files {
        std::fs::write(folder.join(format!("{n:0>200}")), "").unwrap();
    }
}

// One test, because what is measured is the memory of the whole process.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_the_host_keeps_is_beyond_the_limit() {
    let limits = "memory = '4MiB', time = '30s', log-rate = 1";
    for (hoarder, paths) in [
        (
            "hoarder-p2",
            &[
                "emptied-fields",
                "grown-fields",
                "methods",
                "fields",
                "clones",
                "bodies",
                "directories",
                "lines",
                "handles",
            ][..],
        ),
        ("hoarder-p3", &["emptied-fields", "methods", "fields", "streams"]),
    ] {
        let (served, folder) = served(hoarder, limits).await;
        fill(folder.path(), 2000);
        // Everything is compiled, and every thread has begun.
        for path in paths {
            served.get(&format!("/{path}?n=1")).await;
        }
        for path in paths {
            let before = resident();
            let refused = served.refused(Limit::Memory).await;
            let most = std::sync::atomic::AtomicUsize::new(0);
            let watch = async {
                loop {
                    most.fetch_max(resident(), std::sync::atomic::Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            // More handles than there may be are a trap before anything is in them.
            let n = match *path {
                "emptied-fields" => 2000,
                "grown-fields" => 7000,
                _ => 20_000,
            };
            let path_of_many = format!("/{path}?n={n}");
            let (status, text) =
                tokio::select! { answer = served.get(&path_of_many) => answer, () = watch => unreachable!() };
            let grown = most.into_inner().saturating_sub(before);
            assert!(grown < MOST, "{hoarder} {path}: {grown} KiB");
            // An unfinished line is one, however many handles it is written by, and empty fields are next to nothing.
            assert!(["emptied-fields", "lines"].contains(path) || status == 502, "{hoarder} {path}: {status} {text}");
            if !["emptied-fields", "lines", "handles", "streams"].contains(path) {
                assert!(served.refused(Limit::Memory).await > refused, "{hoarder} {path}: it is counted");
            }
            served.neighbour_is_well().await;
        }
        let kept = served.get("/fields?n=20").await;
        assert_eq!(kept, (200, "20".to_owned()), "{hoarder}: within the limit they are kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_are_made_for_no_more_than_there_is_room_for() {
    let (served, _folder) = served("hoarder-p2", "memory = '4MiB'").await;
    assert_eq!(served.get("/random?n=1000000").await, (200, "1000000".to_owned()));
    assert_eq!(served.get("/random?n=50000000").await.0, 502);
    let (served, _folder) = self::served("hoarder-p3", "memory = '4MiB'").await;
    assert_eq!(served.get("/random?n=1000000").await, (200, "1000000".to_owned()));
    assert_eq!(served.get("/random?n=50000000").await.0, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_wasi_0_3_keep_their_files_and_connections_counted() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    let (served, folder) = served("hoarder-p3", "connections = 3, files = 10").await;
    std::fs::write(folder.path().join("big"), vec![b'x'; 1 << 20]).unwrap();
    let before = descriptors();
    for _ in 0..3 {
        assert_eq!(served.get(&format!("/connections?n=100&port={port}")).await, (200, "3".to_owned()));
        assert_eq!(
            served.get("/open-files?n=100").await,
            (200, "8".to_owned()),
            "of ten, the folder and the file at hand are two"
        );
    }
    assert_eq!(served.get("/listeners").await, (200, "3".to_owned()));
    // A listener of its own and two others are three.
    assert_eq!(served.get("/accepted").await, (200, "2".to_owned()));
    assert!(served.refused(Limit::Connections).await >= 3 && served.refused(Limit::Files).await >= 3);
    served.until("everything is closed", |_| descriptors() <= before + 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_calls_wait_for_datagrams_than_there_is_room_for() {
    let (served, _folder) = served("hoarder-p3", "memory = '4MiB'").await;
    assert_eq!(served.get("/receives?n=500").await, (200, "64".to_owned()));
    assert!(served.refused(Limit::Memory).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_wasi_0_2_keep_their_files_counted() {
    for (limits, streams) in [("files = 10", "8"), ("files = 1000, memory = '4MiB'", "62")] {
        let (served, folder) = served("hoarder-p2", limits).await;
        std::fs::write(folder.path().join("big"), vec![b'x'; 1 << 20]).unwrap();
        for _ in 0..3 {
            assert_eq!(served.get("/file-streams").await, (200, streams.to_owned()), "with the folder and the file");
        }
        assert_eq!(served.refused(Limit::Files).await, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_folders_are_read_without_taking_the_hosts_threads() {
    let (served, folder) = served("hoarder-p3", "files = 10000").await;
    fill(folder.path(), 100);
    // Threads that read files are shared by everybody, and there are some hundreds of them.
    assert_eq!(served.get("/directories?n=1000").await, (200, "1000".to_owned()));
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    assert!(threads < 200, "{threads} threads");
}
