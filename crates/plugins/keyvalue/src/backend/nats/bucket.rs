//! A bucket, and what is read from it and written to it.
//!
//! Takes the names of keys, escaped; gives their last revision, and writes another, if none has come between where that
//! matters. Never tries anything again by itself.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{self, DirectGetErrorKind, DiscardPolicy, LastRawMessageErrorKind};
use async_nats::jetstream::{Error as ServerError, ErrorCode};
use async_nats::{Client, HeaderMap, header};
use bytes::Bytes;

use super::super::{Entry, Error};
use super::NatsConfig;
use super::escape::escape;

/// The longest key, escaped: a line of the protocol has 4,096 bytes, with the bucket and the reply's subject.
const MAX_NAME: usize = 3000;
/// The space that the headers of a write may take of a message.
const HEADERS: usize = 256;
/// How long a server from 2.11 on keeps the marker of a key that has expired.
const MARKER_TTL: Duration = Duration::from_hours(1);
const OPERATION: &str = "KV-Operation";

/// The name of a key in a bucket.
pub(super) fn name(key: &str) -> Result<String, Error> {
    let name = escape(key);
    if name.len() > MAX_NAME {
        let size = name.len();
        return Err(Error::InvalidArgument(format!(
            "a key of {size} bytes, as NATS writes it: the longest has {MAX_NAME}"
        )));
    }
    Ok(name)
}

/// The last revision of a key.
pub(super) struct Found {
    /// The value; none if the key does not exist.
    pub(super) value: Option<Bytes>,
    /// The revision, also that of a deletion; 0 if there is none.
    pub(super) revision: u64,
    /// How long until it expires.
    pub(super) ttl: Option<Duration>,
}

impl Found {
    const NOTHING: Self = Self { value: None, revision: 0, ttl: None };

    /// The entry, if the key exists.
    pub(super) fn entry(&self) -> Option<Entry> {
        self.value.clone().map(|value| Entry { value, version: self.revision.to_string() })
    }
}

/// What is written.
#[derive(Clone)]
pub(super) struct Publish {
    /// The value; none deletes.
    pub(super) value: Option<Bytes>,
    /// How long until it expires.
    pub(super) ttl: Option<Duration>,
}

/// A bucket.
pub(super) struct Bucket {
    client: Client,
    context: Context,
    store: Store,
    host: String,
    /// Whether any server of a cluster may answer. With more than one, another may not have the last write yet.
    direct: bool,
    expires: bool,
}

