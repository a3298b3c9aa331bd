//! Opens buckets through labelled imports, and reveals secrets. A line is `sessions OPERATION NAME KEY [VALUE]` or the same for `cache`,
//! `secret NAME`, `api-key` or `config KEY`.

wit_bindgen::generate!({ path: "../wit/labels.wit", world: "labels", generate_all });

use exports::wharf::stores::script::Guest;
use wasmcloud::keyvalue::atomics;
use wasmcloud::keyvalue::types::{Bucket, Error};
use wasmcloud::secrets::reveal::{Secret, SecretValue, reveal};

struct Labels;

export!(Labels);

async fn operate(bucket: Result<Bucket, Error>, operation: &str, key: &str, value: &str) -> Result<String, Error> {
    let bucket = bucket?;
    match operation {
        "set" => bucket.set(key.to_owned(), value.as_bytes().to_vec(), None).await.map(|()| "ok".to_owned()),
        "get" => {
            let value = bucket.get(key.to_owned()).await?;
            Ok(value.map_or_else(|| "none".to_owned(), |value| String::from_utf8_lossy(&value).into_owned()))
        }
        // The plain interface takes buckets of every label.
        "count" => atomics::increment(&bucket, key.to_owned(), 1).await.map(|count| count.to_string()),
        _ => bucket.list_keys(None, None).await.map(|page| page.keys.join(",")),
    }
}

async fn revealed(secret: &Secret) -> String {
    match reveal(secret).await {
        SecretValue::String(text) => text,
        SecretValue::Bytes(bytes) => format!("{bytes:?}"),
    }
}

async fn run(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().chain(["", "", "", ""]).collect();
    let [what, operation, name, key, value] = [words[0], words[1], words[2], words[3], words[4]];
    let shown = |outcome: Result<String, Error>| outcome.unwrap_or_else(|error| format!("{error:?}"));
    match what {
        "sessions" => shown(operate(sessions::open(name.to_owned()).await, operation, key, value).await),
        "cache" => shown(operate(cache::open(name.to_owned()).await, operation, key, value).await),
        "api-key" => revealed(&api_key::get().await).await,
        "config" => format!("{:?}", wasi::config::store::get(operation)),
        _ => match wasmcloud::secrets::store::get(operation.to_owned()).await {
            Ok(secret) => revealed(&secret).await,
            Err(error) => format!("{error:?}"),
        },
    }
}

impl Guest for Labels {
    async fn run(script: String) -> String {
        let mut outcomes = Vec::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            outcomes.push(run(line).await);
        }
        outcomes.join("\n")
    }
}
