//! A component that the host provides to workloads: fused into them, with grants of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{open, run_in, script};
use wharf::host::StartError;
use wharf::wasmtime::component::Val;
use wharf::workload::Workload;
use wharf::{Engine, Host};
use wharf_keyvalue::KeyValuePlugin;
use wharf_stores::Policy;

const PROVIDED: &str = "
    name = 'ignored'
    [components.ledger]
    source = 'LEDGER'
    keyvalue = ['ledger']
    [keyvalue.ledger]
";

/// Two components of one workload use the ledger, and one of them has a store.
const USERS: &str = "
    name = 'NAME'
    [components.one]
    source = 'USER'
    keyvalue = ['own']
    [components.two]
    source = 'USER'
    keyvalue = ['own']
    [keyvalue.own]
    backend = 'memory'
";

fn parse(host: &Host, text: &str) -> Workload {
    script::parse(host, text, &[("LEDGER", "ledger"), ("USER", "ledger-user")])
}

fn users(host: &Host, name: &str) -> Workload {
    parse(host, &USERS.replace("NAME", name))
}

fn host(policy: Policy) -> Host {
    let keyvalue = KeyValuePlugin::new(policy);
    Host::builder(Engine::builder().pooling(false).build().unwrap()).plugin(keyvalue).build().unwrap()
}

async fn run(host: &Host, workload: &str, component: &str, script: &str) -> String {
    let arguments = [Val::String(script.to_owned())];
    let results = host.call_values(workload, component, "wharf:stores/script#run", &arguments).await.unwrap();
    let [Val::String(text)] = results.as_slice() else { panic!("{results:?}") };
    text.clone()
}

#[tokio::test]
async fn a_provided_component_serves_workloads_with_grants_of_its_own() {
    let state = tempfile::tempdir().unwrap();
    // Manifests may name no embedded store; the host's own component has one.
    let mut policy = open(state.path());
    policy.backends = Some(["memory".to_owned()].into());
    let host = host(policy);
    host.provide(parse(&host, PROVIDED)).await.unwrap();
    for name in ["a", "b"] {
        host.workload_start(users(&host, name)).await.unwrap();
    }
    assert_eq!(run(&host, "default/a", "one", "note x\nnote x").await, "default/a one 1\ndefault/a one 2");
    assert_eq!(run(&host, "default/a", "two", "note x").await, "default/a two 1");
    assert_eq!(run(&host, "default/b", "one", "note x").await, "default/b one 1");
    // Its store is out of their reach, by whatever name, and theirs is out of its.
    let names = ["ledger", "default", "wharf/provided:ledger", "host-ledger", "ledger-for-one"];
    let script = names.map(|name| format!("open {name}")).join("\n");
    let found = run(&host, "default/a", "one", &script).await;
    assert!(found.lines().all(|line| line.contains("NoSuchStore")), "{found}");
    assert_eq!(run(&host, "default/a", "one", "open own").await, "ok");
    let entries = run(&host, "default/b", "two", "entries").await;
    for entry in ["bound default/a", "bound default/b", "default/a one x", "default/a two x", "default/b one x"] {
        assert!(entries.split(", ").any(|found| found == entry), "{entries}");
    }
    // It hears of their end, and keeps what it has.
    host.workload_stop("default/a").await.unwrap();
    let entries = run(&host, "default/b", "two", "entries").await;
    assert!(entries.contains("unbound default/a") && !entries.contains(", bound default/a"), "{entries}");
    host.workload_start(users(&host, "a")).await.unwrap();
    assert_eq!(run(&host, "default/a", "one", "note x").await, "default/a one 3");
    host.shutdown().await;
}

