//! Workloads with a volume, for guests that open many resources.

use std::path::Path;

use wharf::workload::Workload;

use super::{TestServer, guest_path, parse_workload};

fn workload(guest: &str, folder: &Path, limits: &str) -> Workload {
    parse_workload(&format!(
        "name = 'w'\n[volumes.data]\nhost = '{}'\n[components.it]\nsource = '{}'\nlimits = {{ {limits} }}\n\
         hosts = ['tcp://127.0.0.1']\nvolumes = [{{ volume = 'data', guest = '/data', access = 'read-write' }}]\n\
         [[triggers.http]]\ncomponent = 'it'\nhost = 'w.test'\n",
        folder.display(),
        guest_path(guest).display()
    ))
}

/// Starts a guest on `w.test` with an empty folder as its volume `/data`, and a neighbour on `neighbour.test`.
pub async fn start(guest: &str, limits: &str) -> (TestServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::new().await;
    server.host.workload_start(workload(guest, folder.path(), limits)).await.unwrap();
    server.host.workload_start(super::workload("n", "neighbour.test", "hello-p2", "")).await.unwrap();
    (server, folder)
}

/// Fills a folder with empty files that have long names.
pub fn fill(folder: &Path, files: usize) {
    for n in 0..files {
        std::fs::write(folder.join(format!("{n:0>200}")), "").unwrap();
    }
}
