//! Runs operations on key-value stores: a line is `GENERATION STORE OPERATION ARGUMENT…`, where a generation is `draft`, `draft2` or
//! `wasmcloud`. An argument `~8` is eight times `x`, and `~0` is nothing.

use std::fmt::Debug;

wit_bindgen::generate!({ path: "../wit/keyvalue.wit", world: "keyvalue", generate_all });

use wasi::keyvalue0_2_0_draft as draft;
use wasi::keyvalue0_2_0_draft2 as draft2;
use wasmcloud::keyvalue as cloud;

struct Keyvalue;

export!(Keyvalue);

impl exports::wharf::stores::script::Guest for Keyvalue {
    async fn run(script: String) -> String {
        let mut lines = Vec::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<String> = line.split_whitespace().map(word).collect();
            lines.push(match words[0].as_str() {
                "draft" => in_draft(&words[1..]),
                "draft2" => in_draft2(&words[1..]),
                _ => in_cloud(&words[1..]).await,
            });
        }
        lines.join("\n")
    }
}

fn word(text: &str) -> String {
    match text.strip_prefix('~').and_then(|count| count.parse().ok()) {
        Some(count) => "x".repeat(count),
        None => text.to_owned(),
    }
}

fn error(error: impl Debug) -> String {
    let text = format!("{error:?}");
    let name = text.split("::").last().unwrap_or_default();
    format!("error {name}")
}

fn show(value: Option<Vec<u8>>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| short(&value))
}

fn short(value: &[u8]) -> String {
    if value.len() > 100 { format!("{} bytes", value.len()) } else { String::from_utf8_lossy(value).into_owned() }
}

fn done<T, E: Debug>(result: Result<T, E>, show: impl FnOnce(T) -> String) -> String {
    result.map_or_else(error, show)
}

fn ok<T>(_: T) -> String {
    "ok".to_owned()
}

fn pairs(words: &[String]) -> Vec<(String, Vec<u8>)> {
    words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone().into_bytes())).collect()
}

fn in_draft(words: &[String]) -> String {
    let bucket = match draft::store::open(&words[0]) {
        Ok(bucket) => bucket,
        Err(failed) => return error(failed),
    };
    let key = words.get(2).map_or("", String::as_str);
    match words[1].as_str() {
        "open" => "ok".to_owned(),
        "open-many" => {
            let count: usize = key.parse().unwrap();
            let all: Result<Vec<_>, _> = (0..count).map(|_| draft::store::open(&words[0])).collect();
            done(all, |all| all.len().to_string())
        }
        "get" => done(bucket.get(key), show),
        "set" => done(bucket.set(key, words[3].as_bytes()), ok),
        "delete" => done(bucket.delete(key), ok),
        "exists" => done(bucket.exists(key), |there| there.to_string()),
        "list" => done(bucket.list_keys(key.parse().ok()), |page| format!("{} {:?}", sorted(page.keys), page.cursor)),
        "count" => {
            let (mut cursor, mut count) = (None, 0);
            loop {
                match bucket.list_keys(cursor) {
                    Ok(page) => {
                        count += page.keys.len();
                        cursor = page.cursor;
                    }
                    Err(failed) => return error(failed),
                }
                if cursor.is_none() {
                    return count.to_string();
                }
            }
        }
        "increment" => {
            done(draft::atomics::increment(&bucket, key, words[3].parse().unwrap()), |sum| sum.to_string())
        }
        "get-many" => done(draft::batch::get_many(&bucket, &words[2..]), |all| {
            let all: Vec<_> = all.into_iter().map(|one| one.map_or("none".into(), |(k, v)| format!("{k}={}", short(&v)))).collect();
            all.join(" ")
        }),
        "set-many" => done(draft::batch::set_many(&bucket, &pairs(&words[2..])), ok),
        "delete-many" => done(draft::batch::delete_many(&bucket, &words[2..]), ok),
        other => format!("no operation {other}"),
    }
}

fn sorted(mut keys: Vec<String>) -> String {
    keys.sort();
    keys.join(",")
}

