//! What a host does with workloads: start, stop, status, and every way to refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use wharf::host::{HostError, Running, State};
use wharf::plugin::Provided;
use wharf::workload::manifest::{Component, Digest};
use wharf::workload::{Ceilings, Name, Workload};
use wharf::{
    Binding, Ctx, Engine, Host, HostApi, HostBuilder, Link, Plugin, PluginError, StartError, Trigger, TriggerError,
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
async fn a_workload_lives_from_start_to_stop() {
    let host = builder().friendly_name("berth").label("zone", "a").build().unwrap();
    let status = host.workload_start(seven("w")).await.unwrap();
    assert_eq!((status.id.as_str(), status.state, status.components), ("default/w", State::Running, 1));
    assert_eq!(status.entries, [name("seven")]);
    assert_eq!(host.call_wave("default/w", "seven", "seven()").await.unwrap(), ["7"]);

    let heartbeat = host.heartbeat().await;
    assert_eq!((heartbeat.friendly_name.as_str(), heartbeat.labels["zone"].as_str()), ("berth", "a"));
    assert_eq!(heartbeat.workloads, ["default/w"]);
    assert_ne!(heartbeat.id, builder().build().unwrap().heartbeat().await.id);

    assert!(matches!(host.workload_start(seven("w")).await, Err(StartError::Running { .. })));
    assert_eq!(host.workload_stop("default/w").await.unwrap().state, State::Stopped);
    assert!(host.workload_status("default/w").await.is_err());
    assert!(host.workload_stop("default/w").await.is_err());
    assert!(host.call_wave("default/w", "seven", "seven()").await.is_err());
    host.workload_start(seven("w")).await.unwrap();
}

#[tokio::test]
async fn many_workloads_run_beside_each_other() {
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
async fn everything_wrong_is_said_at_once() {
    let host = builder().build().unwrap();
    let mut workload = seven("w").with_component(name("gone"), Component::from_path("no/such/file.wasm"));
    workload = workload
        .with_component(name("lonely"), component(r#"(component (import "a:b/c" (instance (export "f" (func)))))"#));
    let mut changed = component(SEVEN);
    changed.digest = Some(Digest::of(b"other"));
    workload = workload.with_component(name("changed"), changed);
    let Err(StartError::Unresolved { unloaded, problems }) = host.workload_start(workload).await else { panic!() };
    assert_eq!(unloaded.len(), 2, "{unloaded:?}");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(host.heartbeat().await.workloads.is_empty(), "nothing is left");
    host.workload_start(seven("w")).await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_the_host_names_the_component_and_its_import() {
    let host = builder().build().unwrap();
    let text = r#"(component (import "wasi:cli/environment@0.2.0" (instance (export "no-such" (func)))))"#;
    let workload = Workload::new(name("w")).with_component(name("old"), component(text));
    let error = host.workload_start(workload).await.unwrap_err().to_string();
    assert!(error.contains("`wasi:cli/environment@0.2.0`") || error.contains("no-such"), "{error}");
}

/// A plugin that refuses a component without the configuration that it needs.
struct Picky;

impl Plugin for Picky {
    fn name(&self) -> &'static str {
        "picky"
    }
    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::grant("acme:picky/needs@1.0.0")]
    }
    fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let found = binding.component().config.contains_key("key");
        if found { Ok(()) } else { Err(PluginError("`config` needs a `key`".into())) }
    }
    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        link.instance()?.func_wrap("f", |_: wasmtime::StoreContextMut<'_, Ctx>, (): ()| Ok(()))
    }
}

#[tokio::test]
async fn a_plugin_refuses_at_start_and_not_at_the_first_call() {
    let host = builder().plugin(Picky).build().unwrap();
    let needy = component(r#"(component (import "acme:picky/needs@1.2.0" (instance (export "f" (func)))))"#);
    let workload = |component| Workload::new(name("w")).with_component(name("needy"), component);
    let error = host.workload_start(workload(needy.clone())).await.unwrap_err();
    assert_eq!(error.to_string(), "the plugin `picky` refuses `needy`: `config` needs a `key`");
    let mut content = needy;
    content.config.insert("key".into(), "value".into());
    host.workload_start(workload(content)).await.unwrap();
    // A plugin that nobody imports from is not asked.
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
        Data(scope.grants.binding())
    }
}

impl Plugin for Sharing {
    fn name(&self) -> &'static str {
        "sharing"
    }
    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::shared("acme:shared/number@1.0.0")]
    }
    fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        binding.keep(Kept(9))
    }
    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Number>();
        link.instance()?.func_wrap("number", move |mut store: wasmtime::StoreContextMut<'_, Ctx>, (): ()| {
            Ok((get(store.data_mut()).0.0,))
        })
    }
}

