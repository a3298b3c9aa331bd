//! Takes from its host what the path asks for: time, memory, stack, output, logs, files, connections. WASI 0.2.

use std::sync::atomic::{AtomicU32, Ordering};

use wasip2::clocks::monotonic_clock::{self, subscribe_duration};
use wasip2::http::types::{Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingRequest, ResponseOutparam};
use wasip2::http::{outgoing_handler, types::Scheme};
use wasip2::io::streams::{OutputStream, StreamError};

include!("../../../shared/target.rs");
include!("../../../shared/abuse.rs");
include!("../../../shared/answer-p2.rs");
include!("../../../shared/loopback-p2.rs");

wasip2::http::proxy::export!(Abuse);

struct Abuse;

impl wasip2::exports::http::incoming_handler::Guest for Abuse {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let target = request.path_with_query().unwrap_or_default();
        let n = number(&target, "n").unwrap_or(1);
        let port = number(&target, "port").unwrap_or(0) as u16;
        match path_of(&target) {
            "/hello" => answer(out, 200, "hello"),
            "/count" => answer(out, 200, &(COUNT.fetch_add(1, Ordering::Relaxed) + 1).to_string()),
            "/spin" => spin(),
            "/spin-after" => {
                answer(out, 200, "ok");
                match number(&target, "ms") {
                    Some(ms) => compute(ms, monotonic_clock::now),
                    None => spin(),
                }
            }
            "/sleep-after" => {
                answer(out, 200, "ok");
                sleep(number(&target, "ms").unwrap_or(0));
            }
            "/sleep" => {
                sleep(number(&target, "ms").unwrap_or(0));
                answer(out, 200, "slept");
            }
            "/alloc" => answer(out, 200, &hoard().to_string()),
            "/grow-abort" => loop {
                std::mem::forget(std::hint::black_box(vec![1_u8; MIB]));
            },
            "/stack" => answer(out, 200, &recurse(0).to_string()),
            "/unreachable" => trap(),
            "/output" => output(out, number(&target, "bytes").unwrap_or(u64::MAX)),
            "/ignore-body" => answer(out, 200, "ignored"),
            "/read-body" => answer(out, 200, &read_body(&request)),
            "/echo" => echo(&request, out),
            "/log" => answer(out, 200, &print(&wasip2::cli::stderr::get_stderr(), n)),
            "/stdout" => answer(out, 200, &print(&wasip2::cli::stdout::get_stdout(), n)),
            "/headers" => headers(out, number(&target, "bytes").unwrap_or(0)),
            // Gives `out` up, which says that there is no answer.
            "/no-answer" => {}
            "/trap-mid" => {
                let body = begin(out, 200, Fields::new());
                body.write().unwrap().blocking_write_and_flush(&[b'x'; 1000]).unwrap();
                // Long enough that the client has these by then.
                sleep(50);
                trap()
            }
            "/files" => answer(out, 200, &files(n)),
            "/connections" => answer(out, 200, &connections(n, port)),
            "/fetch" => answer(out, 200, &fetch(n, port)),
            _ => answer(out, 404, "no such abuse"),
        }
    }
}

fn sleep(milliseconds: u64) {
    subscribe_duration(milliseconds * 1_000_000).block();
}

/// Writes as much at a time as the host takes.
fn write_all(to: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    let ready = to.subscribe();
    while !bytes.is_empty() {
        ready.block();
        let (now, later) = bytes.split_at(bytes.len().min(to.check_write()? as usize));
        to.write(now)?;
        bytes = later;
    }
    Ok(())
}

fn output(out: ResponseOutparam, mut left: u64) {
    let body = begin(out, 200, Fields::new());
    let chunk = [b'x'; 64 * 1024];
    let to = body.write().unwrap();
    while left > 0 {
        let now = left.min(chunk.len() as u64);
        if write_all(&to, &chunk[..now as usize]).is_err() {
            return;
        }
        left -= now;
    }
    if to.blocking_flush().is_ok() {
        drop(to);
        OutgoingBody::finish(body, None).ok();
    }
}

/// The length of a request's body, or what came instead of its end.
fn read_body(request: &IncomingRequest) -> String {
    let body = request.consume().unwrap();
    let from = body.stream().unwrap();
    let mut length = 0;
    loop {
        match from.blocking_read(64 * 1024) {
            Ok(bytes) => length += bytes.len(),
            Err(StreamError::Closed) => return length.to_string(),
            Err(error) => return format!("{length} {error:?}"),
        }
    }
}

fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    let (incoming, body) = (request.consume().unwrap(), begin(out, 200, Fields::new()));
    let (from, to) = (incoming.stream().unwrap(), body.write().unwrap());
    let whole = loop {
        match from.blocking_read(64 * 1024) {
            Ok(bytes) if write_all(&to, &bytes).and_then(|()| to.flush()).is_ok() => {}
            Ok(_) => break false,
            Err(error) => break matches!(error, StreamError::Closed),
        }
    };
    drop(from);
    drop(IncomingBody::finish(incoming));
    if whole && to.blocking_flush().is_ok() {
        drop(to);
        OutgoingBody::finish(body, None).ok();
    }
}

/// Prints lines one by one, until the host takes no more.
fn print(to: &OutputStream, lines: u64) -> String {
    for line in 0..lines {
        if let Err(error) = to.blocking_write_and_flush(format!("line {line}\n").as_bytes()) {
            return format!("{line} {error:?}");
        }
    }
    "logged".into()
}

fn headers(out: ResponseOutparam, bytes: u64) {
    let value = [b'x'; 1000];
    let (headers, mut left) = (Fields::new(), bytes as usize);
    while left > 0 {
        let now = left.min(value.len());
        if let Err(error) = headers.append("x-big", &value[..now]) {
            return answer(out, 500, &format!("{error:?}"));
        }
        left -= now;
    }
    let body = begin(out, 200, headers);
    OutgoingBody::finish(body, None).ok();
}

/// How many there are of all that were tried, and the first error.
fn tally<T, E>(all: impl Iterator<Item = Result<T, E>>, say: impl Fn(&E) -> String) -> String {
    let (mut good, mut error) = (Vec::new(), String::new());
    for one in all {
        match one {
            Ok(one) => good.push(one),
            Err(first) if error.is_empty() => error = format!(" {}", say(&first)),
            Err(_) => {}
        }
    }
    format!("{}{error}", good.len())
}

fn files(n: u64) -> String {
    use wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
    let Some((folder, _)) = wasip2::filesystem::preopens::get_directories().into_iter().next() else {
        return "0 no volume".into();
    };
    let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let open = |i| folder.open_at(PathFlags::empty(), &format!("f{i}"), OpenFlags::CREATE, flags);
    tally((0..n).map(open), |error| error.name().into())
}

fn connections(n: u64, port: u16) -> String {
    let started: Vec<_> = (0..n).map(|_| start_connect(port)).collect();
    tally(started.into_iter().map(|socket| finish_connect(socket?)), |error| error.name().into())
}

fn fetch(n: u64, port: u16) -> String {
    let start = |_| {
        let request = OutgoingRequest::new(Fields::new());
        request.set_scheme(Some(&Scheme::Http)).unwrap();
        request.set_authority(Some(&format!("127.0.0.1:{port}"))).unwrap();
        request.set_path_with_query(Some("/")).unwrap();
        outgoing_handler::handle(request, None)
    };
    let started: Vec<_> = (0..n).map(start).collect();
    let answers = started.into_iter().map(|response| {
        let response = response?;
        response.subscribe().block();
        response.get().unwrap().unwrap()
    });
    tally(answers, |error| format!("{error:?}"))
}
