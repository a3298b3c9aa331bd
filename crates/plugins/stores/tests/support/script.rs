//! What the tests of all plugins for stores share: workloads of guests that run scripts of operations, and their outcomes.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use wharf::Host;
use wharf::wasmtime::component::Val;
use wharf::workload::Workload;
use wharf::workload::manifest::{Format, parse_with};
use wharf_stores::{Policy, ProcessEnvironment};

/// The path of a guest of the stores.
pub fn guest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../guests/stores/prebuilt").join(format!("{name}.wasm"))
}

/// A policy that allows everything, with a state folder.
pub fn open(state: &Path) -> Policy {
    Policy::open(ProcessEnvironment).with_state(state)
}

/// A workload from a manifest, in which each of these words is the path of a guest.
pub fn parse(host: &Host, manifest: &str, guests: &[(&str, &str)]) -> Workload {
    let text =
        guests.iter().fold(manifest.to_owned(), |text, (word, name)| text.replace(word, guest(name).to_str().unwrap()));
    let parsed = parse_with(&text, Format::Toml, host.extensions());
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    parsed.workload.unwrap()
}

/// Has a component of the workload `w` run a script; gives the lines of its outcome.
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
