//! wasi:random.

use wasip2::random::{insecure, insecure_seed, random};

use crate::Test;
use crate::conform::Check;

pub const TESTS: &[Test] = &[
    Test::new("random-secure", secure, &["wasi:random/random#get-random-bytes", "wasi:random/random#get-random-u64"]),
    Test::new(
        "random-insecure",
        insecure,
        &["wasi:random/insecure#get-insecure-random-bytes", "wasi:random/insecure#get-insecure-random-u64"],
    ),
    Test::new("random-insecure-seed", seed, &["wasi:random/insecure-seed#insecure-seed"]),
];

const MANY: u64 = 100_000;

fn secure() -> Check {
    for length in [0, 1, 7, 4096, MANY] {
        equal!(random::get_random_bytes(length).len() as u64, length);
    }
    ensure!(random::get_random_bytes(32) != random::get_random_bytes(32));
    ensure!(random::get_random_u64() != random::get_random_u64());
    // Eight standard deviations to each side.
    let ones: u64 = random::get_random_bytes(MANY).iter().map(|byte| u64::from(byte.count_ones())).sum();
    ensure!(ones.abs_diff(4 * MANY) < 3600);
    Ok(())
}

/// These may have any value, so only the lengths are checked.
fn insecure() -> Check {
    for length in [0, 1, 7, 4096, MANY] {
        equal!(insecure::get_insecure_random_bytes(length).len() as u64, length);
    }
    insecure::get_insecure_random_u64();
    Ok(())
}

/// It may have any value.
fn seed() -> Check {
    insecure_seed::insecure_seed();
    Ok(())
}
