//! examples/blobs: a component that exports `wasi:blobstore` in the place of the host's stores.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use bytes::Bytes;
use http_body_util::Full;
use support::{Server, root, run, stdout, text, wharf};

/// The example with its data in a folder of the test.
fn copy(folder: &Path) {
    let example = root().join("examples/blobs");
    std::fs::copy(example.join("wharf.toml"), folder.join("wharf.toml")).unwrap();
    for name in ["components", "data"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    for name in ["blobs-store.wasm", "blobs-web.wasm"] {
        std::fs::copy(example.join("components").join(name), folder.join("components").join(name)).unwrap();
    }
}

#[tokio::test]
async fn a_component_serves_the_interface_of_blob_stores_from_files() {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path());
    let plan = stdout(&run(&["plan", folder.path().to_str().unwrap()]));
    assert!(plan.contains("wasi:blobstore/container@0.2.0-draft ← store (by link) in place of the host"), "{plan}");
    let mut command = wharf();
    command.arg("up").arg(folder.path()).args(["--listen", "127.0.0.1:0"]);
    let server = Server::start(command);
    let put = |path: &'static str, body: Vec<u8>| {
        let request = http::Request::put(path).header("host", "a").body(Full::new(Bytes::from(body))).unwrap();
        server.ask(request)
    };
    // The first requests create the container, all at the same time.
    let first = futures_util::future::join_all(["/1", "/2", "/3", "/4"].map(|path| put(path, b"x".to_vec()))).await;
    assert!(first.iter().all(|response| response.status() == 201), "{first:?}");
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[usize::from(i % 3 == 0)]).collect();
    assert_eq!(put("/large", large.clone()).await.status(), 201);
    assert_eq!(put("/large", large.clone()).await.status(), 201, "it is replaced");
    assert_eq!(put("/a%2f..%2fb", b"small".to_vec()).await.status(), 201);
    assert!(server.get("/large").await.body() == &large);
    let listed = server.get("/").await;
    let mut names: Vec<_> = text(&listed).lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["1", "2", "3", "4", "a%2f..%2fb", "large"]);
    assert_eq!(text(&server.get("/a%2f..%2fb").await), "small");
    assert_eq!(server.get("/none").await.status(), 404);
    let beside: Vec<_> =
        std::fs::read_dir(folder.path().join("data")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(beside, ["objects"], "no draft is left behind");
}
