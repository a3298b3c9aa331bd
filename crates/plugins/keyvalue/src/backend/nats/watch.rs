//! Changes of a bucket, as a stream.
//!
//! Takes the bucket's revisions; gives a [`Change`] for each, in order. Where the server or the connection breaks off,
//! it goes on with the next revision, so that nothing is lost but what a later write of the same key has replaced. It
//! reports [`Change::Lost`] if the bucket is another one than before.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Watch};
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, unfold};
use tokio::sync::watch;

use super::super::{Change, Error};
use super::escape::unescape;
use super::link::Link;

/// How long to wait between attempts to go on, at first and at last.
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LAST_DELAY: Duration = Duration::from_secs(2);

struct Watcher {
    link: Weak<Link>,
    closed: watch::Receiver<bool>,
    watch: Watch,
    /// The last revision that was seen.
    last: u64,
}

/// The changes from now on.
pub(super) async fn watch(link: &Arc<Link>) -> Result<BoxStream<'static, Change>, Error> {
    let closed = link.closed();
    let (watch, last) = start(link, None).await?;
    let watcher = Watcher { link: Arc::downgrade(link), closed, watch, last };
    let changes = unfold(watcher, async |mut watcher| {
        let mut closed = watcher.closed.clone();
        tokio::select! {
            // Also when the store has been dropped, and the sender with it.
            _ = closed.wait_for(|closed| *closed) => None,
            change = watcher.next() => change.map(|change| (change, watcher)),
        }
    });
    Ok(changes.boxed())
}

/// Starts after a revision, or with what comes now. Returns the revision that it starts after.
async fn start(link: &Link, after: Option<u64>) -> Result<(Watch, u64), Error> {
    link.within(async |bucket| {
        let info = bucket.store().stream.get_info().await.map_err(|error| bucket.failed(&error))?;
        let last = info.state.last_sequence;
        let after = after.map_or(last, |after| after.min(last));
        let watch = bucket.store().watch_all_from_revision(after.saturating_add(1)).await;
        Ok((watch.map_err(|error| bucket.failed(&error))?, after))
    })
    .await
}

impl Watcher {
    async fn next(&mut self) -> Option<Change> {
        loop {
            match self.watch.next().await {
                Some(Ok(entry)) => {
                    if entry.revision <= self.last {
                        continue;
                    }
                    self.last = entry.revision;
                    // Another client's key may be no key of this store.
                    let Some(key) = unescape(&entry.key) else { continue };
                    return Some(match entry.operation {
                        Operation::Put => Change::Set { key, value: entry.value },
                        Operation::Delete | Operation::Purge => Change::Deleted { key },
                    });
                }
                Some(Err(_)) | None => {
                    if let Some(lost) = self.resume().await? {
                        return Some(lost);
                    }
                }
            }
        }
    }

    /// Goes on after the last revision. `None` if the store has gone.
    async fn resume(&mut self) -> Option<Option<Change>> {
        let mut delay = FIRST_DELAY;
        loop {
            tokio::time::sleep(delay).await;
            let link = self.link.upgrade()?;
            if let Ok((watch, after)) = start(&link, Some(self.last)).await {
                let replaced = after < self.last;
                (self.watch, self.last) = (watch, after);
                return Some(replaced.then_some(Change::Lost));
            }
            delay = (delay * 2).min(LAST_DELAY);
        }
    }
}
