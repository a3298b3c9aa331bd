//! Listings of a bucket.
//!
//! Takes the bucket as it is; gives the names of its objects, a page at a time and on demand. A page has a consumer of
//! its own, so that a listing that waits holds nothing on the server.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::ConsumerErrorKind;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::api::{Api, Done, lost, reported};
use super::meta::Record;
use crate::backend::Error;

/// How many records a page has.
const PAGE: usize = 256;
/// How long the server waits for the rest of a page. Deletions meanwhile confuse its count, so that there may be none.
const WAIT: Duration = Duration::from_millis(200);
/// How often a page is asked for that comes back empty although the server counts records for it.
const ATTEMPTS: usize = 10;
/// When the server deletes a page's consumer that was not deleted.
const INACTIVE: Duration = Duration::from_secs(30);

/// Lists the objects.
pub(super) async fn list(api: Arc<Api>) -> Result<BoxStream<'static, Result<String, Error>>, Error> {
    // What is written later is not listed, so that a listing ends.
    let end = api.info().await?.state.last_sequence;
    let pages = stream::try_unfold(Some(1), move |start| {
        let api = api.clone();
        async move {
            let Some(start) = start.filter(|start| *start <= end) else { return Ok::<_, Error>(None) };
            for _ in 0..ATTEMPTS {
                let page = page(&api, start, end).await?;
                if let Page { last: Some(last), .. } = page {
                    return Ok(Some((page.names, last.checked_add(1))));
                }
                if page.is_end {
                    return Ok(None);
                }
            }
            Err(Error::Unavailable("the bucket changes too fast to be listed".to_owned()))
        }
    });
    Ok(pages.map_ok(|names| stream::iter(names).map(Ok)).try_flatten().boxed())
}

struct Page {
    names: Vec<String>,
    /// The last sequence number in it.
    last: Option<u64>,
    /// Whether there was nothing to list.
    is_end: bool,
}

async fn page(api: &Api, start: u64, end: u64) -> Result<Page, Error> {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
        ack_policy: AckPolicy::None,
        filter_subject: api.names.records(),
        inactive_threshold: INACTIVE,
        memory_storage: true,
        ..pull::Config::default()
    };
    let created = api.run(api.context.create_consumer_on_stream(config, api.names.stream())).await?;
    let consumer = match created.map_err(|error| error.kind()) {
        Ok(consumer) => consumer,
        Err(ConsumerErrorKind::JetStream(error)) => return Err(reported(&error)),
        Err(ConsumerErrorKind::TimedOut) => return Err(Error::Timeout),
        Err(_) => return Err(lost()),
    };
    let is_end = consumer.cached_info().num_pending == 0;
    let page =
        if is_end { Ok(Page { names: Vec::new(), last: None, is_end }) } else { read(api, &consumer, end).await };
    let deleted: Result<Done, _> = api.delete_consumer(&consumer.cached_info().name).await;
    if deleted.is_err() {
        tracing::debug!("the consumer of a listing was not deleted: the server does it after {INACTIVE:?}");
    }
    page
}

async fn read(api: &Api, consumer: &PullConsumer, end: u64) -> Result<Page, Error> {
    let mut messages =
        api.run(consumer.fetch().max_messages(PAGE).expires(WAIT).messages()).await?.map_err(|_| lost())?;
    let mut page = Page { names: Vec::new(), last: None, is_end: false };
    while let Some(message) = api.run(messages.next()).await? {
        let message = message.map_err(|_| lost())?;
        let (sequence, pending) =
            message.info().map(|info| (info.stream_sequence, info.pending)).map_err(|_| lost())?;
        page.last = Some(sequence);
        if sequence > end {
            break;
        }
        let record = serde_json::from_slice::<Record>(&message.payload).ok();
        page.names.extend(record.filter(|record| !record.deleted).map(|record| record.name));
        if pending == 0 {
            break;
        }
    }
    Ok(page)
}
