//! The cache of compiled code: found again, bounded, its owner's alone, and never trusted when it is damaged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wharf::Engine;
use wharf::engine::cache::Cache;

fn component(n: u32) -> Arc<[u8]> {
    let text = format!(
        r#"(component (core module $m (func (export "f") (result i32) (i32.const {n})))
            (core instance $i (instantiate $m)) (func (export "f") (result u32) (canon lift (core func $i "f"))))"#
    );
    wat::parse_str(text).unwrap().into()
}

fn engine(folder: &Path, max_bytes: u64) -> Engine {
    Engine::builder().pooling(false).cache(folder, max_bytes).build().unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

async fn compile(engine: &Engine, n: u32) -> u32 {
    let compiled = engine.compiler().compile(component(n)).await.unwrap();
    let component = compiled.get().unwrap();
    let mut store = wasmtime::Store::new(engine.wasmtime(), ());
    store.set_epoch_deadline(1);
    let linker = wasmtime::component::Linker::new(engine.wasmtime());
    let instance = linker.instantiate_async(&mut store, component).await.unwrap();
    let f = instance.get_typed_func::<(), (u32,)>(&mut store, "f").unwrap();
    f.call_async(&mut store, ()).await.unwrap().0
}

#[tokio::test]
async fn what_was_compiled_is_found_again() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("deep/compiled");
    assert_eq!(compile(&engine(&folder, u64::MAX), 1).await, 1);
    let kept = files(&folder);
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&kept[0]).unwrap().permissions().mode() & 0o077, 0);
    // Had it been compiled again, it would have been written again.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(compile(&engine(&folder, u64::MAX), 1).await, 1);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    // Other settings of the engine are other code.
    let other = Engine::builder().pooling(false).inlining(true).cache(&folder, u64::MAX).build().unwrap();
    assert_eq!(compile(&other, 1).await, 1);
    assert_eq!(files(&folder).len(), 2);
}

#[tokio::test]
async fn a_damaged_entry_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    compile(&engine(folder.path(), u64::MAX), 1).await;
    let file = files(folder.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    for damage in [flipped, whole[..whole.len() / 2].to_vec(), b"short".to_vec(), Vec::new(), vec![0; whole.len()]] {
        fs::write(&file, damage).unwrap();
        assert_eq!(compile(&engine(folder.path(), u64::MAX), 1).await, 1);
        assert_eq!(fs::read(&file).unwrap().len(), whole.len(), "and written again");
    }
}

#[tokio::test]
async fn the_cache_stays_within_its_bounds() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    compile(&engine(folder.path(), u64::MAX), 0).await;
    let one = fs::metadata(&files(folder.path())[0]).unwrap().len();
    let bounded = engine(folder.path(), one * 3 + one / 2);
    for n in 1..10 {
        compile(&bounded, n).await;
    }
    assert!(files(folder.path()).len() <= 3, "{:?}", files(folder.path()));
    let cache = Cache::open(folder.path(), 0).unwrap();
    assert!(cache.size().unwrap() <= one * 3 + one / 2);
    assert!(cache.clear().unwrap() > 0);
    assert_eq!(files(folder.path()).len(), 0);
}

#[tokio::test]
async fn a_folder_that_others_can_write_to_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Cache::open(folder.path(), 1).is_none());
    assert_eq!(compile(&engine(folder.path(), u64::MAX), 1).await, 1, "it compiles all the same");
    assert!(files(folder.path()).is_empty());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(Cache::open(&file, 1).is_none());
}

#[tokio::test]
async fn a_folder_that_others_can_replace_is_not_used() {
    let home = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let above = home.path().join("above");
    let folder = above.join("between/compiled");
    assert!(Cache::open(&folder, 1).is_some());
    for open in [0o777, 0o775, 0o757] {
        mode(&above, open);
        assert!(Cache::open(&folder, 1).is_none(), "{open:o}");
        assert_eq!(compile(&engine(&folder, u64::MAX), 1).await, 1, "it compiles all the same");
        assert!(files(&folder).is_empty());
    }
    mode(&above, 0o1777);
    assert!(Cache::open(&folder, 1).is_some(), "in a sticky folder only its owner moves an entry");
    mode(&above, 0o755);
    // A symbolic link in an open folder leads to where it led when the cache was opened.
    let open = home.path().join("open");
    fs::create_dir(&open).unwrap();
    let link = open.join("link");
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    mode(&open, 0o777);
    let cache = Cache::open(&link, 1).unwrap();
    assert_eq!(cache.folder(), fs::canonicalize(&folder).unwrap());
}

#[tokio::test]
async fn identical_components_are_compiled_once() {
    let engine = Engine::builder().pooling(false).build().unwrap();
    let compiler = engine.compiler();
    let (a, b) = tokio::join!(compiler.compile(component(1)), compiler.compile(component(1)));
    assert!(Arc::ptr_eq(&a.unwrap(), &b.unwrap()));
}
