//! Tests of `wasi:clocks`.

use wasip3::clocks::{monotonic_clock, system_clock};

use crate::conform::{Outcome, Test, both, within};

pub const TESTS: &[Test] = &[
    test!("monotonic-now", monotonic_now, ["wasi:clocks/monotonic-clock#now"]),
    test!("monotonic-resolution", monotonic_resolution, ["wasi:clocks/monotonic-clock#get-resolution"]),
    test!("monotonic-wait-until", wait_until, ["wasi:clocks/monotonic-clock#wait-until"]),
    test!("monotonic-wait-for", wait_for, ["wasi:clocks/monotonic-clock#wait-for"]),
    test!(
        "monotonic-waits-together",
        waits_together,
        ["wasi:clocks/monotonic-clock#wait-for", "wasi:clocks/monotonic-clock#wait-until"]
    ),
    test!("monotonic-wait-cancelled", wait_cancelled, ["wasi:clocks/monotonic-clock#wait-for"]),
    test!("system-now", system_now, ["wasi:clocks/system-clock#now"]),
    test!("system-resolution", system_resolution, ["wasi:clocks/system-clock#get-resolution"]),
];

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;

async fn monotonic_now() -> Outcome {
    let mut last = monotonic_clock::now();
    for _ in 0..1000 {
        let now = monotonic_clock::now();
        ensure!(now >= last);
        last = now;
    }
    Ok(())
}

async fn monotonic_resolution() -> Outcome {
    let resolution = monotonic_clock::get_resolution();
    ensure!((1..=SECOND).contains(&resolution), "it is {resolution} ns");
    Ok(())
}

async fn wait_until() -> Outcome {
    let start = monotonic_clock::now();
    monotonic_clock::wait_until(start + 20 * MILLISECOND).await;
    ensure!(monotonic_clock::now() >= start + 20 * MILLISECOND);
    // A mark of the past has occurred already.
    ensure!(within(SECOND, monotonic_clock::wait_until(start)).await.is_some());
    ensure!(within(SECOND, monotonic_clock::wait_until(0)).await.is_some());
    Ok(())
}

async fn wait_for() -> Outcome {
    let start = monotonic_clock::now();
    monotonic_clock::wait_for(20 * MILLISECOND).await;
    ensure!(monotonic_clock::now() >= start + 20 * MILLISECOND);
    ensure!(within(SECOND, monotonic_clock::wait_for(0)).await.is_some());
    Ok(())
}

async fn waits_together() -> Outcome {
    let start = monotonic_clock::now();
    let half = 500 * MILLISECOND;
    both(monotonic_clock::wait_for(half), monotonic_clock::wait_until(start + half)).await;
    let took = monotonic_clock::now() - start;
    ensure!(took < 2 * half, "two waits of 500 ms took {took} ns");
    Ok(())
}

async fn wait_cancelled() -> Outcome {
    let start = monotonic_clock::now();
    ensure!(within(MILLISECOND, monotonic_clock::wait_for(u64::MAX)).await.is_none());
    ensure!(monotonic_clock::now() - start < SECOND);
    Ok(())
}

async fn system_now() -> Outcome {
    let now = system_clock::now();
    ensure!(now.nanoseconds < 1_000_000_000);
    // After 2025 and before 2100: the clock counts from 1970.
    ensure!((1_735_689_600..4_102_444_800).contains(&now.seconds), "it is {now:?}");
    Ok(())
}

async fn system_resolution() -> Outcome {
    let resolution = system_clock::get_resolution();
    ensure!((1..=SECOND).contains(&resolution), "it is {resolution} ns");
    Ok(())
}
