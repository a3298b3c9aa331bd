//! Whole reads and writes through the streams of WASI 0.2.

use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// Writes all, as much at a time as the stream takes, and flushes it.
pub fn write_all(to: &OutputStream, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        let room = ok!(to.check_write()) as usize;
        if room == 0 {
            to.subscribe().block();
            continue;
        }
        let (now, later) = bytes.split_at(bytes.len().min(room));
        ok!(to.write(now));
        bytes = later;
    }
    ok!(to.blocking_flush());
    Ok(())
}

/// All that comes until the stream is closed.
pub fn read_all(from: &InputStream) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    loop {
        match from.blocking_read(64 * 1024) {
            Ok(bytes) => all.extend(bytes),
            Err(StreamError::Closed) => return Ok(all),
            Err(error) => return Err(format!("after {} bytes: {error:?}", all.len())),
        }
    }
}

/// So many bytes, and no more.
#[allow(dead_code)]
pub fn read_exact(from: &InputStream, count: usize) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(ok!(from.blocking_read((count - all.len()) as u64)));
    }
    Ok(all)
}

/// Bytes in which no piece is like another, so that one that is lost or in the wrong place shows.
pub fn pattern(count: usize) -> Vec<u8> {
    let word = |at: usize| (at as u32 / 4).wrapping_mul(2_654_435_761).to_le_bytes()[at % 4];
    (0..count).map(word).collect()
}
