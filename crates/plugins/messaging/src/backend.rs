//! The backend of messages: what every broker does, whatever serves it.
//!
//! Takes messages and subscriptions; gives deliveries, or an [`Error`]. Knows no component, no WIT and no grant: those
//! are the plugin's. How often a message is tried again, and where it goes when that is over, is the trigger's
//! decision, the same for every backend: none limits the deliveries of a message.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub mod subject;
mod ledger;
mod host_delivery;
pub mod embedded;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "nats")]
pub mod jetstream;
#[cfg(test)]
mod tests;

/// Why an operation on a broker failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The subject is empty, has a blank, an empty token or, where a message is sent, a wildcard.
    #[error("invalid subject: {0}")]
    InvalidSubject(String),
    /// No reply came in time, or the broker did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The subject of a request has no subscriber, as far as the broker can tell.
    #[error("no subscriber")]
    NoResponders,
    /// The broker cannot be reached. A later attempt may succeed.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// The body exceeds the broker's limit, in bytes.
    #[error("a message of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// The body's size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A limit was reached, such as the number of messages that wait.
    #[error("{0}")]
    QuotaExceeded(String),
    /// Any other failure.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// Whether a later attempt would fail as well.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::InvalidSubject(_) | Self::TooLarge { .. })
    }

    /// Whether the broker did not answer, or has no room now.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unavailable(_) | Self::QuotaExceeded(_))
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The subject: tokens separated by `.`, as NATS has them.
    pub subject: String,
    /// The body.
    pub body: Bytes,
    /// The subject for a reply.
    pub reply_to: Option<String>,
}

/// What a subscriber asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The subject; `*` stands for one token, a last `>` for one or more.
    pub subject: String,
    /// Subscribers of one queue with the same subject share the messages: each goes to one of them. Without a queue,
    /// each subscriber receives every message. Whether subscribers of one queue share where different subjects overlap
    /// is up to the broker.
    pub queue: Option<String>,
    /// The most deliveries that are handed out to this subscriber and not settled. 0 counts as 1. One that is to be
    /// tried again later is settled; core NATS counts it all the same, since the host has to keep it.
    pub in_flight: usize,
    /// A delivery that is not settled by then is delivered again, and no longer counts as handed out.
    pub settle_within: Duration,
}

/// How the handling of a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Handled: not delivered again.
    Done,
    /// Deliver again, after a delay.
    Retry(Duration),
}

/// A message on its way to a subscriber. Dropping it without settling it is as if its subscriber had died: it is
/// delivered again, at once or when `settle_within` is over. It can be settled after its [`Deliveries`] were dropped.
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// 1 for the first delivery of this message to this subscription's queue, 2 for the second, and so on.
    pub attempt: u32,
    /// How the delivery is settled.
    pub settle: Box<dyn Settle>,
}

/// Settles one delivery.
#[async_trait]
pub trait Settle: Send + Sync {
    /// Reports how the handling ended. After an error, the message may be delivered again.
    async fn settle(self: Box<Self>, settlement: Settlement) -> Result<(), Error>;

    /// Tells the broker that the handling goes on, so that it does not deliver again. Called about every third of
    /// `settle_within`.
    async fn progress(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// The deliveries of one subscription. Dropping it unsubscribes.
#[async_trait]
pub trait Deliveries: Send {
    /// The next delivery. `None` when the broker is gone for good, as after [`Broker::close`]. While a broker is
    /// unreachable this waits, and goes on by itself. Cancel safe: dropping the future loses no message.
    async fn next(&mut self) -> Option<Delivery>;
}

/// A broker.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Sends a message. When this returns, the broker has accepted it by its own measure (JetStream: stored; embedded:
    /// it waits for each subscription that it matches; core NATS: written to a live connection). After
    /// [`Error::Timeout`] and [`Error::Unavailable`], it may have been accepted all the same.
    async fn publish(&self, message: Message) -> Result<(), Error>;

    /// Sends a message and waits for one reply, at most this long.
    async fn request(&self, subject: &str, body: Bytes, timeout: Duration) -> Result<Message, Error>;

    /// Subscribes. When this returns, messages published from now on are delivered.
    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Deliveries>, Error>;

    /// Whether the broker answers; the text says why not. Returns within 2 seconds.
    async fn health(&self) -> Result<(), String>;

    /// Sends what is buffered, at most for a few seconds, and disconnects.
    async fn close(&self) {}
}
