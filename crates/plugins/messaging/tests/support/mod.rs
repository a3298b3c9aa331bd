//! A host with messages in the test's process, and guests that run scripts of operations.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../stores/tests/support/script.rs"]
mod script;

use wharf::workload::Workload;
use wharf::{Engine, Host, HostBuilder, Trigger};
use wharf_keyvalue::KeyValuePlugin;
use wharf_messaging::MessagingPlugin;
use wharf_stores::Policy;

pub use script::*;

/// A host with messages, under this policy.
pub fn host(policy: Policy) -> Host {
    builder(policy).build().unwrap()
}

/// The same with a further trigger.
pub fn host_with(policy: Policy, trigger: impl Trigger) -> Host {
    builder(policy).trigger(trigger).build().unwrap()
}

fn builder(policy: Policy) -> HostBuilder {
    let engine = Engine::builder().pooling(false).build().unwrap();
    let messaging = MessagingPlugin::new(policy.clone());
    Host::builder(engine).plugin(KeyValuePlugin::new(policy)).plugin(messaging.clone()).trigger(messaging)
}

/// A workload named `w` from the rest of its manifest, in which `HANDLER2` and `HANDLER3` are the guests' paths.
pub fn workload(host: &Host, manifest: &str) -> Workload {
    let guests = [("HANDLER2", "handler2"), ("HANDLER3", "handler3")];
    script::parse(host, &format!("name = 'w'\n{manifest}"), &guests)
}

/// Waits until an operation of a component has this outcome.
pub async fn wait_for(host: &Host, component: &str, operation: &str, expected: &str) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let found = run_in(host, component, operation).await.join("");
        if found == expected {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "`{operation}`: expected `{expected}`, found `{found}`");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
