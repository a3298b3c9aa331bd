//! A component reaches the stores that it was granted, and no other: by guessing names, by links, or after an update.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{check_in, host, open, run_in, workload};
use wharf::StartError;
use wharf_stores::Policy;

const TWO: &str = "
[components.one]
source = 'GUEST'
keyvalue = ['a']
[components.two]
source = 'GUEST'
keyvalue = { default = 'b', a = 'c' }
[keyvalue.a]
backend = 'memory'
[keyvalue.b]
backend = 'memory'
[keyvalue.c]
backend = 'memory'
";

#[tokio::test]
async fn names_that_are_not_granted_do_not_open() {
    let host = host(Policy::default());
    host.workload_start(workload(&host, TWO)).await.unwrap();
    check_in(
        &host,
        "one",
        "
        draft a set k one => ok
        draft b get k => error NoSuchStore
        draft default get k => error NoSuchStore
        draft2 c get k => error NoSuchStore
        wasmcloud b get k => error NoSuchStore
        wasmcloud ../w/b get k => error NoSuchStore
        wasmcloud ~0 get k => error NoSuchStore
        ",
    )
    .await;
    // `a` is another store to this component.
    check_in(
        &host,
        "two",
        "draft a get k => none\n draft default set k two => ok\n wasmcloud b get k => error NoSuchStore",
    )
    .await;
    check_in(&host, "one", "wasmcloud a get k => one").await;
}

#[tokio::test]
async fn a_cursor_of_another_store_shows_nothing_of_it() {
    let state = tempfile::tempdir().unwrap();
    let embedded = TWO.replace("backend = 'memory'", "");
    for (policy, manifest) in [(Policy::default(), TWO), (open(state.path()), &embedded)] {
        let host = host(policy);
        host.workload_start(workload(&host, manifest)).await.unwrap();
        let many: Vec<_> = (0..1100).map(|number| format!("wasmcloud a set theirs-{number:04} v")).collect();
        run_in(&host, "one", &many.join("\n")).await;
        // Above and below it, so that each order of keys has one after the cursor.
        run_in(&host, "two", "wasmcloud default set mine-1 v\nwasmcloud default set zzz-2 v").await;
        for (theirs, mine) in
            [("wasmcloud a list ~0", "wasmcloud default list ~0"), ("draft2 a list", "draft2 default list")]
        {
            let listed = run_in(&host, "one", theirs).await.remove(0);
            let cursor = listed.split_once("Some(\"").expect("more than a page").1.trim_end_matches("\")");
            let found = run_in(&host, "two", &format!("{mine} {cursor}")).await.remove(0);
            assert!(found.contains("zzz-2") && !found.contains("theirs"), "{mine} {cursor}: {found}");
        }
        host.shutdown().await;
    }
}

fn messages(error: &StartError) -> Vec<String> {
    let StartError::Invalid { problems, .. } = error else { panic!("{error}") };
    problems.iter().map(|problem| format!("{}: {problem} ({})", problem.place(), problem.hint())).collect()
}

async fn refusals(policy: Policy, manifest: &str) -> Vec<String> {
    let host = host(policy);
    let workload = workload(&host, manifest);
    let plan = host.plan(&workload).await;
    assert!(!plan.is_runnable(), "a plan shows what a start refuses");
    messages(&host.workload_start(workload).await.unwrap_err())
}

