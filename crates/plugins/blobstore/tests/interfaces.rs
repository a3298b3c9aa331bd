//! Every operation of both generations of the interfaces, from a guest, on the stores that need no server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{check, check_in, host, open, run_in, start, workload};
use wharf_stores::Policy;

/// What a guest sees of a store, whatever its backend is.
const CONTRACT: &str = "
    draft s exists => true
    draft s put a hello => ok
    wasmcloud s get a => hello
    wasmcloud s put a hi => ok
    draft s get a => hi
    draft s put-after b later => ok
    draft s get b => later
    draft s put-half a never => ok
    draft s get a => hi
    draft s size a => 2
    wasmcloud s size a => 2
    wasmcloud s has none => false
    draft s has a => true
    wasmcloud s get none => error NoSuchObject
    draft s get none => error no such object
    draft s get-range b 1 3 => 3 ate
    wasmcloud s get-range b 3 100 => er
    draft s get-range b 9 100 => 0
    wasmcloud s put empty ~0 => ok
    draft s get empty => 
    wasmcloud s put ../../etc/passwd x => ok
    draft s get ../../etc/passwd => x
    wasmcloud s put a/b/c nested => ok
    wasmcloud s put ~1024 long => ok
    draft s delete ~1024 => ok
    draft s put ~1025 x => error the name of an object has 1025 bytes, more than 1024
    draft s list => ../../etc/passwd,a,a/b/c,b,empty
    wasmcloud s list => ../../etc/passwd,a,a/b/c,b,empty
    draft s copy a s:copied => ok
    wasmcloud s move copied s:moved => ok
    draft s get moved => hi
    draft s has copied => false
    wasmcloud s move moved s:moved => ok
    wasmcloud s get moved => hi
    draft s delete a none => ok
    draft s has a => false
    wasmcloud s create => error ContainerAlreadyExists
    draft s create => s
    wasmcloud s put big ~3000000 => ok
    draft s read big => 3000000 bytes
    wasmcloud s read big => 3000000 bytes
    draft s clear => ok
    wasmcloud s list => 
    draft s remove => ok
    draft s exists => false
    wasmcloud s list => error NoSuchContainer
    wasmcloud s create => s
    draft s put kept value => ok
";

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    let host = host(Policy::default());
    start(&host, "[blobstore.s]\nbackend = 'memory'", "['s']").await;
    check(&host, CONTRACT).await;
}

#[tokio::test]
async fn the_folder_keeps_the_contract_and_the_data() {
    let state = tempfile::tempdir().unwrap();
    {
        let host = host(open(state.path()));
        start(&host, "[blobstore.s]", "['s']").await;
        check(&host, CONTRACT).await;
        host.shutdown().await;
    }
    let host = host(open(state.path()));
    start(&host, "[blobstore.s]", "['s']").await;
    check(&host, "draft s get kept => value").await;
}

#[tokio::test]
async fn a_guest_that_dies_leaves_no_half_object() {
    let state = tempfile::tempdir().unwrap();
    let host = host(open(state.path()));
    start(&host, "[blobstore.s]", "['s']").await;
    check(&host, "draft s put a whole => ok").await;
    let script = wharf::wasmtime::component::Val::String("draft s put-trap a half".to_owned());
    host.call_values("default/w", "it", "wharf:stores/script#run", &[script]).await.unwrap_err();
    check(&host, "draft s get a => whole\n draft s list => a").await;
}

#[tokio::test]
async fn a_component_reaches_the_containers_that_it_was_granted() {
    let host = host(Policy::default());
    let manifest = "
        [components.one]
        source = 'GUEST'
        blobstore = ['a']
        [components.two]
        source = 'GUEST'
        blobstore = { mine = 'b', a = 'c' }
        [blobstore.a]
        backend = 'memory'
        [blobstore.b]
        backend = 'memory'
        [blobstore.c]
        backend = 'memory'
    ";
    host.workload_start(workload(&host, manifest)).await.unwrap();
    check_in(
        &host,
        "one",
        "
        draft a put k one => ok
        draft b exists => false
        wasmcloud b exists => false
        draft b list => error access denied: the component was granted no container `b`
        wasmcloud b create => error AccessDenied
        wasmcloud ../a list => error AccessDenied
        wasmcloud a copy k b:stolen => error AccessDenied
        draft b copy k a:stolen => error access denied: the component was granted no container `b`
        ",
    )
    .await;
    check_in(
        &host,
        "two",
        "draft a has k => false\n wasmcloud mine put k two => ok\n draft mine move k a:k => ok\n draft a get k => two",
    )
    .await;
}

#[tokio::test]
async fn memory_stays_flat_while_large_objects_stream() {
    let state = tempfile::tempdir().unwrap();
    let host = host(open(state.path()));
    let manifest = "[components.it]\nsource = 'GUEST'\nblobstore = ['s']\n[components.it.limits]\nmemory = '8MiB'\n[blobstore.s]\nsync = false";
    host.workload_start(workload(&host, manifest)).await.unwrap();
    let before = peak_memory();
    check(&host, "wasmcloud s stream big 268435456 => ok\n wasmcloud s read big => 268435456 bytes\n draft s read big => 268435456 bytes")
        .await;
    // The guest cannot hold it, and neither does the host.
    let found = run_in(&host, "it", "draft s get big").await;
    assert!(found[0].contains("more than the memory limit"), "{found:?}");
    let grown = peak_memory() - before;
    assert!(grown < 64 << 20, "the peak grew by {grown} bytes");
}

/// The largest resident size of this process so far, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
