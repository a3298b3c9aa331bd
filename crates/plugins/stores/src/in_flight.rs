//! What an instance has on its way to stores: bytes that the host holds while operations are in progress.
//!
//! A guest may start any number of asynchronous operations, each with a copy of what its memory has once. Together they hold no more
//! than the guest's memory limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wharf::store::Slots;

/// The bytes that operations of one component hold in one instance.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<AtomicU64>);

/// A part of [`InFlight`], until it is dropped.
#[derive(Debug)]
pub struct Held {
    all: InFlight,
    bytes: u64,
}

impl InFlight {
    /// The one in a component's own state: `scope.state` of a view.
    pub fn of(state: &mut Slots) -> &Self {
        state.get_or_insert_with(Self::default)
    }

    /// Holds this many bytes; `None` if all operations together would then hold more than `most`. One alone may.
    pub fn hold(&self, bytes: u64, most: u64) -> Option<Held> {
        let mut held = Held { all: self.clone(), bytes: 0 };
        held.add(bytes, most).then_some(held)
    }
}

impl Held {
    /// The bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds this many more bytes, unless all operations together would then hold more than `most`.
    pub fn add(&mut self, bytes: u64, most: u64) -> bool {
        let before = self.all.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        let is_alone = before + bytes == self.bytes;
        is_alone || before + bytes <= most
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::InFlight;

    #[test]
    fn operations_share_the_memory_of_their_instance() {
        let all = InFlight::default();
        let first = all.hold(200, 100).expect("one alone may exceed it");
        assert!(all.hold(1, 100).is_none());
        drop(first);
        let mut first = all.hold(60, 100).unwrap();
        let second = all.hold(40, 100).unwrap();
        assert!(all.hold(1, 100).is_none());
        drop(second);
        assert!(first.add(40, 100));
        assert!(first.add(1, 100), "it is alone");
        drop(first);
        assert!(all.hold(100, 100).is_some());
    }
}
