//! wasi:io/streams and wasi:io/error, with files and connections as what the streams lead to.

use wasip2::filesystem::types::{ErrorCode, OpenFlags, filesystem_error_code};
use wasip2::io::error::Error;
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::network::IpAddressFamily;

use crate::Test;
use crate::bytes::{pattern, read_all, write_all};
use crate::conform::Check;
use crate::network::connected;
use crate::volumes::{NONE, READ, contents, file, scratch};

pub const TESTS: &[Test] = &[
    Test::new(
        "streams-read",
        read,
        &[
            "wasi:io/streams#[method]input-stream.read",
            "wasi:io/streams#[method]input-stream.blocking-read",
            "wasi:io/streams#[method]input-stream.subscribe",
        ],
    ),
    Test::new(
        "streams-skip",
        skip,
        &["wasi:io/streams#[method]input-stream.skip", "wasi:io/streams#[method]input-stream.blocking-skip"],
    ),
    Test::new(
        "streams-write",
        write,
        &[
            "wasi:io/streams#[method]output-stream.check-write",
            "wasi:io/streams#[method]output-stream.write",
            "wasi:io/streams#[method]output-stream.blocking-write-and-flush",
            "wasi:io/streams#[method]output-stream.flush",
            "wasi:io/streams#[method]output-stream.blocking-flush",
            "wasi:io/streams#[method]output-stream.subscribe",
        ],
    ),
    Test::new(
        "streams-write-zeroes",
        write_zeroes,
        &[
            "wasi:io/streams#[method]output-stream.write-zeroes",
            "wasi:io/streams#[method]output-stream.blocking-write-zeroes-and-flush",
        ],
    ),
    Test::new(
        "streams-splice",
        splice,
        &["wasi:io/streams#[method]output-stream.splice", "wasi:io/streams#[method]output-stream.blocking-splice"],
    ),
    Test::new(
        "streams-error",
        error,
        &["wasi:io/error#[method]error.to-debug-string", "wasi:filesystem/types#filesystem-error-code"],
    ),
    Test::new(
        "streams-closed",
        closed,
        &["wasi:io/streams#[method]output-stream.check-write", "wasi:io/streams#[method]input-stream.read"],
    ),
    Test::new(
        "streams-large",
        large,
        &["wasi:io/streams#[method]output-stream.write", "wasi:io/streams#[method]input-stream.read"],
    ),
];

/// Reads without blocking, and waits in between, until the stream is closed.
fn read_by_polling(from: &InputStream, most: u64) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    loop {
        match from.read(most) {
            Ok(bytes) if bytes.is_empty() => from.subscribe().block(),
            Ok(bytes) => {
                ensure!(bytes.len() as u64 <= most);
                all.extend(bytes);
            }
            Err(StreamError::Closed) => return Ok(all),
            Err(error) => return Err(format!("{error:?}")),
        }
    }
}

fn read() -> Check {
    let folder = scratch()?;
    let digits = file(&folder, "file", b"0123456789")?;
    let from = ok!(digits.read_via_stream(2));
    ensure!(ok!(from.read(0)).is_empty());
    let first = ok!(from.blocking_read(3));
    ensure!(!first.is_empty() && first.len() <= 3);
    let rest = read_by_polling(&from, 2)?;
    equal!([first, rest].concat(), b"23456789");
    fails!(from.read(1), StreamError::Closed);
    fails!(from.blocking_read(1), StreamError::Closed);
    // One that is closed is ready.
    ensure!({
        from.subscribe().block();
        from.subscribe().ready()
    });
    // What comes later, over a connection.
    let pair = connected(IpAddressFamily::Ipv4)?;
    let (from, to) = (&pair.near_from, &pair.far_to);
    ensure!(ok!(from.read(10)).is_empty());
    let ready = from.subscribe();
    ensure!(!ready.ready());
    ok!(to.blocking_write_and_flush(b"late"));
    ready.block();
    ensure!(ready.ready());
    equal!(ok!(from.read(2)).len(), 2);
    equal!(ok!(from.read(10)), b"te");
    ensure!(ok!(from.read(10)).is_empty());
    Ok(())
}

fn skip() -> Check {
    let folder = scratch()?;
    let digits = file(&folder, "file", b"0123456789")?;
    let from = ok!(digits.read_via_stream(0));
    let mut skipped = ok!(from.blocking_skip(3));
    ensure!((1..=3).contains(&skipped));
    while skipped < 6 {
        let now = ok!(from.skip(6 - skipped));
        ensure!(now <= 6 - skipped);
        skipped += now;
        if now == 0 {
            from.subscribe().block();
        }
    }
    equal!(ok!(from.skip(0)), 0);
    equal!(read_all(&from)?, b"6789");
    fails!(from.skip(1), StreamError::Closed);
    fails!(from.blocking_skip(1), StreamError::Closed);
    Ok(())
}

