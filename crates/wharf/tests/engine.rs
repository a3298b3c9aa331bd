//! What an engine takes and refuses of WebAssembly, and what it leaves behind of a guest that trapped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt as _;

use wharf::workload::manifest::{ByteSize, Component};
use wharf::workload::{Name, Workload};
use wharf::{Engine, EngineBuilder, Feature, Host, Limit};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn builder() -> EngineBuilder {
    Engine::builder().pooling(false)
}

/// A component whose `run` is that of a core module.
fn component(module: &str) -> Component {
    let text = format!(
        r#"(component
            (core module $m {module})
            (core instance $i (instantiate $m))
            (func (export "run") (result u32) (canon lift (core func $i "run"))))"#
    );
    Component::from_bytes(wat::parse_str(text).unwrap())
}

/// Starts a component, calls its `run`, and tells what came of it.
async fn run(engine: EngineBuilder, component: Component) -> (Host, Result<String, String>) {
    let host = Host::builder(engine.build().unwrap()).build().unwrap();
    let workload = Workload::new(name("w")).with_component(name("c"), component);
    if let Err(refused) = host.workload_start(workload).await {
        return (host, Err(refused.to_string()));
    }
    let came = host.call_wave("default/w", "c", "run()").await;
    (host, came.map(|mut values| values.remove(0)).map_err(|error| error.to_string()))
}

const MEMORY64: &str = r#"(memory i64 1) (func (export "run") (result i32)
    (i64.store (i64.const 8) (i64.const 7)) (i32.wrap_i64 (i64.load (i64.const 8))))"#;
const THREADS: &str = r#"(memory 1 1 shared) (func (export "run") (result i32)
    (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 7))) (i32.atomic.load (i32.const 0)))"#;
const TAIL_CALLS: &str = r#"(func $down (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 7))
        (else (return_call $down (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "run") (result i32) (return_call $down (i32.const 1000000)))"#;
const GC: &str = r#"(type $box (struct (field i32))) (func (export "run") (result i32)
    (struct.get $box 0 (struct.new $box (i32.const 7))))"#;
const EXCEPTIONS: &str = r#"(tag $t (param i32)) (func (export "run") (result i32)
    (block $caught (result i32) (try_table (catch $t $caught) (throw $t (i32.const 7))) (i32.const 0)))"#;
const SIMD: &str = r#"(func (export "run") (result i32)
    (i32x4.extract_lane 0 (i32x4.add (i32x4.splat (i32.const 3)) (i32x4.splat (i32.const 4)))))"#;
const RELAXED_SIMD: &str = r#"(func (export "run") (result i32)
    (i8x16.extract_lane_u 0 (i8x16.relaxed_swizzle (i8x16.splat (i32.const 7)) (i8x16.splat (i32.const 0)))))"#;

#[tokio::test]
async fn features_can_be_enabled_and_disabled() {
    for (feature, module, default) in [
        (Feature::Memory64, MEMORY64, true),
        (Feature::Threads, THREADS, false),
        (Feature::TailCalls, TAIL_CALLS, true),
        (Feature::Gc, GC, true),
        (Feature::Exceptions, EXCEPTIONS, true),
        (Feature::Simd, SIMD, true),
        (Feature::RelaxedSimd, RELAXED_SIMD, true),
    ] {
        let seven = Ok("7".to_owned());
        let (_, came) = run(builder(), component(module)).await;
        assert_eq!(came == seven, default, "{feature}: {came:?}");
        assert_eq!(run(builder().feature(feature, true), component(module)).await.1, seven, "{feature}");
        let refused = run(builder().feature(feature, false), component(module)).await.1.unwrap_err();
        assert!(refused.contains("cannot compile"), "{feature}: {refused}");
    }
}

#[tokio::test]
async fn what_is_experimental_is_off() {
    let text = r#"(component
        (core module $libc (memory (export "memory") 1))
        (core instance $libc (instantiate $libc))
        (core func (canon error-context.new (memory (core memory $libc "memory")))))"#;
    let start = async |on: bool| {
        let host = Host::builder(builder().feature(Feature::ErrorContext, on).build().unwrap()).build().unwrap();
        let component = Component::from_bytes(wat::parse_str(text).unwrap());
        host.workload_start(Workload::new(name("w")).with_component(name("c"), component)).await
    };
    assert!(start(false).await.is_err());
    start(true).await.unwrap();
    assert_eq!("error-context".parse(), Ok(Feature::ErrorContext));
    assert_eq!("component-threading".parse(), Ok(Feature::ComponentThreading));
    assert!("sharks".parse::<Feature>().unwrap_err().to_string().contains("memory64, threads"));
}

const TWO_MEMORIES: &str = r#"(memory $a 1) (memory $b 1) (func (export "run") (result i32)
    (i32.store $b (i32.const 0) (i32.const 7)) (i32.load $b (i32.const 0)))"#;

#[tokio::test]
async fn several_memories_come_from_the_pool_too() {
    let pooled = Engine::builder().instances(32);
    assert_eq!(run(pooled, component(TWO_MEMORIES)).await.1, Ok("7".to_owned()));
}

