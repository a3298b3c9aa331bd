//! Components that a host provides: which of them an import gets, whatever the names are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use wharf::workload::Workload;
use wharf::workload::manifest::Component;
use wharf::{Engine, Host, StartError};

fn component(text: &str) -> Component {
    Component::from_bytes(wat::parse_str(text).unwrap())
}

/// Exports interfaces whose function `n` gives a number each.
fn numbers(exports: &[(&str, u32)]) -> Component {
    let export = |(i, (interface, number)): (usize, &(&str, u32))| {
        format!(
            r#"(core module $m{i} (func (export "n") (result i32) (i32.const {number})))
            (core instance $i{i} (instantiate $m{i}))
            (func $n{i} (result u32) (canon lift (core func $i{i} "n")))
            (instance $e{i} (export "n" (func $n{i})))
            (export "{interface}" (instance $e{i}))"#
        )
    };
    component(&format!("(component {})", exports.iter().enumerate().map(export).collect::<String>()))
}

/// A piece of text for each import, by its index.
fn each(imports: &[&str], piece: impl Fn(usize) -> String) -> String {
    (0..imports.len()).map(piece).collect()
}

/// Adds the numbers of the interfaces that it imports; exports the sum as `n` of an interface, or as `n` itself.
fn sum(imports: &[&str], export: Option<&str>) -> Component {
    let import = |(i, interface): (usize, &&str)| {
        format!(
            r#"(import "{interface}" (instance $j{i} (export "n" (func (result u32)))))
            (core func $c{i} (canon lower (func $j{i} "n")))"#
        )
    };
    let fields = each(imports, |i| format!(r#"(export "n{i}" (func $c{i}))"#));
    let declared = each(imports, |i| format!(r#"(import "" "n{i}" (func $n{i} (result i32)))"#));
    let calls = each(imports, |i| format!("(i32.add (call $n{i}))"));
    let exported = match export {
        Some(interface) => {
            format!(r#"(instance $e (export "n" (func $n))) (export "{interface}" (instance $e))"#)
        }
        None => r#"(export "n" (func $n))"#.to_owned(),
    };
    component(&format!(
        r#"(component
            {}
            (core instance $host {fields})
            (core module $m {declared} (func (export "n") (result i32) (i32.const 0) {calls}))
            (core instance $i (instantiate $m (with "" (instance $host))))
            (func $n (result u32) (canon lift (core func $i "n")))
            {exported})"#,
        imports.iter().enumerate().map(import).collect::<String>()
    ))
}

fn workload(name: &str, components: &[(&str, Component)]) -> Workload {
    components.iter().cloned().fold(Workload::new(name.parse().unwrap()), |workload, (name, component)| {
        workload.with_component(name.parse().unwrap(), component)
    })
}

fn host() -> Host {
    Host::builder(Engine::builder().pooling(false).build().unwrap()).build().unwrap()
}

const J: &str = "acme:a/j@1.0.0";
const K: &str = "acme:a/k@1.0.0";

#[tokio::test]
async fn names_of_a_workload_do_not_change_what_its_imports_get() {
    let host = host();
    // `guard` stands in front of the `j` of `host-guard`.
    let guard = ("guard", sum(&[J], Some(J)));
    let provided = workload(
        "p",
        &[guard, ("host-guard", numbers(&[(J, 1), (K, 10)])), ("x-for-web", numbers(&[("acme:a/l@1.0.0", 100)]))],
    );
    host.provide(provided).await.unwrap();
    let web = ("web", sum(&[J, K, "acme:a/l@1.0.0"], None));
    let other = |name: &'static str| (name, numbers(&[("acme:b/unused@1.0.0", 7)]));
    for (name, more) in [
        ("plain", vec![]),
        ("one", vec![other("host-guard")]),
        ("two", vec![other("host-guard"), other("host-host-guard"), other("host-x-for-web")]),
    ] {
        let components: Vec<_> = std::iter::once(web.clone()).chain(more).collect();
        let workload = workload(name, &components);
        let plan = host.plan(&workload).await;
        assert!(plan.is_runnable(), "{:?}", plan.problems);
        let providers: Vec<_> = plan.resolution.components["web"]
            .iter()
            .map(|import| plan.resolution.provided[import.provider.component().unwrap().0].component.to_string())
            .collect();
        assert_eq!(providers, ["guard", "host-guard", "x-for-web"], "{name}");
        host.workload_start(workload).await.unwrap();
        assert_eq!(host.call_wave(&format!("default/{name}"), "web", "n()").await.unwrap(), ["111"]);
    }
    host.shutdown().await;
}

async fn problems(provided: Workload) -> Vec<String> {
    match host().provide(provided).await {
        Err(StartError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_interface_has_one_provider_in_every_version() {
    let two = [("one", numbers(&[(J, 1)])), ("two", numbers(&[("acme:a/j@1.2.0", 2)]))];
    let found = problems(workload("p", &two)).await;
    assert_eq!(found, ["`one` and `two` offer `acme:a/j`, and a workload's import can have one of them"]);
    // Another track is another interface.
    host()
        .provide(workload("p", &[("one", numbers(&[(J, 1)])), ("two", numbers(&[("acme:a/j@2.0.0", 2)]))]))
        .await
        .unwrap();
    let circle = [("a", sum(&[J], Some(K))), ("b", sum(&[K], Some(J)))];
    let found = problems(workload("p", &circle)).await;
    assert!(found.iter().any(|problem| problem.contains("cyclic imports")), "{found:?}");
}

/// Exports the lifecycle's interface, and a number.
fn hearing(interface: &str) -> Component {
    component(&format!(
        r#"(component
            (core module $m (func (export "n") (result i32) (i32.const 1)))
            (core instance $i (instantiate $m))
            (func $n (result u32) (canon lift (core func $i "n")))
            (instance $e (export "n" (func $n)))
            (export "{interface}" (instance $e))
            (export "wasmcloud:host/workload-lifecycle@0.1.3" (instance $e)))"#
    ))
}

#[tokio::test]
async fn no_workload_gets_what_the_host_calls() {
    let host = host();
    let provided = workload("p", &[("one", hearing(J)), ("two", hearing(K))]);
    host.provide(provided).await.expect("any number of components hear of workloads");
    let forger = workload("w", &[("web", sum(&["wasmcloud:host/workload-lifecycle@0.1.3"], None))]);
    let plan = host.plan(&forger).await;
    assert!(!plan.is_runnable());
    assert!(plan.problems[0].to_string().contains("nothing satisfies"), "{:?}", plan.problems);
}
