//! Notes each change of a key `in:…` under `cloud:…` of the same bucket, through `wasmcloud:keyvalue/watcher`.

wit_bindgen::generate!({ path: "../wit/watcher.wit", world: "watcher-cloud", generate_all });

use exports::wasmcloud::keyvalue::watcher::{Bucket, Guest};

struct Watcher;

export!(Watcher);

impl Guest for Watcher {
    async fn on_set(bucket: Bucket, key: String, value: Vec<u8>) {
        bucket.set(key.replacen("in:", "cloud:", 1), value, None).await.unwrap();
    }

    async fn on_delete(bucket: Bucket, key: String) {
        bucket.set(key.replacen("in:", "cloud:", 1), b"deleted".to_vec(), None).await.unwrap();
    }
}
