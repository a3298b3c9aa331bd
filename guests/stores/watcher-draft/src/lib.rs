//! Notes each change of a key `in:…` under `draft:…` of the same bucket, through `wasi:keyvalue/watcher`.

wit_bindgen::generate!({ path: "../wit/watcher.wit", world: "watcher-draft", generate_all });

use exports::wasi::keyvalue::watcher::{Bucket, Guest};

struct Watcher;

export!(Watcher);

impl Guest for Watcher {
    fn on_set(bucket: Bucket, key: String, value: Vec<u8>) {
        bucket.set(&key.replacen("in:", "draft:", 1), &value).unwrap();
    }

    fn on_delete(bucket: Bucket, key: String) {
        bucket.set(&key.replacen("in:", "draft:", 1), b"deleted").unwrap();
    }
}
