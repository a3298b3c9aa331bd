//! The memory that the host keeps for an instance, measured from time to time.
//!
//! Takes the resources of a store; gives the bytes that they hold. A single host call adds little, and measuring all handles
//! costs more than most calls, so an audit is due after a number of calls or of bytes that depends on the memory left.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// The smallest cost of a handle to the host, in bytes.
pub(super) const HANDLE: usize = 128;
/// The number of host calls, and of bytes known to be kept, after which an audit is due at the latest.
const CALLS: u32 = 32;
/// The number of host calls when little memory is left.
const FEW_CALLS: u32 = 4;
const BYTES: usize = 64 * 1024;

pub(super) struct Audit {
    /// The result of the last audit, in bytes.
    pub(super) held: u64,
    /// The calls, and the bytes, until the next audit.
    calls: u32,
    bytes: usize,
    charges: Vec<Weak<AtomicUsize>>,
}

impl Audit {
    /// The audit of an instance with this memory limit, in bytes.
    pub(super) fn new(memory: u64) -> Self {
        Self { held: 0, calls: max_calls(memory).min(CALLS), bytes: BYTES, charges: Vec::new() }
    }

    /// Counts a host call; returns whether an audit is due.
    pub(super) fn is_due(&mut self) -> bool {
        self.calls -= 1;
        self.calls == 0
    }

    /// Counts bytes that the host keeps from now on; returns whether an audit is due.
    pub(super) fn is_due_after(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.bytes == 0
    }

    /// Adds memory outside the resource table to later audits, until the charge is dropped.
    pub(super) fn charge(&mut self) -> Charge {
        let charge = Charge::default();
        self.charges.push(Arc::downgrade(&charge.0));
        charge
    }

    /// Records an audit that found `bytes` in `resources`, where `available` bytes are left to the instance.
    pub(super) fn record(&mut self, resources: usize, mut bytes: usize, available: u64) {
        self.charges.retain(|charge| charge.upgrade().inspect(|kept| bytes += kept.load(Ordering::Relaxed)).is_some());
        self.held = bytes as u64;
        // An audit of many resources takes longer and is done less often, unless the calls until then could exceed the
        // memory that is left by far.
        let rarely = u32::try_from(resources / 4).unwrap_or(u32::MAX).max(CALLS);
        self.calls = rarely.min(max_calls(available.saturating_sub(self.held)));
        self.bytes = BYTES;
    }
}

/// The number of calls that may happen before the memory that they keep could reach `available`.
fn max_calls(available: u64) -> u32 {
    u32::try_from(available / BYTES as u64).unwrap_or(u32::MAX).max(FEW_CALLS)
}

/// Memory that the host keeps for an instance outside the resource table.
#[derive(Debug, Default)]
pub(crate) struct Charge(Arc<AtomicUsize>);

impl Charge {
    /// Sets the number of bytes.
    pub(crate) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}