#[tokio::test]
async fn every_problem_is_found_when_planned() {
    let state = tempfile::tempdir().unwrap();
    let manifest = "
        [components.none]
        source = 'GUEST'
        [components.wrong]
        source = 'GUEST'
        keyvalue = ['sesions', 'sessions', 'typo']
        [keyvalue.sessions]
        backend = 'redis'
        [keyvalue.typo]
        backend = 'reddis'
        [keyvalue.extra]
        backend = 'memory'
        sync = 'always'
        [keyvalue.slow]
        sync = 'sometimes'
        [keyvalue.secret]
        backend = 'redis'
        url = { secret = 'redis-url' }
        [[links]]
        from = 'none'
        import = 'wasmcloud:keyvalue/store'
        to = 'keyvalue:lost'
    ";
    let found = refusals(open(state.path()), manifest).await;
    let expected = [
        "components.none: `none` imports `wasi:keyvalue/store@0.2.0-draft`, but is granted no keyvalue store (grant one by name: `keyvalue = [\"extra\"]` in `[components.none]`)",
        "components.wrong.keyvalue.0: unknown keyvalue store `sesions` (did you mean `sessions`?)",
        "keyvalue.extra.sync: `sync` has no meaning for backend `memory` (remove it; it belongs to `embedded`)",
        "keyvalue.secret.url: unknown secret `redis-url` (add `[secrets.redis-url]`)",
        "keyvalue.sessions.url: missing key `url`, which backend `redis` requires ()",
        "keyvalue.slow.sync: expected `always`, `never` or an interval such as `100ms` for `sync`, found `sometimes` ()",
        "keyvalue.typo.backend: unknown backend `reddis` (known ones are `embedded`, `memory`, `redis`, `nats`)",
        "links.0.to: unknown keyvalue store `lost` (add `[keyvalue.lost]`)",
    ];
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_host_for_others_refuses_servers_and_folders() {
    let manifest = "
        [components.it]
        source = 'GUEST'
        keyvalue = ['a', 'b']
        [keyvalue.a]
        [keyvalue.b]
        backend = 'redis'
        url = 'redis://:hunter2@10.0.0.1'
    ";
    let mut found = refusals(Policy::default(), manifest).await;
    found.sort();
    assert_eq!(
        found,
        [
            "keyvalue.a.backend: this host has no folder for embedded stores (set the host's state folder, or use the backend `memory`)",
            "keyvalue.b.url: this host lets no manifest name a server (the host's operator decides it: `stores` in the host configuration)",
        ]
    );
    let mut policy = Policy::default();
    policy.backends = Some(["embedded".to_owned()].into());
    let found =
        refusals(policy, "[components.it]\nsource = 'GUEST'\nkeyvalue = ['a']\n[keyvalue.a]\nbackend = 'memory'").await;
    assert!(found[0].contains("lets no manifest use the backend `memory`"), "{found:?}");
}

#[tokio::test]
async fn a_host_puts_its_own_store_in_the_place_of_a_declared_one() {
    let memory = wharf_keyvalue::KeyValueStore::new("memory");
    let policy = Policy::default().with_store("a", &memory).unwrap();
    let host = host(policy);
    let manifest =
        "[components.it]\nsource = 'GUEST'\nkeyvalue = ['a']\n[keyvalue.a]\nbackend = 'redis'\nurl = 'redis://nowhere'";
    let workload = workload(&host, manifest);
    let plan = host.plan(&workload).await;
    let grants = &plan.grants[&"it".parse::<wharf::workload::Name>().unwrap()];
    assert_eq!((grants[0].name.as_str(), grants[0].detail.as_str()), ("a", "memory (by the host)"));
    host.workload_start(workload).await.unwrap();
    check_in(&host, "it", "draft a set k v => ok").await;
}

#[tokio::test]
async fn a_plan_never_shows_a_password() {
    let host = host(open(std::path::Path::new("unused")));
    let manifest = "[components.it]\nsource = 'GUEST'\nkeyvalue = ['a']\n[keyvalue.a]\nbackend = 'redis'\nurl = 'redis://u:hunter2@cache:6379/0'";
    let plan = host.plan(&workload(&host, manifest)).await;
    let grants = format!("{:?}", plan.grants);
    assert!(grants.contains("redis at redis://cache:6379") && !grants.contains("hunter2"), "{grants}");
}

#[tokio::test]
async fn a_store_in_memory_outlives_an_update() {
    let host = host(Policy::default());
    let manifest = "[components.it]\nsource = 'GUEST'\nkeyvalue = ['a']\n[keyvalue.a]\nbackend = 'memory'\n";
    host.workload_start(workload(&host, manifest)).await.unwrap();
    check_in(&host, "it", "draft a set k v => ok").await;
    host.workload_update(workload(&host, &manifest.replace("keyvalue = ['a']", "keyvalue = ['a']\nenv = { A = 'b' }")))
        .await
        .unwrap();
    check_in(&host, "it", "draft a get k => v").await;
}
