// What both guests of messages do: operations of a script, and the handling of a message by its body.

use wasi::keyvalue::{atomics, store};
use wasmcloud::messaging0_2_0::consumer as consumer2;
use wasmcloud::messaging0_3_0::consumer as consumer3;

/// What a handler does with a message.
enum Verdict {
    Done,
    Retry,
    Reject,
}

/// Counts a message, and does what its body says: `trap`, `spin`, `retry`, `reject`, `once`, which fails the first time.
fn handle(subject: &str, body: &[u8], reply_to: Option<String>) -> (Verdict, Option<(String, Vec<u8>)>) {
    let text = String::from_utf8_lossy(body).into_owned();
    let log = store::open("log").unwrap();
    let count = atomics::increment(&log, &format!("{subject}:{}", short(&text)), 1).unwrap();
    let verdict = match text.as_str() {
        "trap" => panic!("the body says so"),
        "spin" => loop {
            std::hint::black_box(0);
        },
        "retry" => Verdict::Retry,
        "reject" => Verdict::Reject,
        "once" if count == 1 => Verdict::Retry,
        _ => Verdict::Done,
    };
    (verdict, reply_to.map(|to| (to, format!("re: {}", short(&text)).into_bytes())))
}

fn short(text: &str) -> String {
    if text.len() > 100 { format!("{} bytes", text.len()) } else { text.to_owned() }
}

fn word(text: &str) -> String {
    match text.strip_prefix('~').and_then(|count| count.parse().ok()) {
        Some(count) => "x".repeat(count),
        None => text.to_owned(),
    }
}

fn error(error: impl std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    format!("error {}", text.split("::").last().unwrap_or_default())
}

/// A stream with these bytes.
fn body(bytes: Vec<u8>) -> wit_bindgen::StreamReader<u8> {
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        writer.write_all(bytes).await;
    });
    reader
}

/// `publish2 SUBJECT BODY [REPLY-TO]`, `request2 SUBJECT BODY MILLIS`, the same with 3, `handled SUBJECT BODY`.
async fn operation(words: &[String]) -> String {
    let bytes = words.get(2).cloned().unwrap_or_default().into_bytes();
    let subject = words.get(1).cloned().unwrap_or_default();
    let more = words.get(3).cloned();
    match words[0].as_str() {
        "publish2" => {
            let message = consumer2::BrokerMessage { subject, body: bytes, reply_to: more };
            consumer2::publish(&message).map_or_else(error, |()| "ok".to_owned())
        }
        "publish3" => {
            let message = consumer3::BrokerMessage { subject, body: body(bytes), reply_to: more };
            consumer3::publish(message).await.map_or_else(error, |()| "ok".to_owned())
        }
        "request2" => {
            let millis = more.and_then(|more| more.parse().ok()).unwrap_or(10_000);
            let reply = consumer2::request(&subject, &bytes, millis);
            reply.map_or_else(error, |reply| String::from_utf8_lossy(&reply.body).into_owned())
        }
        "request3" => {
            let millis = more.and_then(|more| more.parse().ok());
            match consumer3::request(subject, body(bytes), millis).await {
                Ok(reply) => String::from_utf8_lossy(&reply.body.collect().await).into_owned(),
                Err(failed) => error(failed),
            }
        }
        "handled" => {
            let log = store::open("log").unwrap();
            let key = format!("{subject}:{}", short(&words.get(2).cloned().unwrap_or_default()));
            let count = log.get(&key).unwrap();
            count.map_or_else(|| "0".to_owned(), |count| String::from_utf8_lossy(&count).into_owned())
        }
        other => format!("no operation {other}"),
    }
}

async fn script(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<String> = line.split_whitespace().map(word).collect();
        lines.push(operation(&words).await);
    }
    lines.join("\n")
}
