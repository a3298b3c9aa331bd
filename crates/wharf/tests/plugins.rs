//! Plugins live from `open` to `close`, several serve one interface, and labels tell a component's imports apart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde::Deserialize;
use wasmtime::StoreContextMut;
use wasmtime::component::{HasData, Resource, ResourceType};
use wharf::api::State;
use wharf::plugin::{BoundComponent, Health, OpenWorkload};
use wharf::workload::manifest::{Component, Format, SettingsKey, Source, parse_with};
use wharf::workload::{Name, Workload};
use wharf::{
    Binding, Engine, Host, HostBuilder, Link, Opening, Plugin, PluginError, Provided, Scope, StartError, StoreData,
    View,
};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn builder() -> HostBuilder {
    Host::builder(Engine::builder().pooling(false).build().unwrap())
}

/// A host's workload from a manifest whose sources are WAT.
fn workload(host: &Host, manifest: &str) -> Workload {
    let parsed = parse_with(manifest, Format::Toml, host.extensions());
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    let mut workload = parsed.workload.unwrap();
    for component in workload.components.values_mut() {
        let Source::Path(path) = &component.source else { panic!() };
        let text = SOURCES.iter().find(|(name, _)| path.to_str() == Some(name)).unwrap().1;
        component.source = Source::Bytes(wat::parse_str(text).unwrap().into());
    }
    workload
}

/// `get` of an import, as an export of the same name as the import's variable.
macro_rules! reads {
    ($import:literal) => {
        concat!(
            "(component (import ",
            $import,
            r#" (instance $s (export "get" (func (result u32)))))
            (core func $get (canon lower (func $s "get")))
            (core module $m (import "" "get" (func $get (result i32))) (func (export "get") (result i32) (call $get)))
            (core instance $i (instantiate $m (with "" (instance (export "get" (func $get))))))
            (func (export "get") (result u32) (canon lift (core func $i "get"))))"#
        )
    };
}

const STORE: &str = "acme:kv/store@1.0.0";

