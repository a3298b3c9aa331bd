//! A host with messages in the test's process, and guests that run scripts of operations.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use wharf::wasmtime::component::Val;
use wharf::workload::Workload;
use wharf::workload::manifest::{Format, parse_with};
use wharf::{Engine, Host, HostBuilder, Trigger};
use wharf_keyvalue::KeyValuePlugin;
use wharf_messaging::MessagingPlugin;
use wharf_stores::{Policy, ProcessEnvironment};

/// The path of a guest of the stores.
pub fn guest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../guests/stores/prebuilt").join(format!("{name}.wasm"))
}

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

/// A policy that allows everything, with a state folder.
pub fn open(state: &Path) -> Policy {
    Policy::open(ProcessEnvironment).with_state(state)
}

/// A workload named `w` from the rest of its manifest, in which `GUEST` is the guest's path.
pub fn workload(host: &Host, manifest: &str) -> Workload {
    let text = format!(
        "name = 'w'\n{}",
        manifest
            .replace("HANDLER2", guest("handler2").to_str().unwrap())
            .replace("HANDLER3", guest("handler3").to_str().unwrap())
    );
    let parsed = parse_with(&text, Format::Toml, host.extensions());
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    parsed.workload.unwrap()
}

/// Has a component run a script; gives the lines of its outcome.
pub async fn run_in(host: &Host, component: &str, script: &str) -> Vec<String> {
    let arguments = [Val::String(script.to_owned())];
    let results = host.call_values("default/w", component, "wharf:stores/script#run", &arguments).await.unwrap();
    let [Val::String(text)] = results.as_slice() else { panic!("{results:?}") };
    text.lines().map(str::to_owned).collect()
}

/// Has the component `it` run a script of lines `operation => outcome`, and compares the outcomes.
pub async fn check(host: &Host, script: &str) {
    check_in(host, "it", script).await;
}

/// The same with another component.
pub async fn check_in(host: &Host, component: &str, script: &str) {
    let lines: Vec<_> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let (operations, expected): (Vec<_>, Vec<_>) = lines
        .iter()
        .map(|line| {
            line.split_once(" =>")
                .map(|(operation, expected)| (operation, expected.strip_prefix(" ").unwrap_or_default()))
                .unwrap()
        })
        .unzip();
    let found = run_in(host, component, &operations.join("\n")).await;
    for ((operation, expected), found) in operations.iter().zip(&expected).zip(&found) {
        assert_eq!(found.trim_end(), *expected, "{operation}");
    }
    assert_eq!(found.len(), expected.len());
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