/// A list that grows by a kibibyte at a time and is all in use.
const HOARDER: &str = r#"(type $bytes (array (mut i8))) (type $list (struct (field (ref null $list)) (field (ref $bytes))))
    (func (export "run") (result i32) (local $all (ref null $list)) (local $n i32)
        (loop $more
            (local.set $all (struct.new $list (local.get $all) (array.new_default $bytes (i32.const 1024))))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $n) (i32.const 65536))))
        (local.get $n))"#;

#[tokio::test]
async fn collected_objects_are_memory_too() {
    let mut greedy = component(HOARDER);
    assert_eq!(run(builder(), greedy.clone()).await.1, Ok("65536".to_owned()), "64 MiB are within the default");
    greedy.limits.memory = Some(ByteSize(8 << 20));
    let (host, came) = run(builder(), greedy).await;
    assert!(came.is_err(), "{came:?}");
    let status = host.workload_status("default/w").await.unwrap();
    assert!(status.refusals[&Limit::Memory] > 0, "{:?}", status.refusals);
}

const TRAPS: &str = r#"(memory 1) (global (mut i32) (i32.const 7)) (func $deep unreachable)
    (func (export "run") (result i32) (i32.store (i32.const 8) (i32.const 42)) (call $deep) (i32.const 0))"#;

#[tokio::test]
async fn a_trap_writes_a_core_dump() {
    let folder = tempfile::tempdir().unwrap();
    let dumps = folder.path().join("dumps");
    let (host, came) = run(builder().core_dumps(&dumps), component(TRAPS)).await;
    assert!(came.is_err());
    let written = || std::fs::read_dir(&dumps).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let files = written();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert!(file.file_name().unwrap().to_str().unwrap().starts_with("default-w-c-"), "{file:?}");
    let dump = std::fs::read(file).unwrap();
    assert!(dump.starts_with(b"\0asm"));
    for section in ["core", "coreinstances", "coremodules", "corestack"] {
        assert!(dump.windows(section.len()).any(|bytes| bytes == section.as_bytes()), "{section}");
    }
    // A guest's memory is readable by the owner alone.
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&dumps).unwrap().permissions().mode() & 0o777, 0o700);
    // The reason comes first, then the backtrace.
    let came = came.unwrap_err();
    let (reason, frames) = came.split_once('\n').unwrap();
    assert!(reason.ends_with("failed: wasm trap: wasm `unreachable` instruction executed"), "{came}");
    assert!(frames.starts_with("error while executing at wasm backtrace:"), "{came}");
    // The number of dumps is bounded.
    for _ in 0..40 {
        host.call_wave("default/w", "c", "run()").await.unwrap_err();
    }
    assert_eq!(written().len(), 32);
}

/// A component whose core module is large, with `value` among its data: it imports `inner` from its sibling if it has one.
fn large(value: u32, sibling: bool) -> Component {
    let padding = "x".repeat(300 << 10);
    let (import, lowered, arguments, call) = if sibling {
        (
            r#"(import "w:w/inner" (instance $w (export "run" (func (result u32)))))"#,
            r#"(core func $inner (canon lower (func $w "run")))"#,
            r#"(with "w" (instance (export "inner" (func $inner))))"#,
            r#"(import "w" "inner" (func $inner (result i32)))"#,
        )
    } else {
        ("", "", "", "(func $inner (result i32) (i32.const 0))")
    };
    let text = format!(
        r#"(component
            {import}
            {lowered}
            (core module $m
                {call}
                (memory (export "memory") 8) (table (export "table") 1 funcref) (global (export "zero") i32 (i32.const 0))
                (data (i32.const 0) "{padding}")
                (func (export "run") (result i32) (i32.add (call $inner) (i32.const {value}))))
            (core instance $i (instantiate $m {arguments}))
            (func $run (result u32) (canon lift (core func $i "run")))
            (instance $exports (export "run" (func $run)))
            (export "run" (func $run))
            (export "w:w/inner" (instance $exports)))"#
    );
    Component::from_bytes(wat::parse_str(text).unwrap())
}

#[tokio::test]
async fn modules_that_are_compiled_by_themselves_are_fused_like_others() {
    let cache = tempfile::tempdir().unwrap();
    let codes = || std::fs::read_dir(cache.path()).unwrap().count();
    let engine = builder().separate_modules(true).cache(cache.path(), 1 << 30).build().unwrap();
    let host = Host::builder(engine).build().unwrap();
    let workload = |outer: u32, inner: u32| {
        let workload = Workload::new(name("w")).with_component(name("outer"), large(outer, true));
        let mut workload = workload.with_component(name("inner"), large(inner, false));
        workload.links.push(wharf::workload::manifest::Link {
            from: name("outer"),
            import: "w:w/inner".to_owned(),
            to: "inner".parse().unwrap(),
        });
        workload
    };
    host.workload_start(workload(1, 10)).await.unwrap();
    assert_eq!(host.call_wave("default/w", "outer", "run()").await.unwrap(), ["11"]);
    // The code of two modules, and of what is left of the component.
    assert_eq!(codes(), 3);
    host.workload_update(workload(2, 10)).await.unwrap();
    assert_eq!(host.call_wave("default/w", "outer", "run()").await.unwrap(), ["12"]);
    assert_eq!(codes(), 5, "the module of a component that has not changed is compiled once");
    host.workload_update(workload(2, 20)).await.unwrap();
    assert_eq!(host.call_wave("default/w", "outer", "run()").await.unwrap(), ["22"]);
}
