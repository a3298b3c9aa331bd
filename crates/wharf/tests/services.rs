//! A service of WASI 0.3 is one instance for calls by value, too, whatever ends it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use wasmtime::StoreContextMut;
use wharf::api::ServiceState;
use wharf::plugin::BoundComponent;
use wharf::run::invoke::InvokeError;
use wharf::wasmtime::component::Val;
use wharf::workload::Workload;
use wharf::workload::manifest::{Component, Service};
use wharf::{Call, Engine, Host, Instantiated, Link, Plugin, Provided, StoreData, wasmtime};

const ID: &str = "default/w";
const TIMEOUT: Duration = Duration::from_secs(30);

/// `run` waits in steps of 10 ms. `count` counts its calls in a global; `hit` calls the plugin; `burn` computes for n rounds and traps.
/// `end` makes `run` succeed (1), fail (2), or call the plugin for ever (3).
const WORKER: &str = r#"(component
    (import "wasi:clocks/monotonic-clock@0.3.0" (instance $clock
        (export "wait-for" (func async (param "how-long" u64)))))
    (import "acme:hook/hook@1.0.0" (instance $hook (export "hit" (func (param "n" u32)))))
    (core func $hit (canon lower (func $hook "hit")))
    (core func $wait-for (canon lower (func $clock "wait-for") async))
    (core func $new-set (canon waitable-set.new))
    (core func $join (canon waitable.join))
    (core func $drop (canon subtask.drop))
    (core func $return (canon task.return (result (result))))
    (core module $m
        (import "" "wait-for" (func $wait-for (param i64) (result i32)))
        (import "" "new-set" (func $new-set (result i32)))
        (import "" "join" (func $join (param i32 i32)))
        (import "" "drop" (func $drop (param i32)))
        (import "" "return" (func $return (param i32)))
        (import "" "hit" (func $hit (param i32)))
        (global $count (mut i32) (i32.const 0))
        (global $end (mut i32) (i32.const 0))
        (global $set (mut i32) (i32.const 0))
        (func $step (result i32) (local $subtask i32)
            (local.set $subtask (call $wait-for (i64.const 10000000)))
            ;; Done at once: the callback is called again.
            (if (i32.eq (i32.and (local.get $subtask) (i32.const 15)) (i32.const 2)) (then (return (i32.const 1))))
            (call $join (i32.shr_u (local.get $subtask) (i32.const 4)) (global.get $set))
            (i32.or (i32.const 2) (i32.shl (global.get $set) (i32.const 4))))
        (func (export "run") (result i32)
            (global.set $set (call $new-set))
            (call $step))
        (func (export "callback") (param $event i32) (param $subtask i32) (param i32) (result i32)
            (if (i32.eq (local.get $event) (i32.const 1))
                (then (call $join (local.get $subtask) (i32.const 0)) (call $drop (local.get $subtask))))
            (if (i32.eq (global.get $end) (i32.const 3)) (then (loop $ever (call $hit (i32.const 3)) (br $ever))))
            (if (global.get $end) (then
                (call $return (i32.sub (global.get $end) (i32.const 1)))
                (return (i32.const 0))))
            (call $step))
        (func (export "count") (result i32)
            (global.set $count (i32.add (global.get $count) (i32.const 1))) (global.get $count))
        (func (export "end") (param i32) (global.set $end (local.get 0)))
        (func (export "hit") (param i32) (call $hit (local.get 0)))
        (func (export "burn") (param $n i32)
            (loop $more
                (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if $more (local.get $n)))
            unreachable))
    (core instance $i (instantiate $m (with "" (instance
        (export "wait-for" (func $wait-for)) (export "new-set" (func $new-set)) (export "join" (func $join))
        (export "drop" (func $drop)) (export "return" (func $return)) (export "hit" (func $hit))))))
    (func $run async (result (result))
        (canon lift (core func $i "run") async (callback (core func $i "callback"))))
    (instance $cli (export "run" (func $run)))
    (export "wasi:cli/run@0.3.0" (instance $cli))
    (func (export "count") (result u32) (canon lift (core func $i "count")))
    (func (export "end") (param "how" u32) (canon lift (core func $i "end")))
    (func (export "hit") (param "n" u32) (canon lift (core func $i "hit")))
    (func (export "burn") (param "n" u32) (canon lift (core func $i "burn"))))"#;

#[derive(Default)]
struct Calls {
    hits: AtomicU32,
    unbound: AtomicBool,
    after_unbind: AtomicU32,
}

/// Counts its calls, and those that come after it was unbound. `hit(2)` panics.
struct Hook(Arc<Calls>);

#[async_trait]
impl Plugin for Hook {
    fn name(&self) -> &'static str {
        "hook"
    }

    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::grant("acme:hook/hook@1.0.0")]
    }

    async fn unbind(&self, _: &BoundComponent<'_>) {
        self.0.unbound.store(true, Ordering::SeqCst);
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let calls = self.0.clone();
        link.instance()?.func_wrap("hit", move |_: StoreContextMut<'_, StoreData>, (n,): (u32,)| {
            calls.hits.fetch_add(1, Ordering::SeqCst);
            if calls.unbound.load(Ordering::SeqCst) {
                calls.after_unbind.fetch_add(1, Ordering::SeqCst);
            }
            assert_ne!(n, 2, "a mistake of the plugin");
            Ok(())
        })
    }
}

