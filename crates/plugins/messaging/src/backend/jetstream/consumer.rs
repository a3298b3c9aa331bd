//! The stream and its consumers on the server.
//!
//! Takes subscriptions; gives consumers to pull from. What exists is used, and what is gone is created again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{ConsumerErrorKind, Info, RetentionPolicy};

use super::config::{JetStreamConfig, MAX_NAME, bounded};
use crate::backend::nats::Connection;
use crate::backend::{Error, Subscription};

/// How long the server keeps the consumer of a subscription without a queue while its subscriber is away.
const FORGET: Duration = Duration::from_mins(5);
/// The most messages of a consumer that are not settled, over all its subscribers; those that wait for their next
/// delivery count. The server would limit it to 1,000, and then hold up a queue that has that many retries.
const MAX_PENDING: i64 = 65_536;

pub(super) type PullConsumer = Consumer<pull::Config>;

/// Creates a broker's stream and consumers.
#[derive(Clone)]
pub(super) struct Consumers {
    pub(super) connection: Arc<Connection>,
    pub(super) config: Arc<JetStreamConfig>,
}

impl Consumers {
    /// Creates the stream if it is to be created and does not exist. Asks the server once for each connection.
    pub(super) async fn create_stream(&self) -> Result<(), Error> {
        if !self.config.create || self.connection.is_prepared() {
            return Ok(());
        }
        let context = self.connection.jetstream().await?;
        let connects = self.connection.connects();
        context.get_or_create_stream(self.config.stream()).await.map_err(|it| self.failed(&it.to_string()))?;
        self.connection.set_prepared(connects);
        Ok(())
    }

    /// Whether the stream is there.
    pub(super) async fn look(&self) -> Result<(), Error> {
        self.create_stream().await?;
        self.info().await.map(|_| ())
    }

    async fn info(&self) -> Result<Info, Error> {
        let name = &self.config.stream;
        let stream = self.connection.jetstream().await?.get_stream(name).await.map_err(|error| match error.kind() {
            GetStreamErrorKind::JetStream(it) if it.code() == 404 => {
                // It was deleted, perhaps: the next call creates it, if this broker is to.
                self.connection.set_prepared(0);
                Error::Other(format!("no stream `{name}`; create it, or let the host create it"))
            }
            kind => self.failed(&kind.to_string()),
        })?;
        Ok(stream.cached_info().clone())
    }

    /// The name of a subscription's consumer: the queue's, or a new one.
    pub(super) async fn name(&self, it: &Subscription) -> Result<String, Error> {
        match &it.queue {
            Some(queue) => Ok(durable_name(queue, &it.subject)),
            None => Ok(format!("wharf-{}", self.connection.unique().await?)),
        }
    }

    /// The consumer of a subscription, created if it is not there. `resume` is the message from which one that the
    /// server lost goes on.
    pub(super) async fn create(
        &self,
        name: &str,
        it: &Subscription,
        resume: Option<u64>,
    ) -> Result<PullConsumer, Error> {
        let info = self.info().await?;
        let is_work_queue = info.config.retention == RetentionPolicy::WorkQueue;
        let next = resume.unwrap_or_else(|| info.state.last_sequence.saturating_add(1));
        let mut config = pull::Config {
            durable_name: it.queue.is_some().then(|| name.to_owned()),
            name: Some(name.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: bounded(it.settle_within.max(Duration::from_millis(1))),
            max_deliver: -1,
            max_ack_pending: MAX_PENDING,
            filter_subject: it.subject.clone(),
            inactive_threshold: if it.queue.is_none() { FORGET } else { Duration::ZERO },
            deliver_policy: match it.queue {
                _ if is_work_queue => DeliverPolicy::All,
                Some(_) if resume.is_none() && self.config.replay => DeliverPolicy::All,
                Some(_) if resume.is_none() => DeliverPolicy::New,
                _ => DeliverPolicy::ByStartSequence { start_sequence: next },
            },
            ..pull::Config::default()
        };
        let context = self.connection.jetstream().await?;
        let error = match context.create_consumer_on_stream(config.clone(), &self.config.stream).await {
            Ok(consumer) => return Ok(consumer),
            Err(error) => self.refused(&error.kind()),
        };
        // One that exists began elsewhere, which cannot be changed, unlike the rest.
        let known = context.get_consumer_from_stream::<pull::Config, _, _>(name, &self.config.stream).await;
        let known = known.map_err(|_| error)?;
        config.deliver_policy = known.cached_info().config.deliver_policy;
        let changed = context.create_consumer_on_stream(config, &self.config.stream).await;
        Ok(changed.unwrap_or(known))
    }

    fn refused(&self, kind: &ConsumerErrorKind) -> Error {
        match kind {
            ConsumerErrorKind::JetStream(it) if it.code() != 503 => Error::Other(it.to_string()),
            kind => self.failed(&kind.to_string()),
        }
    }

    /// A call of the API failed: nothing is known but that a later one may succeed.
    fn failed(&self, problem: &str) -> Error {
        self.connection.unavailable(&format!("JetStream: {problem}"))
    }
}

/// The name of a queue's consumer: the queue's name, as far as the server allows, and a hash of the queue and subject.
/// The hash keeps apart what the first part does not: one name has one subject.
pub(super) fn durable_name(queue: &str, subject: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let name: String = queue.chars().map(allowed).take(MAX_NAME - 17).collect();
    // FNV-1a. The name must stay the same in later versions of the host, so the standard library's hash does not do.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = queue.bytes().chain([0]).chain(subject.bytes()).fold(0xcbf2_9ce4_8422_2325, step);
    format!("{name}-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durable_name_is_valid_stable_and_distinct() {
        assert_eq!(durable_name("workers", "orders.>"), durable_name("workers", "orders.>"));
        assert_ne!(durable_name("workers", "orders.>"), durable_name("workers", "orders.*"));
        assert_ne!(durable_name("a.b", "x"), durable_name("a_b", "x"));
        assert!(durable_name("a.b/*é", "x").starts_with("a_b___-"));
        assert_eq!(durable_name(&"q".repeat(256), "x").len(), MAX_NAME);
        assert_eq!(durable_name("workers", "orders"), "workers-8378b596bfbe787d");
    }
}
