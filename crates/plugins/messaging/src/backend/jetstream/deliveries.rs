//! The deliveries of a subscription, which the host pulls from the server.
//!
//! Takes room among the slots; gives what the server sends for it. The host asks for as many messages as it has room
//! for, one request at a time, so that none waits here while its time runs. A request that was lost with its connection
//! is sent again, and a consumer that the server lost is created again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::Message as Stored;
use async_nats::jetstream::consumer::pull::Batch;
use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::REPLY_TO;
use super::consumer::{Consumers, PullConsumer};
use super::settle::PulledSettle;
use super::slots::Slots;
use crate::backend::host_delivery::until;
use crate::backend::nats::Connection;
use crate::backend::{Deliveries, Delivery, Error, Message, Subscription};

/// The most messages of one request.
const MAX_BATCH: usize = 256;
/// How long the server keeps a request.
const EXPIRES: Duration = Duration::from_secs(5);
/// How much later than a request expires the server says so, at most. One that has no such consumer says nothing.
const LATE: Duration = Duration::from_secs(2);
/// How often the connection is looked at while a request waits.
const LOOK: Duration = Duration::from_millis(200);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(250);

/// Where a subscription stands. Each step is kept here, so that `next` can be dropped at any time.
enum Pull {
    /// The consumer has to be created again.
    Lost,
    /// The consumer is being created.
    Creating(BoxFuture<'static, Result<PullConsumer, Error>>),
    /// No request is open.
    Idle(Arc<PullConsumer>),
    /// A request is being sent.
    Asking(BoxFuture<'static, (Arc<PullConsumer>, Result<Batch, ()>)>),
    /// A request is open. The number tells whether it was sent over the connection that is open now.
    Open { consumer: Arc<PullConsumer>, batch: Box<Batch>, connects: u64, since: Instant },
    /// A failure was a moment ago.
    Pausing(Instant),
}

/// The deliveries of one subscription.
pub(super) struct Pulled {
    consumers: Consumers,
    subscription: Subscription,
    /// The consumer's name.
    name: String,
    slots: Arc<Slots>,
    pull: Pull,
}

impl Pulled {
    pub(super) fn new(consumers: Consumers, it: Subscription, name: String, consumer: PullConsumer) -> Self {
        let subscription = it;
        let slots = Arc::new(Slots::new(subscription.in_flight, subscription.settle_within));
        Self { consumers, subscription, name, slots, pull: Pull::Idle(Arc::new(consumer)) }
    }

    /// Takes one step. Returns a message when there is one. Dropping the future loses nothing.
    async fn step(&mut self) -> Option<Stored> {
        match &mut self.pull {
            Pull::Lost if self.consumers.connection.is_connected() => self.pull = Pull::Creating(self.create()),
            Pull::Lost => sleep(LOOK).await,
            Pull::Creating(create) => {
                self.pull = match create.await {
                    Ok(consumer) => Pull::Idle(Arc::new(consumer)),
                    Err(error) => {
                        let subject = &self.subscription.subject;
                        tracing::warn!(%error, subject, "a subscription waits for JetStream");
                        pause()
                    }
                };
            }
            Pull::Idle(consumer) => {
                let consumer = consumer.clone();
                let room = room(&self.slots, &self.consumers.connection).await;
                if room > 0 {
                    self.pull = Pull::Asking(Box::pin(ask(consumer, room)));
                }
            }
            Pull::Asking(ask) => {
                self.pull = match ask.await {
                    (consumer, Ok(batch)) => {
                        let connects = self.consumers.connection.connects();
                        Pull::Open { consumer, batch: Box::new(batch), connects, since: Instant::now() }
                    }
                    (_, Err(())) => pause(),
                };
            }
            Pull::Open { consumer, batch, connects, since } => tokio::select! {
                biased;
                next = batch.next() => match next {
                    Some(Ok(message)) => return Some(message),
                    // It has all that it asked for, or it expired.
                    None => self.pull = Pull::Idle(consumer.clone()),
                    Some(Err(error)) => {
                        tracing::debug!(%error, "a request for messages failed");
                        self.pull = pause();
                    }
                },
                () = sleep(LOOK) => {
                    if self.consumers.connection.connects() != *connects {
                        self.pull = Pull::Idle(consumer.clone());
                    } else if since.elapsed() > EXPIRES + LATE && self.consumers.connection.is_connected() {
                        self.pull = Pull::Lost;
                    }
                }
            },
            Pull::Pausing(at) => {
                tokio::time::sleep_until(*at).await;
                self.pull = Pull::Lost;
            }
        }
        None
    }

    fn create(&self) -> BoxFuture<'static, Result<PullConsumer, Error>> {
        let (consumers, subscription) = (self.consumers.clone(), self.subscription.clone());
        let (name, resume) = (self.name.clone(), self.slots.resume_at());
        Box::pin(async move {
            consumers.create_stream().await?;
            consumers.create(&name, &subscription, resume).await
        })
    }

    fn delivery(&self, stored: &Stored) -> Option<Delivery> {
        let message = stored.message.clone();
        let info = stored.info().ok()?;
        let number = self.slots.take(info.stream_sequence, Instant::now());
        let attempt = u32::try_from(info.delivered).unwrap_or(u32::MAX).max(1);
        let reply_to = message.headers.as_ref().and_then(|it| it.get(REPLY_TO)).map(|it| it.as_str().to_owned());
        let settle = Box::new(PulledSettle {
            connection: self.consumers.connection.clone(),
            slots: self.slots.clone(),
            number,
            ack: message.reply.map(Subject::into_string).unwrap_or_default(),
            is_handled: false,
        });
        let message = Message { subject: message.subject.into_string(), body: message.payload, reply_to };
        Some(Delivery { message, attempt, settle })
    }
}

/// How many messages to ask for now. Waits for a while when there is room for none.
async fn room(slots: &Slots, connection: &Connection) -> usize {
    let (free, at) = slots.free(Instant::now());
    if free > 0 && connection.is_connected() {
        return free.min(MAX_BATCH);
    }
    tokio::select! {
        () = slots.freed.notified(), if free == 0 => {}
        () = until(at), if free == 0 => {}
        // The connection may be open by then, or closed for good.
        () = sleep(LOOK) => {}
    }
    0
}

fn pause() -> Pull {
    Pull::Pausing(Instant::now() + PAUSE)
}

async fn ask(consumer: Arc<PullConsumer>, count: usize) -> (Arc<PullConsumer>, Result<Batch, ()>) {
    let batch = consumer.batch().max_messages(count).expires(EXPIRES).messages().await;
    let batch = batch.map_err(|error| tracing::debug!(%error, "a request for messages could not be sent"));
    (consumer, batch)
}

#[async_trait]
impl Deliveries for Pulled {
    async fn next(&mut self) -> Option<Delivery> {
        while !self.consumers.connection.is_closed() {
            if let Some(stored) = self.step().await
                && let Some(delivery) = self.delivery(&stored)
            {
                return Some(delivery);
            }
        }
        None
    }
}
