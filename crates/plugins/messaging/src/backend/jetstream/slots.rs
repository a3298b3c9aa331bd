//! How many deliveries of a subscription are handed out.
//!
//! Takes what is handed out and settled, with the time; gives how many more may be. The server enforces no limit for
//! one subscriber of several: the host asks for no more than it has room for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backend::ledger::later;

/// The deliveries that are handed out, by their number.
pub(super) struct Slots {
    limit: usize,
    settle_within: Duration,
    out: Mutex<Out>,
    /// Notified when one is settled.
    pub(super) freed: Notify,
}

#[derive(Default)]
struct Out {
    /// Until when each counts: then the server delivers it again, to this or another subscriber.
    deadlines: HashMap<u64, Instant>,
    /// The deliveries that are not known to be handled, by their number: how often each is in the stream.
    unsettled: HashMap<u64, u64>,
    last: u64,
    newest: u64,
}

impl Slots {
    pub(super) fn new(limit: usize, settle_within: Duration) -> Self {
        Self { limit: limit.max(1), settle_within, out: Mutex::default(), freed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more may be handed out, and when that may change by itself.
    pub(super) fn free(&self, now: Instant) -> (usize, Option<Instant>) {
        let mut out = self.lock();
        out.deadlines.retain(|_, at| *at > now);
        (self.limit.saturating_sub(out.deadlines.len()), out.deadlines.values().min().copied())
    }

    /// A message with this sequence in its stream is handed out. Returns the delivery's number.
    pub(super) fn take(&self, sequence: u64, now: Instant) -> u64 {
        let mut out = self.lock();
        out.last += 1;
        let number = out.last;
        out.newest = out.newest.max(sequence);
        out.deadlines.insert(number, later(now, self.settle_within));
        out.unsettled.retain(|_, it| *it != sequence);
        out.unsettled.insert(number, sequence);
        number
    }

    pub(super) fn extend(&self, number: u64, now: Instant) {
        let until = later(now, self.settle_within);
        if let Some(at) = self.lock().deadlines.get_mut(&number) {
            *at = until;
        }
    }

    /// A delivery is over.
    pub(super) fn release(&self, number: u64, is_handled: bool) {
        let mut out = self.lock();
        out.deadlines.remove(&number);
        if is_handled {
            out.unsettled.remove(&number);
        }
        drop(out);
        self.freed.notify_one();
    }

    /// The first message that may still have to be delivered, once one was.
    pub(super) fn resume_at(&self) -> Option<u64> {
        let out = self.lock();
        let after = (out.newest > 0).then(|| out.newest.saturating_add(1));
        out.unsettled.values().min().copied().or(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_out_and_knows_where_to_resume() {
        let (now, slots) = (Instant::now(), Slots::new(2, Duration::from_secs(10)));
        assert_eq!((slots.free(now), slots.resume_at()), ((2, None), None));
        let (a, b) = (slots.take(7, now), slots.take(8, now + Duration::from_secs(5)));
        assert_eq!(slots.free(now), (0, Some(now + Duration::from_secs(10))));
        assert_eq!(slots.free(now + Duration::from_secs(10)).0, 1, "the server delivers it again");
        assert_eq!(slots.resume_at(), Some(7));
        slots.release(a, true);
        assert_eq!(slots.resume_at(), Some(8));
        slots.release(b, false);
        assert_eq!(slots.resume_at(), Some(8), "it is to be delivered again");
        let again = slots.take(8, now);
        slots.release(again, true);
        assert_eq!(slots.resume_at(), Some(9));
    }
}