const SOURCES: &[(&str, &str)] = &[
    ("reader.wat", reads!(r#""acme:kv/store@1.0.0""#)),
    ("labelled.wat", reads!(r#""cache" (implements "acme:kv/store@1.0.0")"#)),
    (
        "two.wat",
        r#"(component
            (import "first" (implements "acme:kv/store@1.0.0") (instance $a (export "get" (func (result u32)))))
            (import "second" (implements "acme:kv/store@1.0.0") (instance $b (export "get" (func (result u32)))))
            (import "acme:kv/store@1.0.0" (instance $c (export "get" (func (result u32)))))
            (core func $a (canon lower (func $a "get"))) (core func $b (canon lower (func $b "get")))
            (core func $c (canon lower (func $c "get")))
            (core module $m
                (import "" "a" (func $a (result i32))) (import "" "b" (func $b (result i32)))
                (import "" "c" (func $c (result i32)))
                (func (export "get") (result i32)
                    (i32.add (i32.mul (call $a) (i32.const 10000))
                        (i32.add (i32.mul (call $b) (i32.const 100)) (call $c)))))
            (core instance $i (instantiate $m (with "" (instance
                (export "a" (func $a)) (export "b" (func $b)) (export "c" (func $c))))))
            (func $get (result u32) (canon lift (core func $i "get")))
            (export "get" (func $get))
            (instance $e (export "get" (func $get))) (export "acme:sum/all" (instance $e)))"#,
    ),
    (
        // A bucket that one labelled import opens and another reads.
        "buckets.wat",
        r#"(component
            (import "acme:kv/types@1.0.0" (instance $t (export "bucket" (type (sub resource)))))
            (alias export $t "bucket" (type $bucket))
            (import "opener" (implements "acme:kv/open@1.0.0") (instance $o
                (alias outer 1 $bucket (type $b)) (export "bucket" (type $b' (eq $b)))
                (export "open" (func (result (own $b'))))))
            (import "sizer" (implements "acme:kv/size@1.0.0") (instance $s
                (alias outer 1 $bucket (type $b)) (export "bucket" (type $b' (eq $b)))
                (export "size" (func (param "b" (borrow $b')) (result u32)))))
            (core func $open (canon lower (func $o "open")))
            (core func $size (canon lower (func $s "size")))
            (core module $m (import "" "open" (func $open (result i32))) (import "" "size" (func $size (param i32) (result i32)))
                (func (export "get") (result i32) (call $size (call $open))))
            (core instance $i (instantiate $m (with "" (instance (export "open" (func $open)) (export "size" (func $size))))))
            (func (export "get") (result u32) (canon lift (core func $i "get"))))"#,
    ),
    (
        "sum-user.wat",
        r#"(component (import "acme:sum/all" (instance $s (export "get" (func (result u32)))))
            (import "cache" (implements "acme:kv/store@1.0.0") (instance $c (export "get" (func (result u32)))))
            (core func $s (canon lower (func $s "get"))) (core func $c (canon lower (func $c "get")))
            (core module $m (import "" "s" (func $s (result i32))) (import "" "c" (func $c (result i32)))
                (func (export "get") (result i32) (i32.add (i32.mul (call $c) (i32.const 1000000)) (call $s))))
            (core instance $i (instantiate $m (with "" (instance (export "s" (func $s)) (export "c" (func $c))))))
            (func (export "get") (result u32) (canon lift (core func $i "get"))))"#,
    ),
    (
        "clock.wat",
        r#"(component
            (import "clk" (implements "wasi:clocks/monotonic-clock@0.2.0") (instance $c (export "now" (func (result u64)))))
            (core func $now (canon lower (func $c "now")))
            (core module $m (import "" "now" (func $now (result i64)))
                (func (export "get") (result i32) (i64.ge_u (call $now) (i64.const 0))))
            (core instance $i (instantiate $m (with "" (instance (export "now" (func $now))))))
            (func (export "get") (result u32) (canon lift (core func $i "get"))))"#,
    ),
];

/// A store whose value is the plugin's own, plus that of the target that a link names.
struct Store {
    name: &'static str,
    value: u32,
    log: Arc<Mutex<Vec<String>>>,
    refuses: bool,
    /// Whether only the target `x` is bound with a value.
    empty_targets: bool,
    /// Whether it never reports its health.
    silent: bool,
}

/// The value that is bound to a component.
struct Value(u32);

/// `[numbers]` at the top of the manifest: values by target.
type Numbers = std::collections::BTreeMap<String, u32>;

#[derive(Deserialize)]
struct PerComponent {
    add: u32,
}

impl Store {
    fn new(name: &'static str, value: u32) -> Self {
        Self { name, value, log: Arc::default(), refuses: false, empty_targets: false, silent: false }
    }

    fn log(&self, what: &str) {
        self.log.lock().unwrap().push(format!("{} {what}", self.name));
    }
}

#[async_trait]
impl Plugin for Store {
    fn name(&self) -> &'static str {
        self.name
    }

    fn interfaces(&self) -> Vec<Provided> {
        vec![
            Provided::grant(STORE),
            Provided::grant("acme:kv/types@1.0.0"),
            Provided::grant("acme:kv/open@1.0.0"),
            Provided::grant("acme:kv/size@1.0.0"),
        ]
    }

    fn settings(&self) -> Vec<SettingsKey> {
        vec![SettingsKey::new(self.name).in_workload::<Numbers>().in_component_any()]
    }

    fn has_targets(&self) -> bool {
        true
    }

    async fn open(&self, opening: &mut Opening<'_>) -> Result<(), PluginError> {
        self.log("open");
        let numbers: Numbers = opening.settings(self.name)?.unwrap_or_default();
        opening.insert(numbers);
        Ok(())
    }

    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        if self.refuses {
            return Err(PluginError::new("not this one"));
        }
        let imports: Vec<_> =
            binding.imports().iter().map(|i| format!("{}.{}", i.interface.interface, i.functions.join("+"))).collect();
        self.log(&format!("bind {} {:?} {}", binding.name(), binding.target().unwrap_or_default(), imports.join(" ")));
        let numbers = binding.opened::<Numbers>().unwrap();
        let of_target = match binding.target() {
            Some(target) => *numbers.get(target).ok_or_else(|| PluginError::new(format!("no number `{target}`")))?,
            None => 0,
        };
        let add = binding.settings::<PerComponent>(self.name)?.map_or(0, |settings| settings.add);
        if self.empty_targets && binding.target() != Some("x") {
            return Ok(());
        }
        binding.insert(Value(self.value + of_target + add));
        Ok(())
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Bound>();
        let is = |name: &str| link.is(&format!("acme:kv/{name}"));
        let (types, open, size) = (is("types"), is("open"), is("size"));
        let mut instance = link.instance()?;
        if types || open || size {
            instance.resource("bucket", ResourceType::host::<Value>(), |_, _| Ok(()))?;
        }
        if open {
            return instance.func_wrap("open", move |mut store: StoreContextMut<'_, StoreData>, (): ()| {
                let value = get(store.data_mut());
                Ok((store.data_mut().table().push(Value(value))?,))
            });
        }
        if size {
            return instance.func_wrap(
                "size",
                |mut store: StoreContextMut<'_, StoreData>, (b,): (Resource<Value>,)| {
                    Ok((store.data_mut().table().get(&b)?.0,))
                },
            );
        }
        if types {
            return Ok(());
        }
        instance.func_wrap("get", move |mut store: StoreContextMut<'_, StoreData>, (): ()| Ok((get(store.data_mut()),)))
    }

    async fn health(&self, workload: &OpenWorkload<'_>) -> Health {
        if self.silent {
            std::future::pending::<()>().await;
        }
        match workload.opened::<Numbers>() {
            Some(numbers) if numbers.contains_key("broken") => Health::Unhealthy("broken".into()),
            _ => Health::Healthy,
        }
    }

    async fn unbind(&self, component: &BoundComponent<'_>) {
        self.log(&format!("unbind {} {}", component.name(), component.binding::<Value>().is_some()));
    }

    async fn close(&self, workload: &OpenWorkload<'_>) {
        self.log(&format!("close {}", workload.id()));
    }

    async fn shutdown(&self) {
        self.log("shutdown");
    }
}

/// The value that was bound for the import that is called, or 99.
struct Bound;

impl HasData for Bound {
    type Data<'a> = u32;
}

impl View for Bound {
    type Of = Bound;
    fn view(scope: Scope<'_>) -> u32 {
        scope.find_binding::<Value>().map_or(99, |value| value.0)
    }
}

async fn get(host: &Host, component: &str) -> String {
    host.call_wave("default/w", component, "get()").await.unwrap().concat()
}

#[tokio::test]
async fn a_plugin_opens_binds_unbinds_and_closes() {
    let store = Store::new("red", 1);
    let log = store.log.clone();
    let host = builder().plugin(store).build().unwrap();
    let manifest = "name = 'w'\n[red]\nbroken = 1\n[components.a]\nsource = 'reader.wat'\nred = { add = 6 }\n\
                    [components.b]\nsource = 'reader.wat'\n";
    host.workload_start(workload(&host, manifest)).await.unwrap();
    assert_eq!((get(&host, "a").await, get(&host, "b").await), ("7".into(), "1".into()));
    let status = host.workload_status("default/w").await.unwrap();
    let red = status.health.iter().find(|health| health.plugin == "red").unwrap();
    assert_eq!((red.healthy, red.detail.as_deref()), (false, Some("broken")));
    host.workload_stop("default/w").await.unwrap();
    host.shutdown().await;
    let expected = [
        "red open",
        "red bind a \"\" store.get",
        "red bind b \"\" store.get",
        "red unbind b true",
        "red unbind a true",
        "red close default/w",
        "red shutdown",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_refusal_releases_what_was_opened() {
    let (red, mut blue) = (Store::new("red", 1), Store::new("blue", 2));
    let log = red.log.clone();
    blue.log = log.clone();
    blue.refuses = true;
    let host = builder().plugin(red).plugin(blue).build().unwrap();
    let manifest = "name = 'w'\n[components.a]\nsource = 'reader.wat'\n[components.b]\nsource = 'reader.wat'\n\
                    [[links]]\nfrom = 'a'\nimport = 'acme:kv/store'\nto = 'red'\n\
                    [[links]]\nfrom = 'b'\nimport = 'acme:kv/store'\nto = 'blue'\n";
    let error = host.workload_start(workload(&host, manifest)).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin `blue` refuses `b`: not this one");
    let expected = [
        "red open",
        "blue open",
        "red bind a \"\" store.get",
        "red unbind a true",
        "blue close default/w",
        "red close default/w",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
    assert!(host.heartbeat().await.workloads.is_empty());
}

/// Never opens.
struct Stuck;

#[async_trait]
impl Plugin for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }
    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::grant(STORE)]
    }
    async fn open(&self, _: &mut Opening<'_>) -> Result<(), PluginError> {
        std::future::pending().await
    }
    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        link.instance()?.func_wrap("get", |_: StoreContextMut<'_, StoreData>, (): ()| Ok((0_u32,)))
    }
}

/// A workload whose start hangs in the plugin `stuck`, after `red` was opened.
async fn stuck_start() -> (Host, Arc<Mutex<Vec<String>>>, tokio::task::JoinHandle<Result<(), StartError>>) {
    let red = Store::new("red", 1);
    let log = red.log.clone();
    let host = builder().plugin(red).plugin(Stuck).build().unwrap();
    let manifest = "name = 'w'\n[components.a]\nsource = 'reader.wat'\n[components.b]\nsource = 'reader.wat'\n\
                    [[links]]\nfrom = 'a'\nimport = 'acme:kv/store'\nto = 'red'\n\
                    [[links]]\nfrom = 'b'\nimport = 'acme:kv/store'\nto = 'stuck'\n";
    let start = tokio::spawn({
        let (host, workload) = (host.clone(), workload(&host, manifest));
        async move { host.workload_start(workload).await.map(drop) }
    });
    while log.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(host.heartbeat().await.workloads[0].state, State::Starting);
    (host, log, start)
}

#[tokio::test]
async fn a_stop_cancels_a_start() {
    let (host, log, start) = stuck_start().await;
    assert_eq!(host.workload_stop("default/w").await.unwrap().state, State::Stopped);
    assert!(matches!(start.await.unwrap(), Err(StartError::Stopped { .. })));
    while log.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*log.lock().unwrap(), ["red open", "red close default/w"]);
    assert!(host.heartbeat().await.workloads.is_empty(), "the id is free again");
}

#[tokio::test]
async fn a_shutdown_leaves_no_workload() {
    let (host, _, start) = stuck_start().await;
    // A caller that goes away cancels nothing.
    start.abort();
    assert_eq!(host.heartbeat().await.workloads.len(), 1);
    host.shutdown().await;
    assert!(host.heartbeat().await.workloads.is_empty());
    let late = workload(&host, "name = 'late'\n[components.c]\nsource = 'clock.wat'\n");
    assert!(matches!(host.workload_start(late).await, Err(StartError::ShuttingDown)));
}

#[tokio::test]
async fn a_binding_without_a_value_finds_no_other() {
    let mut store = Store::new("red", 10);
    store.empty_targets = true;
    let host = builder().plugin(store).build().unwrap();
    let manifest = "name = 'w'\n[red]\nx = 1\ny = 2\n[components.two]\nsource = 'two.wat'\n\
        [[links]]\nfrom = 'two'\nimport = 'first'\nto = 'red:x'\n\
        [[links]]\nfrom = 'two'\nimport = 'second'\nto = 'red:y'\n";
    host.workload_start(workload(&host, manifest)).await.unwrap();
    // `first` is bound with a value, `second` and the unlabelled import without.
    assert_eq!(get(&host, "two").await, (11 * 10000 + 99 * 100 + 99).to_string());
}

/// Provides one version of an interface that WASI has in two.
struct MockExit;

impl Plugin for MockExit {
    fn name(&self) -> &'static str {
        "mock"
    }
    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::grant("wasi:cli/exit@0.3.0")]
    }
    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        type Status = (Result<(), ()>,);
        link.instance()?.func_wrap("exit", |_: StoreContextMut<'_, StoreData>, (_,): Status| Ok(()))
    }
}

#[tokio::test]
async fn a_plugin_and_wasi_provide_versions_of_one_interface() {
    let host = builder().plugin(MockExit).build().unwrap();
    let text = r#"(component
        (import "wasi:cli/exit@0.3.0" (instance $new (export "exit" (func (param "status" (result))))))
        (import "wasi:cli/exit@0.2.0" (instance $old (export "exit" (func (param "status" (result))))))
        (core func $new (canon lower (func $new "exit"))) (core func $old (canon lower (func $old "exit")))
        (core module $m (import "" "new" (func $new (param i32))) (import "" "old" (func $old (param i32)))
            (func (export "new") (call $new (i32.const 0)))
            (func (export "old") (call $old (i32.const 0))))
        (core instance $i (instantiate $m (with "" (instance (export "new" (func $new)) (export "old" (func $old))))))
        (func (export "new") (canon lift (core func $i "new")))
        (func (export "old") (canon lift (core func $i "old"))))"#;
    let component = Component::from_bytes(wat::parse_str(text).unwrap());
    host.workload_start(Workload::new(name("w")).with_component(name("c"), component)).await.unwrap();
    host.call_wave("default/w", "c", "new()").await.unwrap();
    let error = host.call_wave("default/w", "c", "old()").await.unwrap_err().to_string();
    assert!(error.contains("exit"), "WASI ends the call: {error}");
}

#[tokio::test]
async fn components_of_a_unit_share_one_provider() {
    let host = builder().plugin(Shared("x")).plugin(Shared("y")).build().unwrap();
    let component = |imports: &str, export: &str| {
        let text = format!(
            r#"(component {imports}
                (import "acme:shared/number@1.0.0" (instance $n (export "get" (func (result u32)))))
                (core func $get (canon lower (func $n "get")))
                (core module $m (import "" "get" (func $get (result i32))) (func (export "get") (result i32) (call $get)))
                (core instance $i (instantiate $m (with "" (instance (export "get" (func $get))))))
                (func $f (result u32) (canon lift (core func $i "get")))
                (instance $e (export "get" (func $f))) (export "{export}" (instance $e)))"#
        );
        Component::from_bytes(wat::parse_str(text).unwrap())
    };
    let inner = || component("", "acme:inner/api");
    let outer = r#"(import "acme:inner/api" (instance (export "get" (func (result u32)))))"#;
    let link = |from: &str, to: &str| wharf::workload::manifest::Link {
        from: name(from),
        import: "acme:shared/number".into(),
        to: to.parse().unwrap(),
    };
    let mut workload = Workload::new(name("w"))
        .with_component(name("outer"), component(outer, "acme:outer/api"))
        .with_component(name("inner"), inner());
    workload.links = vec![link("outer", "x"), link("inner", "y")];
    let error = host.workload_start(workload.clone()).await.unwrap_err().to_string();
    assert!(
        error.contains("`outer` takes `acme:shared/number@1.0.0` from `x`") && error.contains("from `y`"),
        "{error}"
    );
    workload.links = vec![link("outer", "x"), link("inner", "x")];
    host.workload_start(workload).await.unwrap();
    // A plugin without parts rejects a link to one.
    let mut part = Workload::new(name("p")).with_component(name("inner"), inner());
    part.links = vec![link("inner", "x:part")];
    let error = host.workload_start(part).await.unwrap_err().to_string();
    assert!(error.contains("no part `part`"), "{error}");
}

struct Shared(&'static str);

impl Plugin for Shared {
    fn name(&self) -> &'static str {
        self.0
    }
    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::shared("acme:shared/number@1.0.0")]
    }
    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        link.instance()?.func_wrap("get", |_: StoreContextMut<'_, StoreData>, (): ()| Ok((0_u32,)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_does_not_report_is_unhealthy() {
    let mut store = Store::new("red", 1);
    store.silent = true;
    let host = builder().plugin(store).build().unwrap();
    host.workload_start(workload(&host, "name = 'w'\n[components.a]\nsource = 'reader.wat'\n")).await.unwrap();
    let (one, two) = tokio::join!(host.workload_status("default/w"), host.workload_status("default/w"));
    for status in [one.unwrap(), two.unwrap()] {
        assert!(status.health.iter().any(|health| health.plugin == "red" && !health.healthy), "{status:?}");
    }
    host.workload_stop("default/w").await.unwrap();
}

#[tokio::test]
async fn nothing_opens_for_a_workload_that_cannot_be_linked() {
    let store = Store::new("red", 1);
    let log = store.log.clone();
    let host = builder().plugin(store).build().unwrap();
    let text = r#"(component (import "acme:kv/store@1.0.0" (instance (export "no-such" (func)))))"#;
    let component = Component::from_bytes(wat::parse_str(text).unwrap());
    let error = host.workload_start(Workload::new(name("w")).with_component(name("c"), component)).await.unwrap_err();
    assert!(matches!(error, StartError::Link(_)), "{error}");
    assert!(log.lock().unwrap().is_empty());
    // Each unit that cannot be linked is reported.
    let mut two = Workload::new(name("w"));
    for part in ["c", "d"] {
        two = two.with_component(name(part), Component::from_bytes(wat::parse_str(text).unwrap()));
    }
    let error = host.workload_start(two).await.unwrap_err();
    let places: Vec<_> = error.each().iter().filter_map(StartError::place).collect();
    assert_eq!(places, ["components.c", "components.d"], "{error}");
}

/// Two plugins that refuse, and one of them several parts: all refusals come at once, and what was opened is closed.
#[tokio::test]
async fn all_refusals_come_at_once() {
    let (mut red, mut blue) = (Store::new("red", 1), Store::new("blue", 2));
    (red.refuses, blue.refuses) = (true, true);
    let logs = [red.log.clone(), blue.log.clone()];
    let host = builder().plugin(red).plugin(blue).build().unwrap();
    let manifest = "name = 'w'\n[components.a]\nsource = 'reader.wat'\n[components.b]\nsource = 'reader.wat'\n\
                    [[links]]\nfrom = 'a'\nimport = 'acme:kv/store'\nto = 'red'\n\
                    [[links]]\nfrom = 'b'\nimport = 'acme:kv/store'\nto = 'blue'\n";
    let error = host.workload_start(workload(&host, manifest)).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin `red` refuses `a`: not this one; plugin `blue` refuses `b`: not this one");
    for log in logs {
        let log = log.lock().unwrap();
        assert!(log.last().is_some_and(|last| last.ends_with("close default/w")), "{log:?}");
    }
    let sent = wharf::api::ApiError::from(error);
    assert_eq!(sent.diagnostics.len(), 2, "{sent:?}");
}

#[tokio::test]
async fn invalid_settings_are_reported_with_their_place() {
    let host = builder().plugin(Store::new("red", 1)).build().unwrap();
    let manifest = "name = 'w'\n[components.a]\nsource = 'reader.wat'\nred = { add = 'six' }\n";
    let error = host.workload_start(workload(&host, manifest)).await.unwrap_err();
    assert_eq!(error.place().as_deref(), Some("components.a.red.add"), "{error}");
    // The plugin's schema rejects this one before any plugin opens.
    let parsed = parse_with("name = 'w'\nred = 3\n[components.a]\nsource = 'a'\n", Format::Toml, host.extensions());
    assert_eq!(parsed.problems.len(), 1, "{:?}", parsed.problems);
    // Without the plugin, its key is unknown, however the workload came about.
    let mut built = workload(&host, "name = 'w'\n[components.a]\nsource = 'clock.wat'\n");
    built.settings.insert("red".into(), wharf::workload::manifest::Settings::new(serde_json::json!({})));
    let error = builder().build().unwrap().workload_start(built).await.unwrap_err();
    assert!(error.to_string().contains("`red`"), "{error}");
}

#[tokio::test]
async fn several_plugins_provide_one_interface() {
    let host = builder().plugin(Store::new("red", 1)).plugin(Store::new("blue", 2)).build().unwrap();
    let without = "name = 'w'\n[components.a]\nsource = 'reader.wat'\n";
    let error = host.workload_start(workload(&host, without)).await.unwrap_err().to_string();
    assert!(error.contains("red") && error.contains("blue"), "{error}");
    let with = format!("{without}[[links]]\nfrom = 'a'\nimport = '{STORE}'\nto = 'blue'\n");
    host.workload_start(workload(&host, &with)).await.unwrap();
    assert_eq!(get(&host, "a").await, "2");
}

#[tokio::test]
async fn labels_choose_backends_and_targets() {
    let host = builder().plugin(Store::new("red", 10)).plugin(Store::new("blue", 20)).build().unwrap();
    let manifest = "name = 'w'\n[red]\nx = 1\ny = 2\n[components.two]\nsource = 'two.wat'\n\
        [[links]]\nfrom = 'two'\nimport = 'first'\nto = 'red:x'\n\
        [[links]]\nfrom = 'two'\nimport = 'second'\nto = 'red:y'\n";
    // The import without a label is ambiguous still.
    assert!(host.workload_start(workload(&host, manifest)).await.is_err());
    let manifest = format!("{manifest}[[links]]\nfrom = 'two'\nimport = '{STORE}'\nto = 'blue'\n");
    // This link names the interface, but each label has a link of its own.
    host.workload_start(workload(&host, &manifest)).await.unwrap();
    assert_eq!(get(&host, "two").await, "111220");
}

#[tokio::test]
async fn labels_stay_apart_in_a_fused_unit() {
    let host = builder().plugin(Store::new("red", 10)).build().unwrap();
    let manifest = "name = 'w'\n[red]\nx = 1\ny = 2\nz = 3\n\
        [components.two]\nsource = 'two.wat'\nred = { add = 5 }\n[components.user]\nsource = 'sum-user.wat'\n\
        [[links]]\nfrom = 'two'\nimport = 'first'\nto = 'red:x'\n\
        [[links]]\nfrom = 'two'\nimport = 'second'\nto = 'red:y'\n\
        [[links]]\nfrom = 'user'\nimport = 'cache'\nto = 'red:z'\n";
    host.workload_start(workload(&host, manifest)).await.unwrap();
    // user's `cache` is 13; two's imports are 16, 17 and 15.
    assert_eq!(get(&host, "user").await, "13161715");
}

#[tokio::test]
async fn a_resource_is_one_type_under_several_labels() {
    let host = builder().plugin(Store::new("red", 42)).build().unwrap();
    host.workload_start(workload(&host, "name = 'w'\n[components.b]\nsource = 'buckets.wat'\n")).await.unwrap();
    assert_eq!(get(&host, "b").await, "42");
}

#[tokio::test]
async fn wasi_satisfies_a_label() {
    let host = builder().build().unwrap();
    let text = "name = 'w'\n[components.c]\nsource = 'clock.wat'\n";
    let plan = host.plan(&workload(&host, text)).await;
    let import = &plan.resolution.components["c"][0];
    assert_eq!(
        (import.label.as_deref(), import.interface.as_ref().map(ToString::to_string).as_deref()),
        (Some("clk"), Some("wasi:clocks/monotonic-clock@0.2.0"))
    );
    host.workload_start(workload(&host, text)).await.unwrap();
    assert_eq!(get(&host, "c").await, "1");
}
