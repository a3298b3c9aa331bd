//! Requests to `JetStream`.
//!
//! Takes a connection that reconnects by itself; gives answers in bounded time, or the typed error. Never passes on the
//! client's texts, which may contain addresses.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::{PublishError, PublishErrorKind, RequestError, RequestErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{DirectGetErrorKind, Info, LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{Context, Error as ApiError, ErrorCode};
use async_nats::status::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::meta::{Names, Record};
use crate::backend::Error;

/// The server's code for a subject without messages.
const NO_MESSAGE: ErrorCode = ErrorCode(10037);

/// Access to one bucket.
pub(super) struct Api {
    pub(super) client: Client,
    pub(super) context: Context,
    pub(super) names: Names,
    pub(super) timeout: Duration,
    /// Whether the client is connected.
    pub(super) connected: watch::Receiver<bool>,
}

/// The newest record of an object.
pub(super) struct Last {
    pub(super) sequence: u64,
    pub(super) created_ns: u64,
    pub(super) record: Record,
}

#[derive(Deserialize)]
struct Stored {
    message: StoredMessage,
}

#[derive(Deserialize)]
struct StoredMessage {
    seq: u64,
    #[serde(default)]
    data: String,
    time: String,
}

#[derive(Deserialize)]
pub(super) struct Done {
    #[serde(rename = "success")]
    _success: bool,
}

/// An acknowledgement that is on its way.
pub(super) type Ack = BoxFuture<'static, Result<PublishAck, PublishError>>;

/// What became of a record that was published on a condition.
pub(super) enum Published {
    At(u64),
    /// Another version was published first.
    Conflict,
}

pub(super) fn lost() -> Error {
    Error::Unavailable("the server cannot be reached".to_owned())
}

fn nonsense() -> Error {
    Error::Other("the server's answer makes no sense".to_owned())
}

/// A failure that the server reports.
pub(super) fn reported(error: &ApiError) -> Error {
    let code = error.error_code();
    let is_full = matches!(
        code,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED
            | ErrorCode::STREAM_STORE_FAILED
            | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED
    );
    match code {
        ErrorCode::STREAM_NOT_FOUND => Error::NoSuchContainer,
        ErrorCode::CLUSTER_NOT_AVAILABLE => Error::Unavailable("JetStream is unavailable".to_owned()),
        code if is_full => Error::QuotaExceeded(format!("limit reached: the bucket is full (code {})", code.0)),
        code => Error::Other(format!("the server answered with the error {}", code.0)),
    }
}

fn request_failed(error: &RequestError) -> Error {
    match error.kind() {
        RequestErrorKind::TimedOut => Error::Timeout,
        RequestErrorKind::NoResponders => Error::Unavailable("the server has no JetStream".to_owned()),
        _ => lost(),
    }
}

/// Nanoseconds since the Unix epoch in a time of the server.
pub(super) fn nanoseconds(time: &str) -> Option<u64> {
    let time = async_nats::datetime::parse_rfc3339(time).ok()?;
    u64::try_from(time.unix_timestamp_nanos()).ok()
}

