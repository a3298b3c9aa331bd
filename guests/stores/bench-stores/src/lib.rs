//! Loops of calls, for benchmarks.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

wit_bindgen::generate!({ path: "../wit/bench.wit", world: "bench-stores", generate_all });

use exports::wharf::stores::bench::Guest;
use wasi::keyvalue::store::open;
use wasmcloud::keyvalue::store;

struct Bench;

export!(Bench);

impl Guest for Bench {
    fn empty(count: u32) {
        for _ in 0..count {
            wasi::random::insecure::get_insecure_random_u64();
        }
    }

    fn gets(count: u32) {
        let bucket = open("default").unwrap();
        bucket.set("key", &[7; 100]).unwrap();
        for _ in 0..count {
            assert!(bucket.get("key").unwrap().is_some());
        }
    }

    async fn sets(count: u32, parallel: u32, size: u32) {
        let bucket = &store::open("default".to_owned()).await.unwrap();
        let writer = |first: u32| async move {
            for number in (first..count).step_by(parallel as usize) {
                bucket.set(format!("key {number}"), vec![7; size as usize], None).await.unwrap();
            }
        };
        // It polls only the writers whose write has ended.
        let writers: FuturesUnordered<_> = (0..parallel).map(writer).collect();
        writers.collect::<()>().await;
    }
}
