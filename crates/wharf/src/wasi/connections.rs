//! How many sockets an instance has open: those that it made, as long as anything of them is open, and those that it accepted.
//!
//! The engine asks for nothing but an address when a listener accepts, and keeps what it asks for as long as the socket or its
//! listener is open. So connections are let in one by one there, and what counts a socket is kept there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::limits::{Guard, Limit};

/// The sockets of one instance.
pub(super) struct Connections {
    guard: Arc<Guard>,
    most: u64,
    made: AtomicU64,
    accepted: AtomicU64,
    room: Notify,
}

/// A socket that is open, or a stream of one.
pub(super) struct Open {
    connections: Arc<Connections>,
    accepted: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.accepted {
            self.connections.one_accepted_less();
        } else {
            self.connections.made.fetch_sub(1, Ordering::Relaxed);
            self.connections.room.notify_waiters();
        }
    }
}

impl Connections {
    pub(super) fn new(guard: &Arc<Guard>) -> Arc<Self> {
        let most = guard.limits().by_memory(guard.limits().connections);
        let (made, accepted) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { guard: guard.clone(), most, made, accepted, room: Notify::new() })
    }

    fn count(&self) -> u64 {
        self.made.load(Ordering::Relaxed) + self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.count() >= self.most
    }

    /// Counts a socket that the component makes, until what this returns is dropped.
    pub(super) fn make(self: &Arc<Self>) -> Arc<Open> {
        self.made.fetch_add(1, Ordering::Relaxed);
        Arc::new(Open { connections: self.clone(), accepted: false })
    }

    /// A connection that was accepted and counted, until what this returns is dropped.
    pub(super) fn keep_accepted(self: &Arc<Self>) -> Arc<Open> {
        Arc::new(Open { connections: self.clone(), accepted: true })
    }

    pub(super) fn one_accepted_less(&self) {
        let less = |count: u64| Some(count.saturating_sub(1));
        self.accepted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok();
        self.room.notify_waiters();
    }

    /// So many accepted ones were found: one may have failed, or gone with its listener, before the component had it.
    pub(super) fn found(&self, accepted: usize) {
        self.accepted.store(accepted as u64, Ordering::Relaxed);
        self.room.notify_waiters();
    }

    pub(super) fn refuse(&self) {
        self.guard.refuse(Limit::Connections);
    }

    /// Counts one that was accepted, once there is room for it.
    pub(super) async fn accept(&self) {
        let mut refused = false;
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            // Before it is asked, so that what is closed in the meantime is not missed.
            room.as_mut().enable();
            if !self.is_full() {
                self.accepted.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if !std::mem::replace(&mut refused, true) {
                self.refuse();
            }
            room.await;
        }
    }
}
