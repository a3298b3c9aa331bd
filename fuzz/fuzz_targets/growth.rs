//! What a manifest costs grows with its length and no faster: a part of it that is repeated thirty-two times as often takes
//! no more time for each byte.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rustix::time::{ClockId, clock_gettime};
use workload::manifest::{Format, parse_bytes};

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    format: u8,
    head: &'a [u8],
    /// Repeated; a `#1` in it is the number of its turn, so that keys can differ.
    part: &'a [u8],
    tail: &'a [u8],
}

const SMALL: usize = 16 << 10;
const LARGE: usize = 512 << 10;
/// Nanoseconds for each byte that are no matter how a small text fares.
const CHEAP: u64 = 300;
const GROWTH: u64 = 4;

fuzz_target!(|case: Case| {
    if case.part.is_empty() || case.head.len() + case.tail.len() > SMALL {
        return;
    }
    let format = [Format::Toml, Format::Yaml, Format::Json][usize::from(case.format % 3)];
    let [small, large] = [SMALL, LARGE].map(|size| text(&case, size));
    // Another process can only make it slower: the best of several counts.
    let most = GROWTH * per_byte(&small, format, 3).max(CHEAP);
    let mut found = 0;
    for _ in 0..5 {
        found = per_byte(&large, format, 1);
        if found <= most {
            return;
        }
    }
    panic!("{found} ns for each byte of {} bytes, at most {most}: {case:?}", large.len());
});

fn text(case: &Case, size: usize) -> Vec<u8> {
    let mut text = case.head.to_vec();
    for turn in 0.. {
        if text.len() >= size {
            break;
        }
        let mut rest = case.part;
        while let Some(at) = rest.windows(2).position(|pair| pair == b"#1") {
            text.extend_from_slice(&rest[..at]);
            text.extend_from_slice(turn.to_string().as_bytes());
            rest = &rest[at + 2..];
        }
        text.extend_from_slice(rest);
    }
    text.extend_from_slice(case.tail);
    text
}

/// Nanoseconds of this thread's own time: the least of several turns.
fn per_byte(text: &[u8], format: Format, turns: usize) -> u64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let time = |_| {
        let begun = now();
        std::hint::black_box(parse_bytes(text, format));
        now() - begun
    };
    (0..turns).map(time).min().unwrap_or(0) / text.len() as u64
}
