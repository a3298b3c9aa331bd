//! Which stream a broker uses, and how it is created.
//!
//! Takes names from a manifest; gives them checked. Knows no connection.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use crate::backend::nats::NatsConfig;
use crate::backend::{Error, subject};

/// The longest name of a stream or a consumer.
pub(super) const MAX_NAME: usize = 128;

/// The longest time that is sent to a server, which counts nanoseconds in 64 bits.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// A time that the server understands.
pub(super) fn bounded(time: Duration) -> Duration {
    time.min(LONGEST)
}

/// When a stream that is created here lets go of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// When it is too old, or newer ones need its space: handled or not.
    #[default]
    Limits,
    /// When all queues and subscribers at the time handled it. A full stream refuses new messages.
    Interest,
    /// When it was handled. Each subject may have one queue. A full stream refuses new messages.
    WorkQueue,
}

/// How to use a stream of JetStream.
#[derive(Clone, Debug)]
pub struct JetStreamConfig {
    /// The server.
    pub nats: NatsConfig,
    /// The name of the stream.
    pub stream: String,
    /// Whether to create the stream when there is none. One that exists is used as it is.
    pub create: bool,
    /// The subjects that a created stream stores; they may have wildcards.
    pub subjects: Vec<String>,
    /// When a created stream lets go of a message.
    pub retention: Retention,
    /// The most bytes of a created stream; 0 for no limit.
    pub max_bytes: u64,
    /// How long a created stream keeps a message; 0 for no limit.
    pub max_age: Duration,
    /// Whether a queue that is new to the server begins with what the stream holds already. It begins with the messages
    /// from then on otherwise, unless the stream is a work queue.
    pub replay: bool,
}

impl JetStreamConfig {
    /// A stream that exists. One that is to be created keeps 1 GiB for a week, unless that is set otherwise.
    pub fn new(nats: NatsConfig, stream: &str) -> Self {
        Self {
            nats,
            stream: stream.to_owned(),
            create: false,
            subjects: Vec::new(),
            retention: Retention::Limits,
            max_bytes: 1024 * 1024 * 1024,
            max_age: Duration::from_hours(7 * 24),
            replay: false,
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let is_valid = |c: char| !c.is_whitespace() && !c.is_control() && !['.', '*', '>', '/', '\\'].contains(&c);
        if self.stream.is_empty() || self.stream.len() > MAX_NAME || !self.stream.chars().all(is_valid) {
            let name = self.stream.escape_debug();
            return Err(Error::Other(format!("invalid name of a stream: `{name}`; use letters, digits, `-` and `_`")));
        }
        if self.create && self.subjects.is_empty() {
            let name = &self.stream;
            return Err(Error::Other(format!("the stream `{name}` is to be created without subjects")));
        }
        self.subjects.iter().try_for_each(|it| subject::validate_subscribe(it))
    }

    /// Whether the stream may store this subject, as far as the config tells.
    pub(super) fn takes(&self, subject: &str) -> bool {
        self.subjects.is_empty() || self.subjects.iter().any(|it| subject::matches(it, subject))
    }

    /// The stream to create.
    pub(super) fn stream(&self) -> Config {
        let (retention, discard) = match self.retention {
            Retention::Limits => (RetentionPolicy::Limits, DiscardPolicy::Old),
            Retention::Interest => (RetentionPolicy::Interest, DiscardPolicy::New),
            Retention::WorkQueue => (RetentionPolicy::WorkQueue, DiscardPolicy::New),
        };
        Config {
            name: self.stream.clone(),
            subjects: self.subjects.clone(),
            storage: StorageType::File,
            retention,
            discard,
            // The server takes -1 for no limit.
            max_bytes: if self.max_bytes == 0 { -1 } else { i64::try_from(self.max_bytes).unwrap_or(i64::MAX) },
            max_age: bounded(self.max_age),
            ..Config::default()
        }
    }
}