async fn started() -> (Host, Arc<Calls>) {
    let calls = Arc::<Calls>::default();
    let engine = Engine::builder().pooling(false).build().unwrap();
    let host = Host::builder(engine).plugin(Hook(calls.clone())).drain(Duration::from_secs(1)).build().unwrap();
    let mut component = Component::from_bytes(wat::parse_str(WORKER).unwrap());
    component.service = Some(Service::default());
    host.workload_start(Workload::new("w".parse().unwrap()).with_component("it".parse().unwrap(), component))
        .await
        .unwrap();
    (host, calls)
}

async fn call(host: &Host, text: &str) -> Result<Vec<String>, String> {
    let called = tokio::time::timeout(TIMEOUT, host.call_wave(ID, "it", text)).await;
    called.expect("every call is answered").map_err(|error| error.to_string())
}

async fn count(host: &Host) -> u32 {
    call(host, "count()").await.unwrap()[0].parse().unwrap()
}

/// A call that was answered counts for a moment longer.
async fn assert_no_call_is_left(host: &Host) {
    let idle = async {
        while host.workload_status(ID).await.unwrap().calls > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, idle).await.expect("no call is left");
}

#[tokio::test]
async fn calls_by_value_reach_the_instance_of_a_service() {
    let (host, _) = started().await;
    for n in 1..4 {
        assert_eq!(count(&host).await, n);
    }
    let many = (0..20).map(|_| count(&host));
    let mut counts = futures_util::future::join_all(many).await;
    counts.sort_unstable();
    assert_eq!(counts, (4..24).collect::<Vec<_>>());
    // Wrong arguments are the caller's fault.
    let wrong = host.call_values(ID, "it", "end", &[Val::String("x".into())]).await.unwrap_err();
    assert!(wrong.to_string().contains("the value of `how` is of another type"), "{wrong}");
    assert_eq!(count(&host).await, 24);
    // A trap ends the instance, and the next call waits for another.
    assert!(call(&host, "burn(1)").await.unwrap_err().contains("failed"));
    assert_eq!(count(&host).await, 1);
    let status = host.workload_status(ID).await.unwrap();
    assert_eq!((status.services[0].restarts, status.services[0].state), (1, ServiceState::Running));
    assert_no_call_is_left(&host).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_the_service_alone() {
    let (host, _) = started().await;
    for polls in 0..20 {
        let mut call = Box::pin(host.call_wave(ID, "it", "count()"));
        for _ in 0..polls % 5 {
            if std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    assert!(count(&host).await > 0);
    assert_eq!(host.workload_status(ID).await.unwrap().services[0].restarts, 0);
    host.shutdown().await;
}

/// Calls that join while the instance computes have not started when it traps. They end with it.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_an_instance_that_traps_are_answered() {
    let (host, _) = started().await;
    count(&host).await;
    let calling = |text: &'static str| {
        let host = host.clone();
        tokio::spawn(async move { call(&host, text).await })
    };
    let burning = calling("burn(100000000)");
    let waiting: Vec<_> = (0..8).map(|_| calling("count()")).collect();
    assert!(burning.await.unwrap().is_err());
    for call in waiting {
        // One that came before or after is answered by an instance; one in between, by its end.
        call.await.unwrap().ok();
    }
    assert!(count(&host).await > 0);
    assert_no_call_is_left(&host).await;
}

#[tokio::test]
async fn a_host_function_that_panics_restarts_the_service() {
    let (host, _) = started().await;
    assert_eq!(count(&host).await, 1);
    assert!(call(&host, "hit(2)").await.is_err());
    assert_eq!(count(&host).await, 1, "a new instance");
    assert_eq!(host.workload_status(ID).await.unwrap().services[0].restarts, 1);
}

/// `run` goes on computing, and calling the plugin, while its workload stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_has_stopped_calls_no_plugin() {
    for _ in 0..5 {
        let (host, calls) = started().await;
        call(&host, "end(3)").await.unwrap();
        let busy = async {
            while calls.hits.load(Ordering::SeqCst) < 1000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TIMEOUT, busy).await.unwrap();
        host.workload_stop(ID).await.unwrap();
        host.shutdown().await;
        assert_eq!(calls.after_unbind.load(Ordering::SeqCst), 0);
    }
}

struct Exclusive;

impl Call for Exclusive {
    type Output = ();

    async fn call(self, _: &mut Instantiated) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// A service's instance is shared, so that no caller gets it alone.
#[tokio::test]
async fn invoke_cannot_call_a_service() {
    let (host, _) = started().await;
    let Err(InvokeError::Terminated(error)) = host.entry(ID, "it").unwrap().invoke(Exclusive).await else {
        panic!("the call was made");
    };
    assert!(error.to_string().contains("is a service"), "{error}");
    assert_eq!(count(&host).await, 1);
}
