//! Every operation of every generation of the interfaces, from a guest, on the stores that need no server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{check, host, open, start};

/// What a guest sees of a store, whatever its backend is.
const CONTRACT: &str = "
    draft s get a => none
    draft s set a 1 => ok
    draft s get a => 1
    draft2 s get a => 1
    wasmcloud s get a => 1
    draft s exists a => true
    draft s delete a => ok
    draft s delete a => ok
    draft s exists a => false
    wasmcloud s set b 2 => ok
    draft s get b => 2
    draft2 s set b 3 => ok
    wasmcloud s get b => 3
    draft s increment n 4 => 4
    draft2 s increment n -6 => -2
    draft s increment n 1 => error Other(\"the number exceeds 64 bits\")
    wasmcloud s increment n 11 => 10
    wasmcloud s get n => 10
    draft s set-many k1 v1 k2 v2 => ok
    draft s get-many k1 no k2 => k1=v1 none k2=v2
    draft2 s get-many k1 no k2 => k1=v1 no=none k2=v2
    wasmcloud s get-many k1 no => k1=v1 none
    wasmcloud s set-many k3 v3 => ok
    draft s delete-many k1 k2 no => ok
    draft s list => b,k3,n None
    draft2 s list => b,k3,n None
    wasmcloud s list => b,k3,n None
    wasmcloud s list k => k3 None
    wasmcloud s list none-such =>  None
    wasmcloud s set b 4 if-not-exists => ok
    draft s get b => 4
    draft2 s swap b 5 => saw 4
    draft2 s swap b 6 other => saw 5 then other
    draft2 s swap new 1 => saw none
    wasmcloud s current new => 1
    wasmcloud s swap new 2 => swapped
    wasmcloud s swap new 3 2 => swapped
    wasmcloud s swap new 4 2 => stale 3
    wasmcloud s swap gone 4 => stale none
    wasmcloud s swap-any new 9 => error InvalidArgument
    draft s set ~0 empty => ok
    draft s get ~0 => empty
    draft s set void ~0 => ok
    draft s get void => 
    draft s set ../../etc/passwd x => ok
    draft s get ../../etc/passwd => x
    draft s delete ~0 => ok
";

fn contract() -> String {
    // An option is the fourth word of `set`; the word before it is the value.
    CONTRACT.replace(
        "set b 4 if-not-exists => ok",
        "set b 4 if-not-exists => error PreconditionFailed\n    draft s set b 4 => ok",
    )
}

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    let host = host(wharf_stores::Policy::default());
    start(&host, "[keyvalue.s]\nbackend = 'memory'", "['s']").await;
    check(&host, &contract()).await;
}

#[tokio::test]
async fn the_embedded_store_keeps_the_contract_and_the_data() {
    let state = tempfile::tempdir().unwrap();
    {
        let host = host(open(state.path()));
        start(&host, "[keyvalue.s]", "['s']").await;
        check(&host, &contract()).await;
        host.shutdown().await;
    }
    assert!(state.path().join("default/w/keyvalue/s").exists(), "a folder for each workload");
    let host = host(open(state.path()));
    start(&host, "[keyvalue.s]", "['s']").await;
    check(&host, "draft s get b => 6").await;
}

#[tokio::test]
async fn entries_expire() {
    let host = host(wharf_stores::Policy::default());
    start(&host, "[keyvalue.s]\nbackend = 'memory'", "['s']").await;
    check(&host, "wasmcloud s set short v ttl=1 => ok\n wasmcloud s set long v ttl=3600000 => ok").await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while support::run_in(&host, "it", "draft s exists short").await != ["false"] {
        assert!(tokio::time::Instant::now() < deadline, "the entry did not expire");
        tokio::task::yield_now().await;
    }
    check(&host, "draft s exists long => true").await;
}

#[tokio::test]
async fn bad_input_is_a_typed_error() {
    let host = host(wharf_stores::Policy::default());
    let manifest = "[components.it]\nsource = 'GUEST'\nkeyvalue = ['s']\n[components.it.limits]\nmemory = '512MiB'\n\
                    [keyvalue.s]\nbackend = 'memory'\nmax-size = '128MiB'";
    host.workload_start(support::workload(&host, manifest)).await.unwrap();
    check(
        &host,
        "
        draft s set big ~67108864 => ok
        draft s get big => 67108864 bytes
        wasmcloud s set big ~67108865 => error QuotaExceeded
        wasmcloud s set second ~67108864 => error QuotaExceeded
        draft s get big => 67108864 bytes
        draft s delete big => ok
        wasmcloud s set ~1048576 v => error InvalidArgument
        wasmcloud s get ~1048576 => error InvalidArgument
        draft s set text abc => ok
        draft2 s increment text 1 => error Other(\"the value is not an integer of 64 bits in decimal text\")
        wasmcloud s list p not-a-cursor => error InvalidArgument
        draft s open-many 5000 => 5000
        ",
    )
    .await;
}

#[tokio::test]
async fn a_value_beyond_the_guests_memory_is_an_error() {
    let host = host(wharf_stores::Policy::default());
    let manifest = "[components.big]\nsource = 'GUEST'\nkeyvalue = ['s']\n[components.small]\nsource = 'GUEST'\n\
                    keyvalue = ['s']\n[components.small.limits]\nmemory = '4MiB'\n[keyvalue.s]\nbackend = 'memory'";
    host.workload_start(support::workload(&host, manifest)).await.unwrap();
    support::check_in(&host, "big", "draft s set big ~8388608 => ok").await;
    support::check_in(&host, "small", "wasmcloud s get big => error QuotaExceeded\n draft s exists big => true").await;
}

#[tokio::test]
async fn a_listing_goes_on_over_many_pages() {
    let host = host(wharf_stores::Policy::default());
    start(&host, "[keyvalue.s]\nbackend = 'memory'", "['s']").await;
    let script: Vec<_> = (0..2500).map(|i| format!("draft s set key-{i:04} v")).collect();
    support::run_in(&host, "it", &script.join("\n")).await;
    check(&host, "draft s count => 2500").await;
    // A number that no page gave is a position as well.
    let page = support::run_in(&host, "it", "draft s list 2498").await;
    assert_eq!(page, ["key-2498,key-2499 None"]);
}