#[tokio::test]
async fn an_update_keeps_a_workload_bound() {
    let state = tempfile::tempdir().unwrap();
    let host = host(open(state.path()));
    host.provide(parse(&host, PROVIDED)).await.unwrap();
    host.workload_start(users(&host, "a")).await.unwrap();
    let mut next = users(&host, "a");
    next.components.remove("two");
    host.workload_update(next).await.unwrap();
    let entries = run(&host, "default/a", "one", "entries").await;
    assert!(entries.contains("bound default/a") && !entries.contains("unbound"), "{entries}");
}

#[tokio::test]
async fn a_provided_component_may_refuse_a_workload() {
    let state = tempfile::tempdir().unwrap();
    let host = host(open(state.path()));
    host.provide(parse(&host, PROVIDED)).await.unwrap();
    let refused = host.workload_start(users(&host, "unwanted")).await.unwrap_err();
    let StartError::Refused { component, message } = &refused else { panic!("{refused}") };
    assert_eq!((component.as_str(), message.as_str()), ("ledger", "it is unwanted"));
    host.workload_start(users(&host, "wanted")).await.unwrap();
}

#[tokio::test]
async fn a_sibling_is_preferred_to_a_provided_component() {
    let state = tempfile::tempdir().unwrap();
    let host = host(open(state.path()));
    host.provide(parse(&host, PROVIDED)).await.unwrap();
    let mut workload = users(&host, "w");
    let own = parse(&host, &PROVIDED.replace("['ledger']", "{ ledger = 'own' }").replace("ledger]\n", "unused]\n"));
    workload.components.insert("ledger".parse().unwrap(), own.components.into_values().next().unwrap());
    host.workload_start(workload).await.unwrap();
    // A component of a workload is its own caller.
    assert_eq!(run(&host, "default/w", "one", "note x").await, "default/w ledger 1");
    assert_eq!(run_in(&host, "one", "entries").await, ["default/w ledger x"]);
    // Two components of one unit import one interface, and each opens what it was granted.
    let found = run(&host, "default/w", "one", "open own\nopen ledger\nopen unused").await;
    assert_eq!(found.lines().next(), Some("ok"));
    assert!(found.lines().skip(1).all(|line| line.contains("NoSuchStore")), "{found}");
}

#[tokio::test]
async fn what_cannot_be_provided_says_so() {
    let state = tempfile::tempdir().unwrap();
    let host = host(open(state.path()));
    let twice = format!("{PROVIDED}\n[components.other]\nsource = 'LEDGER'\nkeyvalue = ['ledger']\n");
    let Err(StartError::Invalid { problems, .. }) = host.provide(parse(&host, &twice)).await else { panic!() };
    let offered = "`ledger` and `other` offer `wharf:stores/ledger`, and a workload's import can have one of them";
    assert!(problems.iter().any(|problem| problem.to_string() == offered), "{problems:?}");
    let mut calls = parse(&host, PROVIDED);
    let calling = wat::parse_str(
        r#"(component
            (type $call (instance (export "callable" (func (result (list string))))))
            (import "wasmcloud:host/workload-call@0.1.3" (instance (type $call))))"#,
    );
    let calling = wharf::workload::manifest::Component::from_bytes(calling.unwrap());
    calls.components.insert("calls".parse().unwrap(), calling);
    let Err(StartError::Invalid { problems, .. }) = host.provide(calls).await else { panic!() };
    let hint = problems.iter().find(|p| p.to_string().contains("workload-call")).unwrap().hint();
    assert!(hint.contains("cannot call a workload"), "{hint}");
    // A workload cannot pass for the host's own.
    let mut workload = users(&host, "w");
    workload.namespace = "wharf".parse().unwrap();
    let Err(StartError::Invalid { problems, .. }) = host.workload_start(workload).await else { panic!() };
    assert!(problems.iter().any(|problem| problem.place() == "namespace"), "{problems:?}");
    host.provide(parse(&host, PROVIDED)).await.unwrap();
    assert!(matches!(host.provide(parse(&host, PROVIDED)).await, Err(StartError::AlreadyRunning { .. })));
}
