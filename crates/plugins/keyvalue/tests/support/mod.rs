//! A host with key-value stores in the test's process, and guests that run scripts of operations.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../stores/tests/support/script.rs"]
pub mod script;

use wharf::workload::Workload;
use wharf::{Engine, Host};
use wharf_keyvalue::KeyValuePlugin;
use wharf_stores::Policy;

pub use script::*;

/// A host with the plugin, under this policy.
pub fn host(policy: Policy) -> Host {
    let engine = Engine::builder().pooling(false).build().unwrap();
    let keyvalue = KeyValuePlugin::new(policy);
    Host::builder(engine).plugin(keyvalue.clone()).trigger(keyvalue).build().unwrap()
}

/// A workload named `w` from the rest of its manifest, in which `GUEST` is the guest's path.
pub fn workload(host: &Host, manifest: &str) -> Workload {
    script::parse(
        host,
        &format!("name = 'w'\n{manifest}"),
        &[("GUEST", "keyvalue"), ("DRAFT-WATCHER", "watcher-draft"), ("CLOUD-WATCHER", "watcher-cloud")],
    )
}

/// Starts a workload with one component, `it`, which is granted all declared stores.
pub async fn start(host: &Host, stores: &str, granted: &str) {
    let text = format!("[components.it]\nsource = 'GUEST'\nkeyvalue = {granted}\n{stores}");
    host.workload_start(workload(host, &text)).await.unwrap();
}
