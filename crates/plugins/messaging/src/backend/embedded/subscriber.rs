//! The deliveries of one subscriber of the embedded broker.
//!
//! Takes turns with the other members of its group; gives what the group hands to it. A dropped `next` gives its turn
//! back.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::hub::Shared;
use crate::backend::host_delivery::{delivery, until};
use crate::backend::ledger::Next;
use crate::backend::{Deliveries, Delivery};

/// A member of a group.
pub(super) struct Subscriber {
    shared: Arc<Shared>,
    group: u64,
    member: u64,
    wake: Arc<Notify>,
}

impl Subscriber {
    pub(super) fn new(shared: Arc<Shared>, group: u64, member: u64, wake: Arc<Notify>) -> Self {
        Self { shared, group, member, wake }
    }
}

/// Takes back that a member asks, unless it got what it asked for.
struct Turn<'a>(&'a Subscriber);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(ledger) = self.0.shared.lock().ledger(self.0.group) {
            ledger.unwant(self.0.member, Instant::now());
        }
    }
}

#[async_trait]
impl Deliveries for Subscriber {
    async fn next(&mut self) -> Option<Delivery> {
        let turn = Turn(self);
        let it = turn.0;
        loop {
            // Its group is gone only when the broker is closed.
            let next = it.shared.lock().ledger(it.group)?.want(it.member, Instant::now());
            match next {
                Next::Handed(handed) => return Some(delivery(&it.shared, it.group, handed)),
                Next::Wait(at) => tokio::select! {
                    () = it.wake.notified() => {}
                    () = until(at) => {}
                },
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.shared.lock().leave(self.group, self.member, Instant::now());
    }
}
