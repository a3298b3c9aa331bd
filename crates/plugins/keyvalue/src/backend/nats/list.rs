//! Pages of a bucket's keys.
//!
//! Takes a prefix and the revision that the page before ended with; gives the keys with later revisions, oldest first.
//! Holds one page at most, however many keys there are: the server sends a batch at a time, without values.
//!
//! Going by revision is what lets a page start where the last one ended without the server remembering it. A key that
//! is written meanwhile moves to the end, and is listed there.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use futures_util::StreamExt as _;

use super::super::limits::{PAGE_BYTES, invalid_cursor};
use super::super::{Error, PAGE, Page};
use super::bucket::{self, Bucket, is_marker};
use super::escape::{tokens, unescape};

/// How many messages the server sends at a time.
const BATCH: usize = 500;
/// How many batches one page takes at most. A page may be empty although the listing goes on.
const MAX_BATCHES: usize = 40;
/// How long the server waits for a message that it has not sent yet.
const BATCH_PATIENCE: Duration = Duration::from_secs(1);
/// How long the server keeps the state of a listing that was given up.
const INACTIVE: Duration = Duration::from_secs(10);

/// A page.
pub(super) async fn page(bucket: &Bucket, prefix: &str, after: u64) -> Result<Page, Error> {
    let start = after.checked_add(1).ok_or_else(invalid_cursor)?;
    let mut listing = Listing { bucket, prefix, start, page: Page::default(), bytes: 0 };
    let filter = tokens(prefix);
    if after == 0 && filter.is_some() {
        // The one key with the prefix that the filter does not select.
        let name = bucket::name(prefix)?;
        if bucket.read(&name).await?.value.is_some() {
            listing.add(prefix.to_owned());
        }
    }
    let Some(consumer) = listing.consumer(filter).await? else { return Ok(listing.page) };
    let result = listing.fill(&consumer).await;
    // The server would forget it later. What it answers does not matter.
    let name = &consumer.cached_info().name;
    drop(bucket.store().stream.delete_consumer(name).await);
    result?;
    Ok(listing.page)
}

struct Listing<'a> {
    bucket: &'a Bucket,
    prefix: &'a str,
    start: u64,
    page: Page,
    bytes: usize,
}

impl Listing<'_> {
    fn add(&mut self, key: String) {
        self.bytes += key.len();
        self.page.keys.push(key);
    }

    /// Asks the server for the keys. `None` if there are none.
    async fn consumer(&self, filter: Option<String>) -> Result<Option<PullConsumer>, Error> {
        let store = self.bucket.store();
        let one_revision = store.stream.cached_info().config.max_messages_per_subject == 1;
        // With a longer history, only the last revision of a key says whether it exists. The server then starts from
        // the first key each time, and what was listed is skipped.
        let deliver_policy = if one_revision {
            DeliverPolicy::ByStartSequence { start_sequence: self.start }
        } else {
            DeliverPolicy::LastPerSubject
        };
        let filter = filter.map_or_else(|| ">".to_owned(), |tokens| format!("{tokens}.>"));
        let config = pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subject: format!("{}{filter}", store.prefix),
            headers_only: true,
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = store.stream.create_consumer(config).await.map_err(|error| self.bucket.failed(&error))?;
        Ok((consumer.cached_info().num_pending > 0).then_some(consumer))
    }

    async fn fill(&mut self, consumer: &PullConsumer) -> Result<(), Error> {
        for _ in 0..MAX_BATCHES {
            let batch = consumer.fetch().max_messages(BATCH).expires(BATCH_PATIENCE).messages();
            let mut batch = batch.await.map_err(|error| self.bucket.failed(&error))?;
            let mut received = false;
            while let Some(message) = batch.next().await {
                let message = message.map_err(|error| self.bucket.failed(&*error))?;
                let (sequence, pending) = {
                    let info = message.info().map_err(|error| self.bucket.failed(&*error))?;
                    (info.stream_sequence, info.pending)
                };
                received = true;
                if sequence >= self.start && !message.headers.as_ref().is_some_and(is_marker) {
                    let name = message.subject.strip_prefix(&self.bucket.store().prefix);
                    let key = name.and_then(unescape).filter(|key| key.starts_with(self.prefix));
                    key.into_iter().for_each(|key| self.add(key));
                }
                self.page.cursor = (pending > 0).then(|| sequence.max(self.start.saturating_sub(1)).to_string());
                if pending == 0 || self.page.keys.len() == PAGE || self.bytes > PAGE_BYTES {
                    return Ok(());
                }
            }
            if !received {
                // What was pending has gone: written again, or expired. It is at the end now, which another page finds.
                return Ok(());
            }
        }
        Ok(())
    }
}
