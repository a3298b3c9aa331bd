//! wasi:clocks.

use wasip2::clocks::{monotonic_clock, wall_clock};

use crate::Test;
use crate::conform::Check;

pub const TESTS: &[Test] = &[
    Test::new("clocks-wall-clock", wall, &["wasi:clocks/wall-clock#now", "wasi:clocks/wall-clock#resolution"]),
    Test::new(
        "clocks-monotonic-clock",
        monotonic,
        &["wasi:clocks/monotonic-clock#now", "wasi:clocks/monotonic-clock#resolution"],
    ),
    Test::new("clocks-subscribe-duration", duration, &["wasi:clocks/monotonic-clock#subscribe-duration"]),
    Test::new("clocks-subscribe-instant", instant, &["wasi:clocks/monotonic-clock#subscribe-instant"]),
];

const MILLISECOND: u64 = 1_000_000;
const LONG: u64 = 10_000 * MILLISECOND;

fn wall() -> Check {
    let now = wall_clock::now();
    // The start of 2024 and of 2200.
    ensure!(now.seconds > 1_704_067_200 && now.seconds < 7_258_118_400);
    ensure!(now.nanoseconds < 1_000_000_000);
    let tick = wall_clock::resolution();
    ensure!(tick.nanoseconds < 1_000_000_000);
    ensure!(tick.seconds > 0 || tick.nanoseconds > 0);
    Ok(())
}

fn monotonic() -> Check {
    ensure!(monotonic_clock::resolution() > 0);
    let start = monotonic_clock::now();
    let mut last = start;
    for _ in 0..1000 {
        let now = monotonic_clock::now();
        ensure!(now >= last);
        last = now;
    }
    monotonic_clock::subscribe_duration(2 * MILLISECOND).block();
    ensure!(monotonic_clock::now() > start);
    Ok(())
}

fn duration() -> Check {
    let start = monotonic_clock::now();
    let timer = monotonic_clock::subscribe_duration(50 * MILLISECOND);
    let (early, asked) = (timer.ready(), monotonic_clock::now() - start);
    ensure!(!early || asked >= 50 * MILLISECOND);
    timer.block();
    let passed = monotonic_clock::now() - start;
    ensure!((50 * MILLISECOND..LONG).contains(&passed));
    ensure!(timer.ready());
    timer.block();
    monotonic_clock::subscribe_duration(0).block();
    // So far off that it cannot be written as an instant.
    ensure!(!monotonic_clock::subscribe_duration(u64::MAX).ready());
    Ok(())
}

fn instant() -> Check {
    let now = monotonic_clock::now();
    let past = monotonic_clock::subscribe_instant(now);
    past.block();
    ensure!(past.ready());
    monotonic_clock::subscribe_instant(0).block();
    let when = monotonic_clock::now() + 50 * MILLISECOND;
    let timer = monotonic_clock::subscribe_instant(when);
    let early = timer.ready();
    ensure!(!early || monotonic_clock::now() >= when);
    timer.block();
    ensure!((when..when + LONG).contains(&monotonic_clock::now()));
    ensure!(!monotonic_clock::subscribe_instant(u64::MAX).ready());
    Ok(())
}
