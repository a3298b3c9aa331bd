//! `[messaging.<name>]` of a manifest: where a broker is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wharf::workload::manifest::{ByteSize, Millis, SettingsError};
use wharf_stores::{Backend, Declaration, Kind, Text};

use crate::backend::subject;

/// A message broker: `[messaging.<name>]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct MessageBroker {
    /// `embedded` (the default: in the host's process), `nats` or `jetstream`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The server's address, `nats://…` or `tls://…`, or a secret that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Text>,
    /// The text of a credentials file, best as `{ secret = "<name>" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Text>,
    /// How long an operation may take; `5s` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// Embedded: the most messages that wait in a queue; 10,000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_waiting: Option<u32>,
    /// Embedded, and a stream of JetStream that is created: the most that it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<ByteSize>,
    /// Embedded: the largest message; `1MiB` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message: Option<ByteSize>,
    /// JetStream: the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// JetStream: the subjects of the stream, which is created with them if it does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subjects: Option<Vec<String>>,
    /// JetStream: how long a created stream keeps a message; 7 days by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Millis>,
    /// JetStream: whether a new queue starts with the messages that the stream holds already; false by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<bool>,
}

impl MessageBroker {
    /// A broker with this backend, and the defaults for the rest.
    pub fn new(backend: &str) -> Self {
        Self { backend: Some(backend.to_owned()), ..Self::default() }
    }
}

impl Declaration for MessageBroker {
    const KIND: Kind = Kind::Messaging;
    const BACKENDS: &'static [Backend] = &[
        Backend {
            name: "embedded",
            required: &[],
            optional: &["max-waiting", "max-size", "max-message"],
            available: true,
        },
        Backend {
            name: "nats",
            required: &["url"],
            optional: &["credentials", "timeout"],
            available: cfg!(feature = "nats"),
        },
        Backend {
            name: "jetstream",
            required: &["url", "stream"],
            optional: &["credentials", "timeout", "subjects", "max-size", "max-age", "replay"],
            available: cfg!(feature = "nats"),
        },
    ];

    fn backend(&self) -> Option<&str> {
        self.backend.as_deref()
    }

    fn url(&self) -> Option<&Text> {
        self.url.as_ref()
    }

    fn texts(&self) -> Vec<(&'static str, &Text)> {
        let texts = [("url", &self.url), ("credentials", &self.credentials)];
        texts.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?))).collect()
    }

    fn check(&self) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        if self.subjects.as_ref().is_some_and(Vec::is_empty) {
            errors.push(SettingsError::new("subjects", "expected at least one subject").with_hint("remove `subjects`"));
        }
        for (i, subject) in self.subjects.iter().flatten().enumerate() {
            if let Err(error) = subject::validate_subscribe(subject) {
                errors.push(SettingsError::new(format!("subjects.{i}"), error.to_string()));
            }
        }
        if self.max_waiting == Some(0) {
            let message = "expected a value above 0 for `max-waiting`, found 0";
            errors.push(SettingsError::new("max-waiting", message));
        }
        errors
    }
}
