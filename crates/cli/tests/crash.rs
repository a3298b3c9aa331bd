//! `kill -9` of the host amid writes to the embedded stores: what was acknowledged is there, whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use support::{Server, get, manifest, root, wharf};

/// How many writes are acknowledged before the kill.
const WRITES: usize = 10_000;
/// How many clients write at a time.
const CLIENTS: usize = 64;

fn up(app: &Path, state: &Path) -> Server {
    let mut command = wharf();
    command.arg("up").arg(app).args(["--listen", "127.0.0.1:0", "--state"]).arg(state);
    Server::start(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_or_torn() {
    let source = root().join("guests/stores/prebuilt/durable.wasm");
    let app = manifest(&format!(
        "name = 'durable'\n[components.web]\nsource = '{}'\nkeyvalue = {{ default = 'keys' }}\nblobstore = {{ default = 'objects' }}\n\
         instances = {{ mode = 'reuse', concurrent = 64 }}\n\
         [keyvalue.keys]\n[blobstore.objects]\n[[triggers.http]]\ncomponent = 'web'\n",
        source.display()
    ));
    let state = tempfile::tempdir().unwrap();
    let server = up(app.path(), state.path());
    let (next, acknowledged) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (next, acknowledged, mut connection) = (next.clone(), acknowledged.clone(), server.connect().await);
        clients.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                // The kill ends the connection.
                let Some(status) = connection.try_ask(get(&format!("/write/{number}"))).await else { return };
                assert_eq!(status, 204);
                acknowledged.lock().unwrap().push(number);
            }
        }));
    }
    while acknowledged.lock().unwrap().len() < WRITES {
        assert!(!clients.iter().all(tokio::task::JoinHandle::is_finished), "the clients have ended early");
        tokio::task::yield_now().await;
    }
    server.signal("-KILL");
    for client in clients {
        client.await.unwrap();
    }
    drop(server);
    let server = up(app.path(), state.path());
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    assert!(acknowledged.len() >= WRITES);
    let mut connection = server.connect().await;
    for number in acknowledged {
        let response = connection.ask(get(&format!("/check/{number}"))).await;
        assert_eq!(response.status(), 204, "write {number}");
    }
}
