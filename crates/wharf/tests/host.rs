//! A host starts, reports on, updates and stops workloads, and refuses invalid ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use wharf::api::State;
use wharf::host::{HostError, Running};
use wharf::plugin::Provided;
use wharf::workload::manifest::{Component, Digest};
use wharf::workload::{Ceilings, Name, Workload};
use wharf::{
    Binding, Engine, Host, HostBuilder, Link, Plugin, PluginError, StartError, StoreData, Trigger, TriggerError,
};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn builder() -> HostBuilder {
    Host::builder(Engine::builder().pooling(false).build().unwrap())
}

const SEVEN: &str = r#"(component
    (core module $m (func (export "seven") (result i32) (i32.const 7)))
    (core instance $i (instantiate $m))
    (func (export "seven") (result u32) (canon lift (core func $i "seven"))))"#;

fn component(text: &str) -> Component {
    Component::from_bytes(wat::parse_str(text).unwrap())
}

fn seven(id: &str) -> Workload {
    Workload::new(name(id)).with_component(name("seven"), component(SEVEN))
}

#[tokio::test]
async fn starts_calls_and_stops_a_workload() {
    let host = builder().friendly_name("berth").label("zone", "a").build().unwrap();
    let status = host.workload_start(seven("w")).await.unwrap();
    assert_eq!((status.id.as_str(), status.state, status.components), ("default/w", State::Running, 1));
    assert_eq!(status.entries, [name("seven")]);
    assert_eq!(host.call_wave("default/w", "seven", "seven()").await.unwrap(), ["7"]);

    let heartbeat = host.heartbeat().await;
    assert_eq!((heartbeat.friendly_name.as_str(), heartbeat.labels["zone"].as_str()), ("berth", "a"));
    assert_eq!(heartbeat.workloads[0].id, "default/w");
    assert_eq!(heartbeat.workloads[0].state, State::Running);
    assert_ne!(heartbeat.id, builder().build().unwrap().heartbeat().await.id);

    assert!(matches!(host.workload_start(seven("w")).await, Err(StartError::AlreadyRunning { .. })));
    assert_eq!(host.workload_stop("default/w").await.unwrap().state, State::Stopped);
    assert!(host.workload_status("default/w").await.is_err());
    assert!(host.workload_stop("default/w").await.is_err());
    assert!(host.call_wave("default/w", "seven", "seven()").await.is_err());
    host.workload_start(seven("w")).await.unwrap();
}

#[tokio::test]
async fn runs_many_workloads() {
    let host = builder().build().unwrap();
    let started = (0..50).map(|n| host.workload_start(seven(&format!("w{n}"))));
    for status in futures_util::future::join_all(started).await {
        status.unwrap();
    }
    assert_eq!(host.heartbeat().await.workloads.len(), 50);
    assert_eq!(host.call_wave("default/w17", "seven", "seven()").await.unwrap(), ["7"]);
    host.shutdown().await;
    assert!(host.heartbeat().await.workloads.is_empty());
}

#[tokio::test]
async fn reports_every_problem_at_once() {
    let host = builder().build().unwrap();
    let mut workload = seven("w").with_component(name("gone"), Component::from_path("no/such/file.wasm"));
    workload = workload
        .with_component(name("lonely"), component(r#"(component (import "a:b/c" (instance (export "f" (func)))))"#));
    let mut changed = component(SEVEN);
    changed.digest = Some(Digest::of(b"other"));
    workload = workload.with_component(name("changed"), changed);
    let Err(StartError::Invalid { unloaded, problems }) = host.workload_start(workload).await else { panic!() };
    assert_eq!(unloaded.len(), 2, "{unloaded:?}");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(host.heartbeat().await.workloads.is_empty(), "the id is free again");
    host.workload_start(seven("w")).await.unwrap();
}

#[tokio::test]
async fn names_the_import_that_does_not_match_the_host() {
    let host = builder().build().unwrap();
    let text = r#"(component (import "wasi:cli/environment@0.2.0" (instance (export "no-such" (func)))))"#;
    let workload = Workload::new(name("w")).with_component(name("old"), component(text));
    let error = host.workload_start(workload).await.unwrap_err().to_string();
    assert!(error.contains("`wasi:cli/environment@0.2.0`") || error.contains("no-such"), "{error}");
}

/// A plugin that refuses a component without the configuration that it needs.
struct Picky;

#[async_trait]
impl Plugin for Picky {
    fn name(&self) -> &'static str {
        "picky"
    }
    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::grant("acme:picky/needs@1.0.0")]
    }
    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let found = binding.component().config.contains_key("key");
        if found { Ok(()) } else { Err(PluginError::new("missing `key` in `config`").at("config").hint("add it")) }
    }
    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        link.instance()?.func_wrap("f", |_: wasmtime::StoreContextMut<'_, StoreData>, (): ()| Ok(()))
    }
}

