//! The limits on random bytes, datagrams, files and connections that protect the host's own memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::open_descriptors;
use support::volumes::{fill, start};
use wharf::Limit;

#[tokio::test(flavor = "multi_thread")]
async fn limits_random_bytes_to_the_memory_limit() {
    let (server, _folder) = start("hoarder-p2", "memory = '4MiB'").await;
    assert_eq!(server.get("/random?n=1000000").await, (200, "1000000".to_owned()));
    assert_eq!(server.get("/random?n=50000000").await.0, 502);
    let (server, _folder) = self::start("hoarder-p3", "memory = '4MiB'").await;
    assert_eq!(server.get("/random?n=1000000").await, (200, "1000000".to_owned()));
    assert_eq!(server.get("/random?n=50000000").await.0, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_files_and_connections_of_wasi_0_3_streams() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    let (server, folder) = start("hoarder-p3", "connections = 3, files = 10").await;
    std::fs::write(folder.path().join("big"), vec![b'x'; 1 << 20]).unwrap();
    let before = open_descriptors();
    for _ in 0..3 {
        assert_eq!(server.get(&format!("/connections?n=100&port={port}")).await, (200, "3".to_owned()));
        assert_eq!(
            server.get("/open-files?n=100").await,
            (200, "8".to_owned()),
            "the folder and the file are two of the ten"
        );
    }
    assert_eq!(server.get("/listeners").await, (200, "3".to_owned()));
    // The listener and two accepted connections are three.
    assert_eq!(server.get("/accepted").await, (200, "2".to_owned()));
    assert!(server.refusals(Limit::Connections).await >= 3 && server.refusals(Limit::Files).await >= 3);
    server.wait_until("all descriptors are closed", |_| open_descriptors() <= before + 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_the_calls_that_wait_for_datagrams() {
    let (server, _folder) = start("hoarder-p3", "memory = '4MiB'").await;
    assert_eq!(server.get("/receives?n=500").await, (200, "64".to_owned()));
    assert!(server.refusals(Limit::Memory).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_files_of_wasi_0_2_streams() {
    for (limits, streams) in [("files = 10", "8"), ("files = 1000, memory = '4MiB'", "62")] {
        let (server, folder) = start("hoarder-p2", limits).await;
        std::fs::write(folder.path().join("big"), vec![b'x'; 1 << 20]).unwrap();
        for _ in 0..3 {
            assert_eq!(server.get("/file-streams").await, (200, streams.to_owned()), "{limits}");
        }
        assert_eq!(server.refusals(Limit::Files).await, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_many_folders_does_not_exhaust_the_hosts_threads() {
    let (server, folder) = start("hoarder-p3", "files = 10000").await;
    fill(folder.path(), 100);
    // All workloads share tokio's pool of blocking threads, which is a few hundred.
    assert_eq!(server.get("/directories?n=1000").await, (200, "1000".to_owned()));
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    assert!(threads < 200, "{threads} threads");
}
