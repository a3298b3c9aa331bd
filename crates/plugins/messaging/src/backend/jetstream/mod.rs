//! JetStream: messages that a NATS server stores until they are handled.
//!
//! Takes messages for the subjects of a stream, and subscriptions to them; gives deliveries that survive this host and
//! a restart of the server. A published message is stored when `publish` returns. A queue is a durable consumer, which
//! outlives its subscribers; a subscription without a queue is a consumer that the server removes some time after its
//! subscriber left. How often a message is delivered is not limited here: the trigger decides.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

pub use self::config::{JetStreamConfig, Retention};
use self::consumer::Consumers;
use self::deliveries::Pulled;
use super::nats::{Connection, check, message};
use super::{Broker, Deliveries, Error, Message, Subscription, subject};

mod config;
mod consumer;
mod deliveries;
mod settle;
mod slots;

/// The header that carries the subject for a reply: the server uses the protocol's own field for acknowledgements.
const REPLY_TO: &str = "Wharf-Reply-To";
/// The server's code for a stream that is full.
const STORE_FAILED: u64 = 10_077;

/// A broker of JetStream.
pub struct JetStream {
    connection: Arc<Connection>,
    config: Arc<JetStreamConfig>,
}

impl JetStream {
    /// Checks the config. Connects, and creates the stream, when it is first used.
    pub fn new(config: JetStreamConfig) -> Result<Self, Error> {
        config.check()?;
        Ok(Self { connection: Arc::new(Connection::new(&config.nats)?), config: Arc::new(config) })
    }

    fn consumers(&self) -> Consumers {
        Consumers { connection: self.connection.clone(), config: self.config.clone() }
    }
}

/// What the server answers to a message for a stream.
#[derive(Deserialize)]
struct Ack {
    error: Option<AckError>,
}

#[derive(Deserialize)]
struct AckError {
    code: u64,
    err_code: u64,
    #[serde(default)]
    description: String,
}

#[async_trait]
impl Broker for JetStream {
    async fn publish(&self, message: Message) -> Result<(), Error> {
        check(&message)?;
        self.consumers().create_stream().await?;
        let headers = message.reply_to.as_deref().map(|reply_to| {
            let mut headers = HeaderMap::new();
            headers.insert(REPLY_TO, reply_to);
            headers
        });
        let (subject, time) = (message.subject, self.connection.timeout());
        let answer = self.connection.request(subject.clone(), headers, message.body, time).await;
        let answer = answer.map_err(|error| match error {
            Error::NoResponders if !self.config.takes(&subject) => {
                Error::Other(format!("the stream `{}` does not store `{subject}`", self.config.stream))
            }
            // After a restart, a server answers for a moment before its streams are there.
            Error::NoResponders => {
                self.connection.set_prepared(0);
                self.connection.unavailable("no stream stores the subject at the moment")
            }
            error => error,
        })?;
        stored(&answer.payload)
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
        let consumers = self.consumers();
        let limit = self.connection.timeout().saturating_mul(2);
        let open = async {
            consumers.create_stream().await?;
            let name = consumers.name(&subscription).await?;
            let consumer = consumers.create(&name, &subscription, None).await?;
            Ok::<_, Error>((name, consumer))
        };
        let (name, consumer) = timeout(limit, open).await.map_err(|_| Error::Timeout)??;
        Ok(Box::new(Pulled::new(consumers, subscription, name, consumer)))
    }

    async fn health(&self) -> Result<(), String> {
        let started = Instant::now();
        self.connection.health().await?;
        let left = Duration::from_millis(1900).saturating_sub(started.elapsed());
        match timeout(left, self.consumers().look()).await {
            Ok(result) => result.map_err(|it| it.to_string()),
            Err(_) => Err("JetStream does not answer in time".to_owned()),
        }
    }

    async fn close(&self) {
        self.connection.close().await;
    }
}

/// Reads the server's answer to a published message.
fn stored(answer: &[u8]) -> Result<(), Error> {
    let other = || Error::Other("the answer is not JetStream's: something else subscribes to the subject".to_owned());
    let ack: Ack = serde_json::from_slice(answer).map_err(|_| other())?;
    match ack.error {
        None => Ok(()),
        Some(it) if it.err_code == STORE_FAILED => Err(Error::QuotaExceeded(it.description)),
        Some(it) if it.code == 503 => Err(Error::Unavailable(it.description)),
        Some(it) => Err(Error::Other(it.description)),
    }
}

#[cfg(test)]
mod tests;
