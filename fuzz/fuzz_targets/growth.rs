//! The time to parse a manifest must not grow faster than its length: with a part repeated thirty-two times as often, it takes no
//! more time for each byte.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rustix::time::{ClockId, clock_gettime};
use workload::manifest::{Format, parse_bytes};

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    format: u8,
    head: &'a [u8],
    /// The repeated part. A `#1` in it stands for the number of the repetition, so that keys can differ.
    part: &'a [u8],
    tail: &'a [u8],
}

const SMALL: usize = 16 << 10;
const LARGE: usize = 512 << 10;
/// Nanoseconds for each byte that are always acceptable, whatever the time of the small text.
const CHEAP: u64 = 300;
const GROWTH: u64 = 4;

fuzz_target!(|case: Case| {
    if case.part.is_empty() || case.head.len() + case.tail.len() > SMALL {
        return;
    }
    let format = [Format::Toml, Format::Yaml, Format::Json][usize::from(case.format % 3)];
    let [small, large] = [SMALL, LARGE].map(|size| text(&case, size));
    // Other processes can only slow it down, so the minimum of several runs counts.
    let max = GROWTH * per_byte(&small, format, 3).max(CHEAP);
    let mut found = 0;
    for _ in 0..5 {
        found = per_byte(&large, format, 1);
        if found <= max {
            return;
        }
    }
    panic!("{found} ns for each byte of {} bytes, at most {max}: {case:?}", large.len());
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

/// Nanoseconds of this thread's CPU time for each byte: the minimum of several runs.
fn per_byte(text: &[u8], format: Format, runs: usize) -> u64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let time = |_| {
        let begun = now();
        std::hint::black_box(parse_bytes(text, format));
        now() - begun
    };
    (0..runs).map(time).min().unwrap_or(0) / text.len() as u64
}
