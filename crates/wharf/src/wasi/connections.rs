//! How many sockets an instance has open. It is counted where the engine asks for nothing but an address: connections that a
//! listener accepts are let in one by one, and those that there is no room for wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::limits::{Guard, Limit};

/// What a socket or a stream of one holds at most, in bytes: what is on its way to the system.
const BUFFER: u64 = 64 * 1024;

/// The sockets of one instance.
pub(super) struct Connections {
    guard: Arc<Guard>,
    most: u64,
    count: AtomicU64,
    room: Notify,
}

impl Connections {
    pub(super) fn new(guard: &Arc<Guard>) -> Arc<Self> {
        let limits = guard.limits();
        let most = u64::from(limits.connections).min(limits.memory / BUFFER);
        Arc::new(Self { guard: guard.clone(), most, count: AtomicU64::new(0), room: Notify::new() })
    }

    pub(super) fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= self.most
    }

    pub(super) fn one_more(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn one_less(&self) {
        let less = |count: u64| Some(count.saturating_sub(1));
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok();
        self.room.notify_waiters();
    }

    /// So many were found: one that was accepted may have gone with its listener, before the component had it.
    pub(super) fn found(&self, open: usize) {
        self.count.store(open as u64, Ordering::Relaxed);
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
            let one_more = |count| (count < self.most).then_some(count + 1);
            if self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok() {
                return;
            }
            if !std::mem::replace(&mut refused, true) {
                self.refuse();
            }
            room.await;
        }
    }
}
