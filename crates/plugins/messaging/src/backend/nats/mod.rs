//! Core NATS: messages that the server passes on and does not keep.
//!
//! Takes messages, requests and subscriptions; gives deliveries. What a subscriber has got, the host keeps until it is
//! settled, so that a retry, a dropped delivery and a late one are delivered again by this host. The server keeps
//! nothing: a message that no subscriber was there for, and all that a host held when it ended, is lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Subject, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::config::NatsConfig;
pub(crate) use self::connection::Connection;
use super::host_delivery::{Holder, delivery, until};
use super::ledger::{Ledger, Next};
use super::{Broker, Deliveries, Delivery, Error, Message, Subscription, subject};

mod config;
mod connection;

/// A broker of core NATS.
pub struct Nats {
    connection: Connection,
}

impl Nats {
    /// Checks the config. Connects when it is first used.
    pub fn new(config: &NatsConfig) -> Result<Self, Error> {
        Ok(Self { connection: Connection::new(config)? })
    }
}

#[async_trait]
impl Broker for Nats {
    async fn publish(&self, message: Message) -> Result<(), Error> {
        check(&message)?;
        self.connection.publish(message.subject, message.reply_to, message.body).await
    }

    async fn request(&self, subject: &str, body: Bytes, timeout: Duration) -> Result<Message, Error> {
        subject::validate_publish(subject)?;
        let reply = self.connection.request(subject.to_owned(), None, body, timeout).await?;
        Ok(message(reply))
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Deliveries>, Error> {
        subject::validate_subscribe(&subscription.subject)?;
        if let Some(queue) = &subscription.queue {
            subject::validate_queue(queue)?;
        }
        let subscriber = self.connection.subscribe(&subscription.subject, subscription.queue.as_deref()).await?;
        let mut ledger = Ledger::default();
        let (member, wake) = ledger.join(&subscription);
        let kept = Arc::new(Kept(Mutex::new(ledger)));
        Ok(Box::new(CoreDeliveries { kept, subscriber, member, wake, in_flight: subscription.in_flight.max(1) }))
    }

    async fn health(&self) -> Result<(), String> {
        self.connection.health().await
    }

    async fn close(&self) {
        self.connection.close().await;
    }
}

pub(crate) fn check(message: &Message) -> Result<(), Error> {
    subject::validate_publish(&message.subject)?;
    message.reply_to.as_deref().map_or(Ok(()), subject::validate_publish)
}

pub(crate) fn message(it: async_nats::Message) -> Message {
    Message { subject: it.subject.into_string(), body: it.payload, reply_to: it.reply.map(Subject::into_string) }
}

/// What a subscription got and has not settled.
struct Kept(Mutex<Ledger>);

impl Holder for Kept {
    fn with(&self, _: u64, act: &mut dyn FnMut(&mut Ledger)) {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

struct CoreDeliveries {
    kept: Arc<Kept>,
    subscriber: Subscriber,
    member: u64,
    wake: Arc<Notify>,
    in_flight: usize,
}

impl CoreDeliveries {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.kept.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Deliveries for CoreDeliveries {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let (next, has_room) = {
                let mut ledger = self.ledger();
                let next = ledger.want(self.member, Instant::now());
                // What waits for its next delivery counts, so that failures do not fill the memory.
                (next, ledger.len() < self.in_flight)
            };
            let at = match next {
                Next::Handed(handed) => return Some(delivery(&self.kept, 0, handed)),
                Next::Wait(at) => at,
            };
            tokio::select! {
                () = self.wake.notified() => {}
                () = until(at) => {}
                next = self.subscriber.next(), if has_room => {
                    let message = message(next?);
                    self.ledger().push(message, Instant::now());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