impl Bucket {
    /// Opens a bucket, or creates it.
    pub(super) async fn open(client: Client, context: Context, config: &NatsConfig, host: &str) -> Result<Self, Error> {
        let failed = |error: &(dyn StdError + 'static)| failed(host, error);
        match context.get_stream(format!("KV_{}", config.bucket)).await {
            Ok(_) => {}
            Err(error) if is_missing(error.kind()) && config.create => {
                create(&client, &context, config, host).await?;
            }
            Err(error) if is_missing(error.kind()) => {
                let name = &config.bucket;
                return Err(Error::Unavailable(format!(
                    "NATS at `{host}` has no bucket `{name}`, and `create` is off"
                )));
            }
            Err(error) => return Err(failed(&error)),
        }
        let store = context.get_key_value(&config.bucket).await.map_err(|error| failed(&error))?;
        let stream = &store.stream.cached_info().config;
        let direct = stream.allow_direct && stream.num_replicas <= 1 && stream.mirror.is_none();
        // With a longer history, the revision before would come back.
        let expires = stream.allow_message_ttl && stream.max_messages_per_subject == 1;
        Ok(Self { client, context, host: host.to_owned(), direct, expires, store })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// An error of the library as the store reports it.
    pub(super) fn failed(&self, error: &(dyn StdError + 'static)) -> Error {
        failed(&self.host, error)
    }

    /// Whether the server answers, and has the bucket.
    pub(super) async fn check(&self) -> Result<(), Error> {
        self.store.stream.get_info().await.map(drop).map_err(|error| self.failed(&error))
    }

    /// Reads a key.
    pub(super) async fn read(&self, name: &str) -> Result<Found, Error> {
        let subject = format!("{}{name}", self.store.prefix);
        let message = if self.direct {
            match self.store.stream.direct_get_last_for_subject(subject).await {
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(Found::NOTHING),
                result => result.map_err(|error| self.failed(&error))?,
            }
        } else {
            match self.store.stream.get_last_raw_message_by_subject(&subject).await {
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(Found::NOTHING),
                result => result.map_err(|error| self.failed(&error))?,
            }
        };
        let ttl = time_left(&message);
        let value = (!is_marker(&message.headers)).then_some(message.payload);
        Ok(Found { value, revision: message.sequence, ttl })
    }

    /// Writes a key. Returns false if `after` is not its last revision.
    pub(super) async fn publish(&self, name: &str, publish: Publish, after: Option<u64>) -> Result<bool, Error> {
        let prefix = self.store.put_prefix.as_ref().unwrap_or(&self.store.prefix);
        let subject = format!("{prefix}{name}");
        let largest = self.client.max_payload().saturating_sub(HEADERS);
        let mut message = PublishMessage::build();
        match publish.value {
            Some(value) if value.len() > largest => {
                return Err(Error::QuotaExceeded(format!(
                    "a value of {} bytes: the server takes {largest}; raise its `max_payload`",
                    value.len()
                )));
            }
            Some(value) => message = message.payload(value),
            None => message = message.header(OPERATION, "DEL"),
        }
        if let Some(ttl) = publish.ttl {
            if !self.expires {
                return Err(Error::Other(format!(
                    "entries of the bucket `{}` cannot expire: that needs NATS server 2.11 or later, and a bucket with \
                     limit markers and a history of 1",
                    self.store.name
                )));
            }
            // NATS counts whole seconds. Rounded up, so that nothing expires early.
            message = message.ttl(Duration::from_secs(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)));
        }
        if let Some(after) = after {
            message = message.expected_last_subject_sequence(after);
        }
        let acknowledged = match self.context.send_publish(subject, message).await {
            Ok(acknowledged) => acknowledged.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }
}

/// Creates the stream of a bucket, with the settings that NATS prescribes for one.
///
/// The library's own `create_key_value` first asks for the account, and cannot read what a server before 2.11 answers.
async fn create(client: &Client, context: &Context, config: &NatsConfig, host: &str) -> Result<(), Error> {
    let expires = client.is_server_compatible(2, 11, 0);
    let settings = stream::Config {
        name: format!("KV_{}", config.bucket),
        subjects: vec![format!("$KV.{}.>", config.bucket)],
        max_messages_per_subject: i64::from(config.history),
        max_bytes: -1,
        max_messages: -1,
        num_replicas: usize::from(config.replicas),
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        allow_message_ttl: expires,
        subject_delete_marker_ttl: expires.then_some(MARKER_TTL),
        ..stream::Config::default()
    };
    match context.create_stream(settings).await {
        Ok(_) => Ok(()),
        // Another host may have created it meanwhile, with other settings. Opening it shows.
        Err(error) if is_taken(&error.kind()) => Ok(()),
        Err(error) => Err(failed(host, &error)),
    }
}

fn is_taken(kind: &CreateStreamErrorKind) -> bool {
    matches!(kind, CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}

fn is_missing(kind: GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Whether a message says that its key was deleted or has expired.
pub(super) fn is_marker(headers: &HeaderMap) -> bool {
    let operation = headers.get(OPERATION).map(header::HeaderValue::as_str);
    matches!(operation, Some("DEL" | "PURGE")) || headers.get(header::NATS_MARKER_REASON).is_some()
}

fn time_left(message: &StreamMessage) -> Option<Duration> {
    let seconds: u64 = message.headers.get(header::NATS_MESSAGE_TTL)?.as_str().trim_end_matches('s').parse().ok()?;
    let age = SystemTime::now().duration_since(SystemTime::from(message.time)).unwrap_or_default();
    Some(Duration::from_secs(seconds).saturating_sub(age).max(Duration::from_millis(1)))
}

/// The server's error code, wherever in the chain it is.
fn code(error: &(dyn StdError + 'static)) -> Option<ErrorCode> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<ServerError>() {
            return Some(error.error_code());
        }
        next = error.source();
    }
    None
}

/// An error of the library as the store reports it.
fn failed(host: &str, error: &(dyn StdError + 'static)) -> Error {
    let code = code(error);
    let text = error.to_string();
    match code {
        Some(
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
            | ErrorCode::STREAM_STORE_FAILED
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED
            | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::INSUFFICIENT_RESOURCES,
        ) => return Error::QuotaExceeded(format!("NATS at `{host}`: {text}")),
        Some(ErrorCode::STREAM_NOT_FOUND) => {
            return Error::Unavailable(format!("NATS at `{host}`: the bucket has gone"));
        }
        _ => {}
    }
    if text.contains("timed out") {
        Error::Timeout
    } else if text.contains("payload size exceeded") {
        Error::QuotaExceeded(format!("NATS at `{host}`: {text}"))
    } else if text.contains("no responders") || text.contains("no stream found") || text.contains("unavailable") {
        Error::Unavailable(format!("NATS at `{host}`: JetStream or the bucket does not answer"))
    } else if code.is_some() {
        Error::Other(format!("NATS at `{host}`: {text}"))
    } else {
        Error::Unavailable(format!("NATS at `{host}`: {text}"))
    }
}