impl Api {
    /// Waits for the connection, then for `work`, within one timeout.
    pub(super) async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        self.run_within(self.timeout, work).await
    }

    pub(super) async fn run_within<T>(&self, timeout: Duration, work: impl Future<Output = T>) -> Result<T, Error> {
        let (end, mut connected) = (Instant::now() + timeout, self.connected.clone());
        match timeout_at(end, connected.wait_for(|connected| *connected)).await {
            Ok(Ok(_)) => (),
            _ => return Err(lost()),
        }
        let is_connected = || *self.connected.borrow();
        timeout_at(end, work).await.map_err(|_| if is_connected() { Error::Timeout } else { lost() })
    }

    pub(super) async fn request<T: DeserializeOwned>(
        &self,
        subject: &str,
        payload: &(impl Serialize + Sync),
    ) -> Result<T, Error> {
        let subject = format!("{subject}.{}", self.names.stream());
        match self.answer(&subject, payload).await? {
            Response::Ok(answer) => Ok(answer),
            Response::Err { error } => Err(reported(&error)),
        }
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        subject: &str,
        payload: &(impl Serialize + Sync),
    ) -> Result<Response<T>, Error> {
        let answer = self.context.request(subject.to_owned(), payload);
        self.run(answer).await?.map_err(|error| request_failed(&error))
    }

    pub(super) async fn info(&self) -> Result<Info, Error> {
        self.request("STREAM.INFO", &json!({})).await
    }

    /// The newest record of an object, which may say that the object is deleted.
    pub(super) async fn last(&self, name: &str) -> Result<Option<Last>, Error> {
        let subject = format!("STREAM.MSG.GET.{}", self.names.stream());
        let stored = match self.answer::<Stored>(&subject, &json!({"last_by_subj": self.names.record(name)})).await? {
            Response::Ok(stored) => stored.message,
            Response::Err { error } if error.error_code() == NO_MESSAGE => return Ok(None),
            Response::Err { error } => return Err(reported(&error)),
        };
        let record = STANDARD.decode(&stored.data).ok().and_then(|data| serde_json::from_slice(&data).ok());
        let created_ns = nanoseconds(&stored.time).unwrap_or(0);
        Ok(Some(Last { sequence: stored.seq, created_ns, record: record.ok_or_else(nonsense)? }))
    }

    /// Deletes all messages of a subject.
    pub(super) async fn purge(&self, subject: &str) -> Result<(), Error> {
        self.request::<Done>("STREAM.PURGE", &json!({ "filter": subject })).await.map(drop)
    }

    /// Deletes one message. Returns whether it was there.
    pub(super) async fn delete(&self, sequence: u64) -> Result<bool, Error> {
        // A purge of the subject would do, but would disturb the listings in progress.
        let subject = format!("STREAM.MSG.DELETE.{}", self.names.stream());
        match self.answer::<Done>(&subject, &json!({"seq": sequence, "no_erase": true})).await? {
            Response::Ok(_) => Ok(true),
            Response::Err { error } => match reported(&error) {
                Error::Other(_) => Ok(false),
                error => Err(error),
            },
        }
    }

    pub(super) async fn delete_consumer(&self, name: &str) -> Result<Done, Error> {
        let subject = format!("CONSUMER.DELETE.{}.{name}", self.names.stream());
        match self.answer(&subject, &json!({})).await? {
            Response::Ok(done) => Ok(done),
            Response::Err { error } => Err(reported(&error)),
        }
    }

    /// Publishes a message. The acknowledgement comes later.
    pub(super) async fn send(&self, subject: String, message: PublishMessage) -> Result<Ack, Error> {
        match self.run(self.context.send_publish(subject, message)).await? {
            Ok(ack) => Ok(Box::pin(ack.into_future())),
            Err(error) => Err(self.publish_failed(&error).await),
        }
    }

    pub(super) async fn acknowledged(&self, ack: Ack) -> Result<u64, Error> {
        match self.run(ack).await? {
            Ok(ack) => Ok(ack.sequence),
            Err(error) => Err(self.publish_failed(&error).await),
        }
    }

    /// Publishes the record of an object if the newest one is the one at `expected` (0: if there is none).
    pub(super) async fn publish(&self, record: &Record, expected: u64) -> Result<Published, Error> {
        let payload =
            serde_json::to_vec(record).map_err(|_| Error::Other("the record cannot be written".to_owned()))?;
        let message = PublishMessage::build()
            .payload(payload.into())
            .header(async_nats::header::NATS_ROLLUP, "sub")
            .expected_last_subject_sequence(expected);
        let ack = self.send(self.names.record(&record.name), message).await?;
        match self.run(ack).await? {
            Ok(ack) => Ok(Published::At(ack.sequence)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(Published::Conflict),
            Err(error) => Err(self.publish_failed(&error).await),
        }
    }

    async fn publish_failed(&self, error: &PublishError) -> Error {
        use std::error::Error as _;
        match error.kind() {
            PublishErrorKind::TimedOut => Error::Timeout,
            // No stream takes the subject now: it is gone, or has no leader.
            PublishErrorKind::StreamNotFound => match self.info().await {
                Err(error) => error,
                Ok(_) => Error::Unavailable("JetStream is unavailable".to_owned()),
            },
            _ => match error.source().and_then(|source| source.downcast_ref::<ApiError>()) {
                Some(error) => reported(error),
                None => lost(),
            },
        }
    }

    /// The first message of a subject at or after a sequence number.
    pub(super) async fn next(self: Arc<Self>, subject: String, sequence: u64) -> Result<Option<StreamMessage>, Error> {
        let stream: Stream<()> = self.context.get_stream_no_info(self.names.stream()).await.map_err(|_| nonsense())?;
        let direct = self.run(stream.direct_get_next_for_subject(&subject, Some(sequence))).await?;
        match direct.map_err(|error| error.kind()) {
            Ok(message) => return Ok(Some(message)),
            Err(DirectGetErrorKind::TimedOut) => return Err(Error::Timeout),
            // The bucket does not allow it, or the replica that answered lags behind: the leader knows.
            Err(DirectGetErrorKind::NotFound | DirectGetErrorKind::ErrorResponse(StatusCode::NO_RESPONDERS, _)) => (),
            Err(_) => return Err(lost()),
        }
        let stored = self.run(stream.raw_message_builder().sequence(sequence).next_by_subject(subject).send()).await?;
        match stored.map_err(|error| error.kind()) {
            Ok(message) => Ok(Some(message)),
            Err(LastRawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(LastRawMessageErrorKind::JetStream(error)) => Err(reported(&error)),
            Err(_) => Err(lost()),
        }
    }
}
