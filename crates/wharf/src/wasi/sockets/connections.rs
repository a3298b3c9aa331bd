//! The number of open sockets of an instance, held to the limit `connections`: sockets that the component created, and
//! connections that its listeners accepted.
//!
//! wasmtime has no hook for opening and closing a socket, except its check of addresses. It calls the check when a listener
//! accepts, so the check delays a connection until there is room for it. It keeps the check while a socket or its listener is
//! open, so the check owns the guard that counts the socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::limits::{Limit, LimitTracker};

/// The count of the open sockets of one instance.
pub(super) struct Connections {
    tracker: Arc<LimitTracker>,
    max: u64,
    created: AtomicU64,
    accepted: AtomicU64,
    /// Notified when a socket is closed.
    closed: Notify,
}

/// Counts a socket as open until it is dropped. The socket and its streams share it.
pub(super) struct OpenGuard {
    connections: Arc<Connections>,
    accepted: bool,
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        if self.accepted {
            self.connections.release_accepted();
        } else {
            self.connections.created.fetch_sub(1, Ordering::Relaxed);
            self.connections.closed.notify_waiters();
        }
    }
}

impl Connections {
    pub(super) fn new(tracker: &Arc<LimitTracker>) -> Arc<Self> {
        let max = tracker.limits().capped_by_memory(tracker.limits().connections);
        let (created, accepted) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { tracker: tracker.clone(), max, created, accepted, closed: Notify::new() })
    }

    fn count(&self) -> u64 {
        self.created.load(Ordering::Relaxed) + self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.count() >= self.max
    }

    /// Counts a socket that the component creates, until the guard is dropped.
    pub(super) fn count_created(self: &Arc<Self>) -> Arc<OpenGuard> {
        self.created.fetch_add(1, Ordering::Relaxed);
        Arc::new(OpenGuard { connections: self.clone(), accepted: false })
    }

    /// Returns a guard for an accepted connection, which [`accept`](Self::accept) has counted.
    pub(super) fn guard_accepted(self: &Arc<Self>) -> Arc<OpenGuard> {
        Arc::new(OpenGuard { connections: self.clone(), accepted: true })
    }

    /// Removes a closed connection from the count of accepted ones.
    pub(super) fn release_accepted(&self) {
        let decrement = |count: u64| Some(count.saturating_sub(1));
        self.accepted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, decrement).ok();
        self.closed.notify_waiters();
    }

    /// Corrects the count of accepted connections. A connection that failed, or was closed with its listener before the
    /// component received it, is not released.
    pub(super) fn set_accepted(&self, accepted: usize) {
        self.accepted.store(accepted as u64, Ordering::Relaxed);
        self.closed.notify_waiters();
    }

    /// Records a refusal by the limit `connections`.
    pub(super) fn refuse(&self) {
        self.tracker.refuse(Limit::Connections);
    }

    /// Counts an accepted connection, once there is room for it.
    pub(super) async fn accept(&self) {
        let mut refused = false;
        loop {
            let mut closed = std::pin::pin!(self.closed.notified());
            // Enabled before the count is read, so that a socket closed in between is not missed.
            closed.as_mut().enable();
            if !self.is_full() {
                self.accepted.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if !std::mem::replace(&mut refused, true) {
                self.refuse();
            }
            closed.await;
        }
    }
}
