//! All memory that the host uses for an instance counts against the instance's `memory` limit. This test has a process
//! of its own, because it measures the memory of the process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use support::resident_kib;
use support::volumes::{fill, start};
use wharf::Limit;

/// How much the process may grow during one request, in KiB: the guest's limit of 4 MiB, data in transit, and the
/// allocator's overhead.
const MAX_GROWTH_KIB: usize = 24 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn bounds_the_memory_that_the_host_uses_for_an_instance() {
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
        let (server, folder) = start(hoarder, limits).await;
        fill(folder.path(), 2000);
        // Warm up, so that compiling and starting threads are not measured.
        for path in paths {
            server.get(&format!("/{path}?n=1")).await;
        }
        for path in paths {
            let before = resident_kib();
            let refused = server.refusals(Limit::Memory).await;
            let most = std::sync::atomic::AtomicUsize::new(0);
            let watch = async {
                loop {
                    most.fetch_max(resident_kib(), std::sync::atomic::Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            // Fewer than the limit on handles, which would trap before the fields have contents.
            let n = match *path {
                "emptied-fields" => 2000,
                "grown-fields" => 7000,
                _ => 20_000,
            };
            let path_of_many = format!("/{path}?n={n}");
            let (status, text) =
                tokio::select! { response = server.get(&path_of_many) => response, () = watch => unreachable!() };
            let grown = most.into_inner().saturating_sub(before);
            assert!(grown < MAX_GROWTH_KIB, "{hoarder} {path}: {grown} KiB");
            // These stay within the limit: all handles of a log share one unfinished line, and empty fields are small.
            assert!(["emptied-fields", "lines"].contains(path) || status == 502, "{hoarder} {path}: {status} {text}");
            if !["emptied-fields", "lines", "handles", "streams"].contains(path) {
                assert!(server.refusals(Limit::Memory).await > refused, "{hoarder} {path}: the refusal is counted");
            }
            server.assert_neighbour_responds().await;
        }
        let kept = server.get("/fields?n=20").await;
        assert_eq!(kept, (200, "20".to_owned()), "{hoarder}: fields within the limit are kept");
    }
}
