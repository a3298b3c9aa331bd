//! A service of WASI 0.3 is one instance for calls by value, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use wharf::api::ServiceState;
use wharf::run::invoke::InvokeError;
use wharf::workload::Workload;
use wharf::workload::manifest::{Component, Service};
use wharf::wasmtime::component::Val;
use wharf::{Call, Engine, Host, Instantiated, wasmtime};

/// Counts its calls in a global; `run` returns at once. `fail` traps.
const COUNTER: &str = r#"(component
    (core module $m
        (global $count (mut i32) (i32.const 0))
        (func (export "run") (result i32) (i32.const 0))
        (func (export "count") (result i32)
            (global.set $count (i32.add (global.get $count) (i32.const 1))) (global.get $count))
        (func (export "add") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
        (func (export "fail") unreachable))
    (core instance $i (instantiate $m))
    (type $run (func async (result (result))))
    (func $run (type $run) (canon lift (core func $i "run")))
    (instance $cli (export "run" (func $run)))
    (export "wasi:cli/run@0.3.0" (instance $cli))
    (func (export "count") (result u32) (canon lift (core func $i "count")))
    (func (export "add") (param "n" u32) (result u32) (canon lift (core func $i "add")))
    (func (export "fail") (canon lift (core func $i "fail"))))"#;

async fn counter() -> Host {
    let host = Host::builder(Engine::builder().pooling(false).build().unwrap()).build().unwrap();
    let mut component = Component::from_bytes(wat::parse_str(COUNTER).unwrap());
    component.service = Some(Service::default());
    host.workload_start(Workload::new("w".parse().unwrap()).with_component("it".parse().unwrap(), component))
        .await
        .unwrap();
    host
}

async fn count(host: &Host) -> Vec<String> {
    host.call_wave("default/w", "it", "count()").await.unwrap()
}

#[tokio::test]
async fn calls_by_value_reach_the_instance_of_a_service() {
    let host = counter().await;
    for n in 1..4 {
        assert_eq!(count(&host).await, [n.to_string()]);
    }
    let many = (0..20).map(|_| count(&host));
    let mut counts: Vec<u32> =
        futures_util::future::join_all(many).await.into_iter().map(|c| c[0].parse().unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, (4..24).collect::<Vec<_>>());
    // Wrong arguments are the caller's fault.
    let wrong = host.call_values("default/w", "it", "add", &[Val::String("x".into())]).await.unwrap_err();
    assert!(wrong.to_string().contains("the value of `n` is of another type"), "{wrong}");
    assert!(matches!(host.call_values("default/w", "it", "add", &[Val::U32(1)]).await.unwrap()[..], [Val::U32(2)]));
    // A trap ends the instance, and the next call waits for another.
    let error = host.call_wave("default/w", "it", "fail()").await.unwrap_err();
    assert!(error.to_string().contains("`fail` failed"), "{error}");
    assert_eq!(count(&host).await, ["1"]);
    let status = host.workload_status("default/w").await.unwrap();
    assert_eq!((status.services[0].restarts, status.services[0].state), (1, ServiceState::Running));
    assert_eq!(status.calls, 0);
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_the_service_alone() {
    let host = counter().await;
    for polls in 0..20 {
        let mut call = Box::pin(host.call_wave("default/w", "it", "count()"));
        for _ in 0..polls % 5 {
            if std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(count(&host).await.len(), 1);
    assert_eq!(host.workload_status("default/w").await.unwrap().services[0].restarts, 0);
    host.shutdown().await;
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
    let host = counter().await;
    let Err(InvokeError::Terminated(error)) = host.entry("default/w", "it").unwrap().invoke(Exclusive).await else {
        panic!("the call was made");
    };
    assert!(error.to_string().contains("is a service"), "{error}");
    assert_eq!(count(&host).await, ["1"]);
}