#[tokio::test]
async fn a_plugin_refuses_a_component_at_start() {
    let host = builder().plugin(Picky).build().unwrap();
    let needy = component(r#"(component (import "acme:picky/needs@1.2.0" (instance (export "f" (func)))))"#);
    let workload = |component| Workload::new(name("w")).with_component(name("needy"), component);
    let error = host.workload_start(workload(needy.clone())).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin `picky` refuses `needy`: missing `key` in `config`");
    assert_eq!(error.place().as_deref(), Some("components.needy.config"));
    assert_eq!(error.hint().as_deref(), Some("add it"));
    let mut content = needy;
    content.config.insert("key".into(), "value".into());
    host.workload_start(workload(content)).await.unwrap();
    // A plugin does not bind to a component that imports nothing of it.
    host.workload_start(seven("other")).await.unwrap();
}

/// A plugin whose interface a unit shares, with a value per component all the same.
struct Sharing;

struct Kept(u32);

struct Number;

struct Data<'a>(&'a Kept);

impl wasmtime::component::HasData for Number {
    type Data<'a> = Data<'a>;
}

impl wharf::View for Number {
    type Of = Number;
    fn view(scope: wharf::Scope<'_>) -> Data<'_> {
        Data(scope.binding())
    }
}

#[async_trait]
impl Plugin for Sharing {
    fn name(&self) -> &'static str {
        "sharing"
    }
    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::shared("acme:shared/number@1.0.0")]
    }
    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        binding.insert(Kept(9));
        Ok(())
    }
    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Number>();
        link.instance()?.func_wrap("number", move |mut store: wasmtime::StoreContextMut<'_, StoreData>, (): ()| {
            Ok((get(store.data_mut()).0.0,))
        })
    }
}

#[tokio::test]
async fn a_shared_interface_finds_the_binding_of_its_importer() {
    let host = builder().plugin(Sharing).build().unwrap();
    let pass = |import: &str, export: &str| {
        component(&format!(
            r#"(component (import "{import}" (instance $n (export "number" (func (result u32)))))
                (core func $c (canon lower (func $n "number")))
                (core module $m (import "" "n" (func $n (result i32))) (func (export "f") (result i32) (call $n)))
                (core instance $i (instantiate $m (with "" (instance (export "n" (func $c))))))
                (func $f (result u32) (canon lift (core func $i "f")))
                (instance $e (export "number" (func $f))) (export "{export}" (instance $e)))"#
        ))
    };
    // The entry does not import from the plugin; its sibling does.
    let workload = Workload::new(name("w"))
        .with_component(name("entry"), pass("acme:inner/number", "acme:outer/number"))
        .with_component(name("inner"), pass("acme:shared/number@1.0.0", "acme:inner/number"));
    host.workload_start(workload).await.unwrap();
    let number = host.call_wave("default/w", "entry", "acme:outer/number#number()").await.unwrap();
    assert_eq!(number, ["9"]);
}

#[test]
fn plugins_have_unique_names() {
    let error = builder().plugin(Picky).plugin(Picky).build().err().unwrap();
    assert_eq!(error, HostError::DuplicatePlugin { name: "picky".into() });
}

/// Counts attachments, and refuses workloads named `refused`.
#[derive(Default)]
struct Counting {
    attached: AtomicUsize,
    detached: AtomicUsize,
}

