//! `limits`: resource limits of an instance.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::decode::{Decode, Diagnostics, Table};
use super::tree::{Node, Value};

/// Resource limits of one instance of a unit; `None` is the host's default. A unit takes those of its entry component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Memory in bytes: all linear memories and tables together, and what the host stores for the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Wall-clock time of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Millis>,
    /// Wall-clock time of the work that continues after the responses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_response: Option<Millis>,
    /// CPU time of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Millis>,
    /// Concurrent calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Size of a request body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_body: Option<ByteSize>,
    /// Size of a response body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_body: Option<ByteSize>,
    /// Total size of a message's headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<ByteSize>,
    /// Open outbound connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Open files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u32>,
    /// Log lines per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_rate: Option<u32>,
}

impl Limits {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Sets one limit by its key, to a value in the manifest's syntax.
    ///
    /// # Errors
    /// The expected value, or the known limits if `name` is unknown.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let count = |value: &str| {
            value
                .parse::<u32>()
                .ok()
                .filter(|n| *n > 0)
                .map(Some)
                .ok_or_else(|| "expected an integer above 0".to_owned())
        };
        match name {
            "memory" => self.memory = Some(value.parse()?),
            "time" => self.time = Some(value.parse()?),
            "after-response" => self.after_response = Some(value.parse()?),
            "cpu" => self.cpu = Some(value.parse()?),
            "concurrency" => self.concurrency = count(value)?,
            "request-body" => self.request_body = Some(value.parse()?),
            "response-body" => self.response_body = Some(value.parse()?),
            "headers" => self.headers = Some(value.parse()?),
            "connections" => self.connections = count(value)?,
            "files" => self.files = count(value)?,
            "log-rate" => self.log_rate = count(value)?,
            _ => return Err(format!("unknown limit; expected one of {}", NAMES.join(", "))),
        }
        Ok(())
    }
}

const NAMES: [&str; 11] = [
    "memory",
    "time",
    "after-response",
    "cpu",
    "concurrency",
    "request-body",
    "response-body",
    "headers",
    "connections",
    "files",
    "log-rate",
];

impl FromStr for ByteSize {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64()).filter(|bytes| *bytes > 0);
        bytes.map(Self).ok_or_else(|| "expected a size such as `64MiB` or a number of bytes above 0".to_owned())
    }
}

impl FromStr for Millis {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let time = humantime::parse_duration(text).ok();
        let millis = time.and_then(|t| u64::try_from(t.as_millis()).ok()).filter(|millis| *millis > 0);
        millis
            .map(Self)
            .ok_or_else(|| "expected a duration of at least 1ms with its unit, such as `100ms` or `2s`".to_owned())
    }
}

/// A size in bytes, written as a number or with a unit: `64MiB`, `1.5GB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A duration in milliseconds, written with a unit: `100ms`, `2s`, `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// The duration as a [`Duration`].
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A rounded value would not parse back to the same number.
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.iter().find(|(unit, _)| self.0 != 0 && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.duration()))
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "integer"], "minimum": 1,
            "description": "A number of bytes, or a string with a unit such as 64MiB."
        })
    }
}

impl JsonSchema for Millis {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Millis".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "A duration with its unit, such as 100ms, 2s or 1m 30s." })
    }
}

impl Decode for ByteSize {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let bytes = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::String(text) => text.parse().ok().map(|Self(bytes)| bytes),
            _ => None,
        };
        if bytes.is_none_or(|b| b == 0) {
            diagnostics.bad(
                path,
                node.at,
                format!("expected a size such as \"64MiB\" or a number of bytes above 0 for `{path}`"),
            );
            return None;
        }
        bytes.map(Self)
    }
}

impl Decode for Millis {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let millis = match &node.value {
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        if millis.is_none() {
            diagnostics.bad(
                path,
                node.at,
                format!("expected a duration of at least 1ms such as \"100ms\" or \"2s\" for `{path}`"),
            );
        }
        millis
    }
}

impl Decode for Limits {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let mut table = Table::open(node, path, diagnostics)?;
        let limits = Self::of(&mut table, diagnostics);
        table.finish(diagnostics);
        Some(limits)
    }
}

impl Limits {
    /// Reads the limits from a table that may have other keys.
    pub(crate) fn of(table: &mut Table<'_>, diagnostics: &mut Diagnostics) -> Self {
        Self {
            memory: table.get("memory", diagnostics),
            time: table.get("time", diagnostics),
            after_response: table.get("after-response", diagnostics),
            cpu: table.get("cpu", diagnostics),
            concurrency: table.get("concurrency", diagnostics),
            request_body: table.get("request-body", diagnostics),
            response_body: table.get("response-body", diagnostics),
            headers: table.get("headers", diagnostics),
            connections: table.get("connections", diagnostics),
            files: table.get("files", diagnostics),
            log_rate: table.get("log-rate", diagnostics),
        }
    }
}