#[tokio::test]
async fn a_shared_interface_finds_the_binding_of_who_imports_it() {
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
fn two_plugins_cannot_provide_one_interface() {
    let error = builder().plugin(Picky).plugin(Picky).build().err().unwrap();
    assert!(matches!(error, HostError::Twice { first: "picky", second: "picky", .. }), "{error}");
}

/// Counts what it is asked to do, and refuses workloads named so.
#[derive(Default)]
struct Counting {
    attached: AtomicUsize,
    detached: AtomicUsize,
}

struct Shared(Arc<Counting>);

#[async_trait]
impl Trigger for Shared {
    fn name(&self) -> &'static str {
        "counting"
    }
    async fn attach(&self, running: &Arc<Running>) -> Result<(), TriggerError> {
        if running.workload().name.as_str() == "refused" {
            return Err(TriggerError("not this one".into()));
        }
        let entry = running.entry("seven").unwrap();
        let results = wharf::call::call(entry, "seven", &[]).await.unwrap();
        assert_eq!(results.len(), 1, "a trigger can call what it attaches to");
        self.0.attached.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    async fn detach(&self, _: &Arc<Running>) {
        self.0.detached.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_trigger_follows_a_workload_and_can_refuse_it() {
    let (first, second) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let host = builder().trigger(Shared(first.clone())).trigger(Shared(second.clone())).build().unwrap();
    host.workload_start(seven("w")).await.unwrap();
    host.workload_stop("default/w").await.unwrap();
    let counts = |c: &Counting| (c.attached.load(Ordering::Relaxed), c.detached.load(Ordering::Relaxed));
    assert_eq!((counts(&first), counts(&second)), ((1, 1), (1, 1)));
    let error = host.workload_start(seven("refused")).await.unwrap_err();
    assert!(error.to_string().contains("not this one"));
    assert_eq!(counts(&first), (1, 1), "the first one that refuses leaves nothing attached");
    assert!(host.heartbeat().await.workloads.is_empty());
}

#[tokio::test]
async fn a_stopping_workload_waits_for_its_calls() {
    let host = builder().build().unwrap();
    host.workload_start(seven("w")).await.unwrap();
    let entry = host.entry("default/w", "seven").unwrap();
    let under_way = entry.admit().await.unwrap();
    assert_eq!(host.workload_status("default/w").await.unwrap().calls, 1);
    let stopping = tokio::spawn({
        let host = host.clone();
        async move { host.workload_stop("default/w").await.unwrap() }
    });
    // It takes no new calls from here on, and is not gone before the old one is.
    while host.entry("default/w", "seven").is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    drop(under_way);
    assert_eq!(stopping.await.unwrap().calls, 0);
}

#[test]
fn a_pool_that_does_not_fit_is_done_without() {
    // More address space than a machine of 64 bits has.
    let engine = Engine::builder().instances(100_000).max_memory(1 << 40).build().unwrap();
    assert!(!engine.is_pooling());
    assert!(Engine::builder().instances(10).build().unwrap().is_pooling());
}

#[tokio::test]
async fn a_manifest_asks_for_no_more_than_the_host_lets_it() {
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
        "the workload cannot run: `seven` asks for `limits.memory` of 2MiB, and the most on this host is 1MiB; \
         `seven` asks for `limits.concurrency` of 5, and the most on this host is 4"
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
    assert_eq!((silent.memory, silent.concurrency), (1 << 20, 4), "the defaults are no more than that");
    assert_eq!(silent.cpu, Some(std::time::Duration::from_secs(1)));
}