struct CountingTrigger(Arc<Counting>);

#[async_trait]
impl Trigger for CountingTrigger {
    fn name(&self) -> &'static str {
        "counting"
    }
    async fn attach(&self, running: &Arc<Running>) -> Result<(), TriggerError> {
        if running.workload().name.as_str() == "refused" {
            return Err(TriggerError::new("not this one"));
        }
        let entry = running.entry("seven").unwrap();
        let results = wharf::run::call::call(entry, "seven", &[]).await.unwrap();
        assert_eq!(results.len(), 1, "a trigger can call what it attaches to");
        self.0.attached.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    async fn detach(&self, _: &Arc<Running>) {
        self.0.detached.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_trigger_attaches_detaches_and_refuses() {
    let (first, second) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let host =
        builder().trigger(CountingTrigger(first.clone())).trigger(CountingTrigger(second.clone())).build().unwrap();
    host.workload_start(seven("w")).await.unwrap();
    host.workload_stop("default/w").await.unwrap();
    let counts = |c: &Counting| (c.attached.load(Ordering::Relaxed), c.detached.load(Ordering::Relaxed));
    assert_eq!((counts(&first), counts(&second)), ((1, 1), (1, 1)));
    let error = host.workload_start(seven("refused")).await.unwrap_err();
    assert!(error.to_string().contains("not this one"));
    assert_eq!(counts(&first), (1, 1), "a refusal leaves nothing attached");
    assert!(host.heartbeat().await.workloads.is_empty());
}

#[tokio::test]
async fn a_stopping_workload_waits_for_its_calls() {
    let host = builder().build().unwrap();
    host.workload_start(seven("w")).await.unwrap();
    let entry = host.entry("default/w", "seven").unwrap();
    let permit = entry.admit().await.unwrap();
    assert_eq!(host.workload_status("default/w").await.unwrap().calls, 1);
    let stopping = tokio::spawn({
        let host = host.clone();
        async move { host.workload_stop("default/w").await.unwrap() }
    });
    // New calls are rejected from here on; the workload stops after the call in progress.
    while host.entry("default/w", "seven").is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    drop(permit);
    assert_eq!(stopping.await.unwrap().calls, 0);
}

#[test]
fn falls_back_when_the_pool_does_not_fit() {
    // More address space than a machine of 64 bits has.
    let engine = Engine::builder().instances(100_000).max_memory(1 << 40).build().unwrap();
    assert!(!engine.is_pooling());
    assert!(Engine::builder().instances(10).build().unwrap().is_pooling());
}

#[tokio::test]
async fn holds_manifests_to_the_ceilings() {
    let mut ceilings = Ceilings::default();
    ceilings.limits.memory = Some("1MiB".parse().unwrap());
    ceilings.limits.concurrency = Some(4);
    ceilings.limits.cpu = Some("1s".parse().unwrap());
    let host = builder().ceilings(ceilings).build().unwrap();
    let asking = |memory: &str, concurrency: u32| {
        let mut workload = seven("w");
        let component = workload.components.get_mut(&name("seven")).unwrap();
        component.limits.memory = Some(memory.parse().unwrap());
        component.limits.concurrency = Some(concurrency);
        workload
    };
    let error = host.workload_start(asking("2MiB", 5)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid workload: `limits.memory` of `seven` is 2MiB, above this host's ceiling of 1MiB; \
         `limits.concurrency` of `seven` is 5, above this host's ceiling of 4"
    );
    let limits = async |workload: Workload| {
        host.workload_start(workload).await.unwrap();
        let limits = host.entry("default/w", "seven").unwrap().limits().clone();
        host.workload_stop("default/w").await.unwrap();
        limits
    };
    let asked = limits(asking("512KiB", 4)).await;
    assert_eq!((asked.memory, asked.concurrency), (512 << 10, 4));
    let silent = limits(seven("w")).await;
    assert_eq!((silent.memory, silent.concurrency), (1 << 20, 4), "the ceilings apply to the defaults");
    assert_eq!(silent.cpu, Some(std::time::Duration::from_secs(1)));
}
