// What takes more from a host than it should give. Included by the guests that abuse theirs.

/// Computes for ever and calls nothing of the host.
fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

/// Computes for so long, by the clock `now`, which counts nanoseconds.
fn compute(milliseconds: u64, now: fn() -> u64) {
    let end = now() + milliseconds * 1_000_000;
    while now() < end {}
}

/// Calls itself for ever.
fn recurse(depth: u64) -> u64 {
    if std::hint::black_box(depth) == u64::MAX { 0 } else { recurse(depth + 1) + std::hint::black_box(1) }
}

fn trap() -> ! {
    std::arch::wasm32::unreachable()
}

const MIB: usize = 1 << 20;

/// Takes and touches memory until there is no more, keeps it, and says how many MiB it has by now.
fn hoard() -> usize {
    static KEPT: std::sync::Mutex<Vec<Vec<u8>>> = std::sync::Mutex::new(Vec::new());
    let mut kept = KEPT.lock().unwrap();
    loop {
        let mut piece = Vec::new();
        if kept.try_reserve(1).is_err() || piece.try_reserve_exact(MIB).is_err() {
            break;
        }
        piece.resize(MIB, 1);
        kept.push(piece);
    }
    // One goes back: to answer takes memory, too.
    kept.pop();
    kept.len()
}
