//! Changes, from the writers of a store to its watchers.
//!
//! Takes each [`Change`] once; gives it to every watcher, in order. A watcher has a queue of bounded length and size;
//! what does not fit is replaced with [`Change::Lost`]. Never waits for a watcher.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use futures_util::stream::BoxStream;

use super::Change;

/// How many changes wait for a watcher.
const MAX_CHANGES: usize = 4096;
/// How many bytes of keys and values wait for a watcher. A larger change waits alone.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The watchers of one store. Dropping it ends their streams.
#[derive(Default)]
pub(super) struct Changes {
    watchers: Mutex<Vec<Arc<Queue>>>,
    count: AtomicUsize,
}

impl Changes {
    /// Whether there is a watcher. When there is none, a change need not be built.
    pub(super) fn watched(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Gives a change to every watcher.
    pub(super) fn publish(&self, change: &Change) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        // A queue that the list alone holds has lost its stream.
        watchers.retain(|queue| Arc::strong_count(queue) > 1);
        self.count.store(watchers.len(), Ordering::Release);
        for queue in watchers.iter() {
            queue.push(change.clone());
        }
    }

    /// The changes from now on.
    pub(super) fn subscribe(&self) -> BoxStream<'static, Change> {
        let queue = Arc::new(Queue::default());
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|queue| Arc::strong_count(queue) > 1);
        watchers.push(queue.clone());
        self.count.store(watchers.len(), Ordering::Release);
        Box::pin(Watcher { queue })
    }

    /// Ends the streams of all watchers, after what is in their queues.
    pub(super) fn close(&self) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        self.count.store(0, Ordering::Release);
        for queue in watchers.drain(..) {
            let waker = {
                let mut state = queue.lock();
                state.closed = true;
                state.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    changes: VecDeque<Change>,
    bytes: usize,
    waker: Option<Waker>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, change: Change) {
        let waker = {
            let mut state = self.lock();
            let size = size(&change);
            let full = state.changes.len() >= MAX_CHANGES || state.bytes.saturating_add(size) > MAX_BYTES;
            if !full || state.changes.is_empty() {
                state.bytes = state.bytes.saturating_add(size);
                state.changes.push_back(change);
            } else if state.changes.back() != Some(&Change::Lost) {
                state.changes.push_back(Change::Lost);
            }
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

fn size(change: &Change) -> usize {
    match change {
        Change::Set { key, value } => key.len() + value.len(),
        Change::Deleted { key } => key.len(),
        Change::Lost => 0,
    }
}

struct Watcher {
    queue: Arc<Queue>,
}

impl Stream for Watcher {
    type Item = Change;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        let mut state = self.queue.lock();
        match state.changes.pop_front() {
            Some(change) => {
                state.bytes = state.bytes.saturating_sub(size(&change));
                Poll::Ready(Some(change))
            }
            None if state.closed => Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::StreamExt as _;

    use super::{Change, Changes, MAX_BYTES, MAX_CHANGES};

    fn deleted(n: usize) -> Change {
        Change::Deleted { key: n.to_string() }
    }

    #[tokio::test]
    async fn a_slow_watcher_loses_changes_and_is_told() {
        let changes = Changes::default();
        let mut slow = changes.subscribe();
        for n in 0..MAX_CHANGES + 10 {
            changes.publish(&deleted(n));
        }
        for n in 0..MAX_CHANGES {
            assert_eq!(slow.next().await, Some(deleted(n)));
        }
        assert_eq!(slow.next().await, Some(Change::Lost));
        changes.publish(&deleted(1));
        assert_eq!(slow.next().await, Some(deleted(1)));
        drop(changes);
        assert_eq!(slow.next().await, None);
    }

    #[tokio::test]
    async fn large_values_are_bounded_too() {
        let changes = Changes::default();
        let mut slow = changes.subscribe();
        let large = Change::Set { key: String::new(), value: Bytes::from(vec![0; MAX_BYTES + 1]) };
        changes.publish(&large);
        changes.publish(&large);
        assert_eq!(slow.next().await, Some(large));
        assert_eq!(slow.next().await, Some(Change::Lost));
        drop(slow);
        changes.publish(&deleted(0));
        assert!(!changes.watched());
    }
}
