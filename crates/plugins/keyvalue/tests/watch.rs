//! Components are called when a store changes, with a bucket of that store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use support::{check, run_in, workload};
use wharf::host::Running;
use wharf::workload::Name;
use wharf::workload::manifest::{AnyTriggerKind, TriggerKind};
use wharf::{Engine, Host, Trigger, TriggerError};
use wharf_keyvalue::KeyValuePlugin;
use wharf_stores::Policy;

/// A trigger that calls nothing: it makes a component an entry, so that the test can call it.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Probe {
    component: Name,
}

impl TriggerKind for Probe {
    const KEY: &'static str = "probe";
    const INTERFACES: &'static [&'static str] = &[];
    fn component(&self) -> &Name {
        &self.component
    }
    fn label(&self) -> String {
        "probe".to_owned()
    }
}

struct Probes;

#[async_trait]
impl Trigger for Probes {
    fn name(&self) -> &'static str {
        "probe"
    }
    fn kind(&self) -> Option<AnyTriggerKind> {
        Some(AnyTriggerKind::of::<Probe>())
    }
    async fn attach(&self, _: &Arc<Running>) -> Result<(), TriggerError> {
        Ok(())
    }
    async fn detach(&self, _: &Arc<Running>) {}
}

fn host() -> Host {
    let keyvalue = KeyValuePlugin::new(Policy::default());
    let engine = Engine::builder().pooling(false).build().unwrap();
    Host::builder(engine).plugin(keyvalue.clone()).trigger(keyvalue).trigger(Probes).build().unwrap()
}

const MANIFEST: &str = "
    [components.it]
    source = 'GUEST'
    keyvalue = ['s']
    [components.draft]
    source = 'DRAFT-WATCHER'
    keyvalue = ['s']
    [components.cloud]
    source = 'CLOUD-WATCHER'
    keyvalue = ['s']
    [keyvalue.s]
    backend = 'memory'
    [[triggers.probe]]
    component = 'it'
    [[triggers.watch]]
    component = 'draft'
    keyvalue = 's'
    prefix = 'in:'
    [[triggers.watch]]
    component = 'cloud'
    keyvalue = 's'
    prefix = 'in:'
";

async fn wait_for(host: &Host, key: &str, value: &str) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    while run_in(host, "it", &format!("draft s get {key}")).await != [value] {
        assert!(tokio::time::Instant::now() < deadline, "no `{value}` at {key}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn watchers_see_changes_before_and_after_an_update() {
    let host = host();
    host.workload_start(workload(&host, MANIFEST)).await.unwrap();
    // A watcher starts in a task of its own, and what was there before is no change.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    while run_in(&host, "it", "draft s set in:first 0\ndraft2 s get draft:first\nwasmcloud s get cloud:first").await
        != ["ok", "0", "0"]
    {
        assert!(tokio::time::Instant::now() < deadline, "the watchers do not start");
        tokio::task::yield_now().await;
    }
    check(&host, "draft s set in:a 1 => ok\n draft s set out:a 1 => ok\n wasmcloud s delete in:a => ok").await;
    wait_for(&host, "draft:a", "deleted").await;
    wait_for(&host, "cloud:a", "deleted").await;
    check(&host, "draft s exists draft:out:a => false").await;
    host.workload_update(workload(
        &host,
        &MANIFEST.replace("[components.draft]", "[components.draft]\nenv = { A = 'b' }"),
    ))
    .await
    .unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    while run_in(&host, "it", "draft s set in:second 2\ndraft s get draft:second\ndraft s get cloud:second").await
        != ["ok", "2", "2"]
    {
        assert!(tokio::time::Instant::now() < deadline, "the new version's watchers do not start");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_store_that_is_unknown_or_not_granted_is_found_when_planned() {
    let host = host();
    let manifest =
        MANIFEST.replace("component = 'cloud'\n    keyvalue = 's'", "component = 'cloud'\n    keyvalue = 't'");
    let plan = host.plan(&workload(&host, &manifest)).await;
    let found: Vec<_> = plan.problems.iter().map(|problem| format!("{}: {problem}", problem.place())).collect();
    assert_eq!(found, ["triggers.watch.1.keyvalue: unknown keyvalue store `t`"]);
    // A watcher is given a bucket of the store, and so has to be granted it.
    let manifest = MANIFEST.replace("CLOUD-WATCHER'\n    keyvalue = ['s']", "CLOUD-WATCHER'\n    keyvalue = ['other']");
    let manifest = format!("{manifest}\n[keyvalue.other]\nbackend = 'memory'\n");
    let plan = host.plan(&workload(&host, &manifest)).await;
    let found: Vec<_> = plan.problems.iter().map(|problem| format!("{}: {problem}", problem.place())).collect();
    assert_eq!(found, ["triggers.watch.1.keyvalue: `cloud` watches the store `s`, but is not granted it"]);
}

#[tokio::test]
async fn a_watcher_sees_its_own_store_alone() {
    let host = host();
    let manifest = "
        [components.it]
        source = 'GUEST'
        keyvalue = ['s', 't']
        [components.draft]
        source = 'DRAFT-WATCHER'
        keyvalue = ['s']
        [components.cloud]
        source = 'CLOUD-WATCHER'
        keyvalue = ['t']
        [keyvalue.s]
        backend = 'memory'
        [keyvalue.t]
        backend = 'memory'
        [[triggers.probe]]
        component = 'it'
        [[triggers.watch]]
        component = 'draft'
        keyvalue = 's'
        [[triggers.watch]]
        component = 'cloud'
        keyvalue = 't'
    ";
    host.workload_start(workload(&host, manifest)).await.unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    let ready = "draft s set in:first 0\ndraft t set in:first 0\ndraft s get draft:first\ndraft t get cloud:first";
    while run_in(&host, "it", ready).await != ["ok", "ok", "0", "0"] {
        assert!(tokio::time::Instant::now() < deadline, "the watchers do not start");
        tokio::task::yield_now().await;
    }
    check(&host, "draft s set in:a 1 => ok\n draft t set in:b 1 => ok").await;
    // A watcher reports in order: what comes last has everything before it.
    check(&host, "draft s set in:last 1 => ok\n draft t set in:last 1 => ok").await;
    wait_for(&host, "draft:last", "1").await;
    while run_in(&host, "it", "draft t get cloud:last").await != ["1"] {
        assert!(tokio::time::Instant::now() < deadline, "the other watcher does not report");
        tokio::task::yield_now().await;
    }
    check(&host, "draft s exists draft:b => false\n draft s exists cloud:a => false").await;
    check(&host, "draft t exists cloud:a => false\n draft t exists draft:b => false\n draft t exists cloud:b => true")
        .await;
}
