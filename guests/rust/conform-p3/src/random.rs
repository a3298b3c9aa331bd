//! Tests of `wasi:random`.

use wasip3::random::{insecure, insecure_seed, random};

use crate::conform::{Outcome, Test};

pub const TESTS: &[Test] = &[
    test!("random-bytes", bytes, ["wasi:random/random#get-random-bytes"]),
    test!("random-u64", u64_, ["wasi:random/random#get-random-u64"]),
    test!("random-insecure-bytes", insecure_bytes, ["wasi:random/insecure#get-insecure-random-bytes"]),
    test!("random-insecure-u64", insecure_u64, ["wasi:random/insecure#get-insecure-random-u64"]),
    test!("random-insecure-seed", seed, ["wasi:random/insecure-seed#get-insecure-seed"]),
    test!("random-bytes-many", many_bytes, ["wasi:random/random#get-random-bytes"]),
    test!("random-insecure-bytes-many", many_insecure_bytes, ["wasi:random/insecure#get-insecure-random-bytes"]),
];

/// As many bytes as wanted, from a function that may give fewer.
fn gather(wanted: usize, get: fn(u64) -> Vec<u8>) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while all.len() < wanted {
        let got = get((wanted - all.len()) as u64);
        ensure!(!got.is_empty() && got.len() <= wanted - all.len(), "{} bytes came", got.len());
        all.extend(got);
    }
    Ok(all)
}

async fn bytes() -> Outcome {
    ensure!(random::get_random_bytes(0).is_empty());
    same!(gather(1, random::get_random_bytes)?.len(), 1);
    let some = gather(64, random::get_random_bytes)?;
    ensure!(some != gather(64, random::get_random_bytes)?, "the same 64 bytes twice");
    let mut seen = [false; 256];
    for byte in gather(100_000, random::get_random_bytes)? {
        seen[byte as usize] = true;
    }
    ensure!(seen.iter().all(|seen| *seen), "100,000 bytes without one of the 256 values");
    Ok(())
}

async fn u64_() -> Outcome {
    let some = [(); 4].map(|()| random::get_random_u64());
    ensure!(some[1..].iter().all(|other| *other != some[0]));
    Ok(())
}

async fn insecure_bytes() -> Outcome {
    ensure!(insecure::get_insecure_random_bytes(0).is_empty());
    same!(gather(1, insecure::get_insecure_random_bytes)?.len(), 1);
    same!(gather(100_000, insecure::get_insecure_random_bytes)?.len(), 100_000);
    Ok(())
}

async fn insecure_u64() -> Outcome {
    // Whatever comes is right: only that something comes can be asked.
    insecure::get_insecure_random_u64();
    Ok(())
}

async fn seed() -> Outcome {
    insecure_seed::get_insecure_seed();
    Ok(())
}

async fn many_bytes() -> Outcome {
    // More than fits in memory: a host may give fewer, but some.
    ensure!(!random::get_random_bytes(1 << 40).is_empty());
    Ok(())
}

async fn many_insecure_bytes() -> Outcome {
    ensure!(!insecure::get_insecure_random_bytes(1 << 40).is_empty());
    Ok(())
}