fn in_draft2(words: &[String]) -> String {
    let bucket = match draft2::store::open(&words[0]) {
        Ok(bucket) => bucket,
        Err(failed) => return error(failed),
    };
    let key = words.get(2).map_or("", String::as_str);
    match words[1].as_str() {
        "get" => done(bucket.get(key), show),
        "set" => done(bucket.set(key, words[3].as_bytes()), ok),
        "list" => done(bucket.list_keys(words.get(2).map(String::as_str)), |page| {
            format!("{} {:?}", sorted(page.keys), page.cursor)
        }),
        "increment" => {
            done(draft2::atomics::increment(&bucket, key, words[3].parse().unwrap()), |sum| sum.to_string())
        }
        "get-many" => done(draft2::batch::get_many(&bucket, &words[2..]), |all| {
            let all: Vec<_> = all.into_iter().map(|(k, v)| format!("{k}={}", show(v))).collect();
            all.join(" ")
        }),
        // Reads the key, has it written by others in between, and swaps until it succeeds.
        "swap" => {
            let mut cas = match draft2::atomics::Cas::new(&bucket, key) {
                Ok(cas) => cas,
                Err(failed) => return error(failed),
            };
            if let Some(meanwhile) = words.get(4) {
                if let Err(failed) = bucket.set(key, meanwhile.as_bytes()) {
                    return error(failed);
                }
            }
            let mut seen = Vec::new();
            loop {
                seen.push(done(cas.current(), show));
                match draft2::atomics::swap(cas, words[3].as_bytes()) {
                    Ok(()) => return format!("saw {}", seen.join(" then ")),
                    Err(draft2::atomics::CasError::CasFailed(again)) => cas = again,
                    Err(draft2::atomics::CasError::StoreError(failed)) => return error(failed),
                }
            }
        }
        other => format!("no operation {other}"),
    }
}

async fn in_cloud(words: &[String]) -> String {
    let bucket = match cloud::store::open(words[0].clone()).await {
        Ok(bucket) => bucket,
        Err(failed) => return error(failed),
    };
    let key = words.get(2).cloned().unwrap_or_default();
    match words[1].as_str() {
        "get" => done(bucket.get(key).await, show),
        "set" => {
            let ttl_ms = words.get(4).and_then(|word| word.strip_prefix("ttl=")).and_then(|ttl| ttl.parse().ok());
            let if_not_exists = words.iter().any(|word| word == "if-not-exists");
            let options = (ttl_ms.is_some() || if_not_exists)
                .then_some(cloud::types::SetOptions { ttl_ms, if_not_exists });
            done(bucket.set(key, words[3].clone().into_bytes(), options).await, ok)
        }
        "delete" => done(bucket.delete(key).await, ok),
        "exists" => done(bucket.exists(key).await, |there| there.to_string()),
        "list" => done(bucket.list_keys(words.get(2).cloned(), words.get(3).cloned()).await, |page| {
            format!("{} {:?}", sorted(page.keys), page.cursor)
        }),
        "increment" => done(cloud::atomics::increment(&bucket, key, words[3].parse().unwrap()).await, |sum| sum.to_string()),
        "current" => done(cloud::cas::current(&bucket, key).await, |entry| show(entry.map(|entry| entry.value))),
        // `swap KEY NEW` with the version that it reads, `swap KEY NEW VALUE` with that value, `swap-any` with neither.
        "swap" | "swap-any" => {
            let require_value = words.get(4).map(|value| value.clone().into_bytes());
            let version = match cloud::cas::current(&bucket, key.clone()).await {
                Ok(entry) => entry.map(|entry| entry.version),
                Err(failed) => return error(failed),
            };
            let wants_version = words[1] == "swap" && require_value.is_none();
            let require_version = wants_version.then(|| version.unwrap_or_else(|| "none".to_owned()));
            let options = cloud::cas::CasOptions { require_version, require_value };
            done(cloud::cas::swap(&bucket, key, words[3].clone().into_bytes(), options).await, |outcome| match outcome {
                cloud::cas::CasResult::Swapped => "swapped".to_owned(),
                cloud::cas::CasResult::Stale(entry) => format!("stale {}", show(entry.map(|entry| entry.value))),
            })
        }
        "get-many" => done(cloud::batch::get_many(&bucket, words[2..].to_vec()).await, |all| {
            let all: Vec<_> = all.into_iter().map(|one| one.map_or("none".into(), |(k, v)| format!("{k}={}", short(&v)))).collect();
            all.join(" ")
        }),
        "set-many" => done(cloud::batch::set_many(&bucket, pairs(&words[2..])).await, ok),
        other => format!("no operation {other}"),
    }
}