fn write() -> Check {
    let folder = scratch()?;
    let target = file(&folder, "file", b"")?;
    let to = ok!(target.write_via_stream(0));
    to.subscribe().block();
    ensure!(ok!(to.check_write()) >= 4);
    ok!(to.write(b"one "));
    ok!(to.flush());
    to.subscribe().block();
    ensure!(ok!(to.check_write()) >= 4);
    ok!(to.write(b"two "));
    ok!(to.blocking_flush());
    ensure!(ok!(to.check_write()) > 0);
    ok!(to.write(b""));
    ok!(to.blocking_flush());
    ok!(to.blocking_write_and_flush(b"three"));
    equal!(contents(&target)?, b"one two three");
    ok!(to.blocking_write_and_flush(&[b'x'; 4096]));
    equal!(ok!(target.stat()).size, 13 + 4096);
    Ok(())
}

fn write_zeroes() -> Check {
    let folder = scratch()?;
    let target = file(&folder, "file", b"")?;
    let to = ok!(target.write_via_stream(0));
    ok!(to.blocking_write_and_flush(b"a"));
    ensure!(ok!(to.check_write()) >= 3);
    ok!(to.write_zeroes(3));
    ok!(to.blocking_flush());
    ok!(to.blocking_write_and_flush(b"b"));
    ok!(to.blocking_write_zeroes_and_flush(2));
    ok!(to.blocking_write_and_flush(b"c"));
    equal!(contents(&target)?, b"a\0\0\0b\0\0c");
    ok!(to.blocking_write_zeroes_and_flush(4096));
    equal!(ok!(target.stat()).size, 8 + 4096);
    Ok(())
}

fn splice() -> Check {
    let folder = scratch()?;
    let source = pattern(20_000);
    let (from, target) = (file(&folder, "from", &source)?, file(&folder, "to", b"")?);
    let (from, to) = (ok!(from.read_via_stream(0)), ok!(target.write_via_stream(0)));
    let first = ok!(to.blocking_splice(&from, 100));
    ensure!((1..=100).contains(&first));
    let mut moved = first;
    while moved < 10_000 {
        let now = ok!(to.splice(&from, 10_000 - moved));
        ensure!(now <= 10_000 - moved);
        moved += now;
        if now == 0 {
            from.subscribe().block();
            to.subscribe().block();
        }
    }
    loop {
        match to.blocking_splice(&from, 4000) {
            Ok(now) => moved += now,
            Err(StreamError::Closed) => break,
            Err(error) => return Err(format!("{error:?}")),
        }
    }
    equal!(moved, 20_000);
    ok!(to.blocking_flush());
    ensure!(contents(&target)? == source);
    Ok(())
}

/// The error of a stream that leads to a file which was opened for reading only.
fn failed_write() -> Result<(OutputStream, Error), String> {
    let folder = scratch()?;
    file(&folder, "file", b"hello")?;
    let only_read = ok!(folder.open_at(NONE, "file", OpenFlags::empty(), READ));
    let to = ok!(only_read.write_via_stream(0));
    match to.blocking_write_and_flush(b"x") {
        Err(StreamError::LastOperationFailed(error)) => Ok((to, error)),
        other => Err(format!("a write to a file that is open for reading gave {other:?}")),
    }
}

fn error() -> Check {
    let (to, error) = failed_write()?;
    ensure!(!error.to_debug_string().is_empty());
    equal!(filesystem_error_code(&error), Some(ErrorCode::BadDescriptor));
    // From then on it is closed.
    fails!(to.check_write(), StreamError::Closed);
    fails!(to.flush(), StreamError::Closed);
    fails!(to.blocking_flush(), StreamError::Closed);
    fails!(to.blocking_write_and_flush(b"x"), StreamError::Closed);
    fails!(to.blocking_write_zeroes_and_flush(1), StreamError::Closed);
    to.subscribe().block();
    ensure!(to.subscribe().ready());
    Ok(())
}

/// The other end of a connection has gone.
fn closed() -> Check {
    let pair = connected(IpAddressFamily::Ipv4)?;
    write_all(&pair.far_to, b"last")?;
    let (near_from, near_to, near) = (pair.near_from, pair.near_to, pair.near);
    drop((pair.far_from, pair.far_to, pair.far));
    equal!(read_all(&near_from)?, b"last");
    fails!(near_from.read(1), StreamError::Closed);
    // Some writes may succeed before the host sees that the peer is gone.
    let mut first = None;
    for _ in 0..1000 {
        match near_to.blocking_write_and_flush(b"x") {
            Ok(()) => wasip2::clocks::monotonic_clock::subscribe_duration(1_000_000).block(),
            Err(error) => {
                first = Some(error);
                break;
            }
        }
    }
    match some!(first) {
        StreamError::Closed => {}
        StreamError::LastOperationFailed(error) => ensure!(!error.to_debug_string().is_empty()),
    }
    fails!(near_to.check_write(), StreamError::Closed);
    fails!(near_to.blocking_write_and_flush(b"x"), StreamError::Closed);
    drop((near_from, near_to, near));
    Ok(())
}

fn large() -> Check {
    let folder = scratch()?;
    let target = file(&folder, "file", b"")?;
    let all = pattern(2 << 20);
    write_all(&ok!(target.write_via_stream(0)), &all)?;
    ensure!(read_by_polling(&ok!(target.read_via_stream(0)), 100_000)? == all);
    ensure!(read_all(&ok!(target.read_via_stream(0)))? == all);
    Ok(())
}
