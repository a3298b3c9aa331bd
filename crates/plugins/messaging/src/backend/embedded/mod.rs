//! A broker in the host's own process: no server, no disk.
//!
//! Takes messages, requests and subscriptions of this process; gives deliveries with the promises of the trait. A
//! message that matches no subscription is dropped, as core NATS does. Messages live in memory, within limits: one that
//! does not fit is refused, and none is lost for another. Nothing survives the process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::hub::{Hub, Shared};
use self::subscriber::Subscriber;
use super::{Broker, Deliveries, Error, Message, Subscription, subject};

mod hub;
mod subscriber;

/// The limits of an [`Embedded`] broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// The most messages of one queue, or of one subscription without a queue, that are not settled.
    pub max_waiting: usize,
    /// The most bytes of all messages that are not settled. A message counts once for each queue that it waits in.
    pub max_bytes: usize,
    /// The largest body, in bytes.
    pub max_message: usize,
    /// The most subscriptions at a time.
    pub max_subscriptions: usize,
    /// How long a queue keeps its messages after its last subscriber left, and accepts more.
    pub queue_grace: Duration,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            max_waiting: 10_000,
            max_bytes: 64 * 1024 * 1024,
            // What a NATS server accepts by default, so that a workload can move to one.
            max_message: 1024 * 1024,
            max_subscriptions: 1024,
            queue_grace: Duration::from_secs(30),
        }
    }
}

/// A broker in process.
pub struct Embedded {
    shared: Arc<Shared>,
}

impl Embedded {
    /// A broker without subscriptions.
    pub fn new(config: EmbeddedConfig) -> Self {
        Self { shared: Arc::new(Shared::new(Hub::new(config))) }
    }
}

#[async_trait]
impl Broker for Embedded {
    async fn publish(&self, message: Message) -> Result<(), Error> {
        check(&message)?;
        self.shared.lock().publish(&message, Instant::now()).map(|_| ())
    }

    async fn request(&self, subject: &str, body: Bytes, timeout: Duration) -> Result<Message, Error> {
        let mut message = Message { subject: subject.to_owned(), body, reply_to: None };
        check(&message)?;
        let (sender, receiver) = oneshot::channel();
        let inbox = self.shared.lock().open_inbox(sender)?;
        let _close = Inbox { shared: &self.shared, subject: &inbox };
        message.reply_to = Some(inbox.clone());
        if self.shared.lock().publish(&message, Instant::now())? == 0 {
            return Err(Error::NoResponders);
        }
        match tokio::time::timeout(timeout, receiver).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(Error::Timeout),
        }
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Deliveries>, Error> {
        subject::validate_subscribe(&subscription.subject)?;
        if let Some(queue) = &subscription.queue {
            subject::validate_queue(queue)?;
        }
        let (group, member, wake) = self.shared.lock().subscribe(&subscription, Instant::now())?;
        Ok(Box::new(Subscriber::new(self.shared.clone(), group, member, wake)))
    }

    async fn health(&self) -> Result<(), String> {
        if self.shared.lock().is_closed() { Err("the broker is closed".to_owned()) } else { Ok(()) }
    }

    async fn close(&self) {
        self.shared.lock().close();
    }
}

fn check(message: &Message) -> Result<(), Error> {
    subject::validate_publish(&message.subject)?;
    message.reply_to.as_deref().map_or(Ok(()), subject::validate_publish)
}

fn closed() -> Error {
    Error::Unavailable("the broker is closed".to_owned())
}

/// Closes the inbox of a request when its caller has what it waits for, or waits no longer.
struct Inbox<'a> {
    shared: &'a Shared,
    subject: &'a str,
}

impl Drop for Inbox<'_> {
    fn drop(&mut self) {
        self.shared.lock().close_inbox(self.subject);
    }
}

#[cfg(test)]
mod tests;
