//! Takes from its host what the path asks for: time, memory, stack, output, logs. WASI 0.3.

use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::clocks::monotonic_clock::{self, wait_for};
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};
use wit_bindgen::{StreamReader, StreamResult, StreamWriter, spawn_local};

include!("../../../shared/target.rs");
include!("../../../shared/abuse.rs");

wasip3::http::service::export!(Abuse);

struct Abuse;

const CHUNK: usize = 64 * 1024;
const MILLISECOND: u64 = 1_000_000;

impl wasip3::exports::http::handler::Guest for Abuse {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static BACKGROUND: AtomicU32 = AtomicU32::new(0);
        let target = request.get_path_with_query().unwrap_or_default();
        let ms = number(&target, "ms");
        Ok(match path_of(&target) {
            "/hello" => text("hello"),
            "/count" => text((COUNT.fetch_add(1, Ordering::Relaxed) + 1).to_string()),
            "/spin" => spin(),
            "/spin-late" => {
                wait_for(ms.unwrap_or(0) * MILLISECOND).await;
                spin()
            }
            "/spin-after" => {
                let (mut body, response) = begin(Some(2));
                spawn_local(async move {
                    body.write_all(b"ok".to_vec()).await;
                    drop(body);
                    match ms {
                        Some(ms) => compute(ms, monotonic_clock::now),
                        None => spin(),
                    }
                });
                response
            }
            "/sleep-after" => {
                spawn_local(wait_for(ms.unwrap_or(0) * MILLISECOND));
                text("ok")
            }
            "/sleep" => {
                wait_for(ms.unwrap_or(0) * MILLISECOND).await;
                text("slept")
            }
            "/drip" => {
                let (mut body, response) = begin(None);
                spawn_local(async move {
                    while body.write_all(vec![b'x'; 10]).await.is_empty() {
                        wait_for(20 * MILLISECOND).await;
                    }
                });
                response
            }
            "/alloc" => text(hoard().to_string()),
            "/stack" => text(recurse(0).to_string()),
            "/unreachable" => trap(),
            "/output" => output(number(&target, "bytes").unwrap_or(u64::MAX)),
            "/ignore-body" => text("ignored"),
            "/read-body" => {
                let (mut from, mut length) = (contents(request), 0);
                while let Some(bytes) = next(&mut from).await {
                    length += bytes.len();
                }
                text(length.to_string())
            }
            "/echo" => {
                let mut from = contents(request);
                let (mut body, response) = begin(None);
                spawn_local(async move {
                    while let Some(bytes) = next(&mut from).await {
                        if !body.write_all(bytes).await.is_empty() {
                            return;
                        }
                    }
                });
                response
            }
            "/log" => text(log(number(&target, "n").unwrap_or(1)).await),
            "/trap-mid" => {
                let (mut body, response) = begin(None);
                spawn_local(async move {
                    body.write_all(vec![b'x'; 1000]).await;
                    // Long enough that the client has these by then.
                    wait_for(50 * MILLISECOND).await;
                    trap()
                });
                response
            }
            "/background" => {
                spawn_local(async {
                    wait_for(50 * MILLISECOND).await;
                    BACKGROUND.fetch_add(1, Ordering::Relaxed);
                });
                text("started")
            }
            "/background-count" => text(BACKGROUND.load(Ordering::Relaxed).to_string()),
            _ => {
                let response = text("no such abuse");
                response.set_status_code(404).unwrap();
                response
            }
        })
    }
}

/// An answer, and where its body is written to.
fn begin(length: Option<usize>) -> (StreamWriter<u8>, Response) {
    let headers = Fields::new();
    if let Some(length) = length {
        headers.append("content-length", length.to_string().as_bytes()).unwrap();
    }
    let (body, contents) = wit_stream::new();
    let (trailers, trailing) = wit_future::new(|| Ok(None));
    drop(trailers);
    (body, Response::new(headers, Some(contents), trailing).0)
}

fn text(text: impl Into<Vec<u8>>) -> Response {
    let text = text.into();
    let (mut body, response) = begin(Some(text.len()));
    spawn_local(async move {
        body.write_all(text).await;
    });
    response
}

fn output(mut left: u64) -> Response {
    let (mut body, response) = begin(None);
    spawn_local(async move {
        while left > 0 {
            let now = left.min(CHUNK as u64);
            if !body.write_all(vec![b'x'; now as usize]).await.is_empty() {
                return;
            }
            left -= now;
        }
    });
    response
}

fn contents(request: Request) -> StreamReader<u8> {
    let (done, result) = wit_future::new(|| Ok(()));
    drop(done);
    Request::consume_body(request, result).0
}

/// The next bytes of a body, none after its end.
async fn next(from: &mut StreamReader<u8>) -> Option<Vec<u8>> {
    match from.read(Vec::with_capacity(CHUNK)).await {
        (StreamResult::Complete(_), bytes) => Some(bytes),
        _ => None,
    }
}

/// Prints lines one by one, until the host takes no more.
async fn log(lines: u64) -> String {
    let (mut to, contents) = wit_stream::new();
    let done = wasip3::cli::stderr::write_via_stream(contents);
    for line in 0..lines {
        if !to.write_all(format!("line {line}\n").into_bytes()).await.is_empty() {
            return format!("{line} refused");
        }
    }
    drop(to);
    done.await.map_or_else(|error| format!("{lines} {error:?}"), |()| "logged".into())
}
