//! `limits`: what one instance may use.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::decode::{Decode, Gathered, Table};
use super::tree::{Node, Value};

/// What one instance of a unit may use; `None` is the host's default. They are the limits of the unit's entry component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Memory: all linear memories and tables together, and what the host keeps for the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Wall-clock time of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Millis>,
    /// Wall-clock time of what an instance does once its calls are answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_response: Option<Millis>,
    /// CPU time of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Millis>,
    /// Calls at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Size of a request's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_body: Option<Bytes>,
    /// Size of a response's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_body: Option<Bytes>,
    /// Size of all headers of a message together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Bytes>,
    /// Open outbound connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Open files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u32>,
    /// Log lines a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_rate: Option<u32>,
}

impl Limits {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Sets one limit by its name in a manifest, to a value as a manifest writes it.
    ///
    /// # Errors
    /// What the limit takes, when this is none of its values, or which limits there are.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let count = |value: &str| value.parse::<u32>().map(Some).map_err(|_| "it takes a number".to_owned());
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
            _ => return Err(format!("there is no such limit; there are {}", NAMES.join(", "))),
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

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.parse::<ByteSize>().ok().map(|size| size.as_u64()).filter(|bytes| *bytes > 0);
        bytes.map(Self).ok_or_else(|| "it takes a size such as 64MiB or a number of bytes above 0".to_owned())
    }
}

impl FromStr for Millis {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let time = humantime::parse_duration(text).ok();
        let millis = time.and_then(|t| u64::try_from(t.as_millis()).ok()).filter(|millis| *millis > 0);
        millis.map(Self).ok_or_else(|| "it takes a time with its unit, such as 100ms or 2s, of 1ms or more".to_owned())
    }
}

/// A size in bytes, written as a number of bytes or with a unit: `64MiB`, `1.5GB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A time in milliseconds, written with a unit: `100ms`, `2s`, `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// The time as a [`Duration`].
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only an exact unit reads back as the same number.
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

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bytes".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "integer"], "minimum": 1,
            "description": "A number of bytes, or a text with a unit such as 64MiB."
        })
    }
}

impl JsonSchema for Millis {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Millis".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "A time with its unit, such as 100ms, 2s or 1m 30s." })
    }
}

impl Decode for Bytes {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let bytes = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::String(text) => text.parse().ok().map(|Self(bytes)| bytes),
            _ => None,
        };
        if bytes.is_none_or(|b| b == 0) {
            to.bad(node.at, format!("`{path}` takes a size such as \"64MiB\" or a number of bytes above 0"));
            return None;
        }
        bytes.map(Self)
    }
}

impl Decode for Millis {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let millis = match &node.value {
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        if millis.is_none() {
            to.bad(
                node.at,
                format!("`{path}` takes a time with its unit, such as \"100ms\" or \"2s\", of 1ms or more"),
            );
        }
        millis
    }
}

impl Decode for Limits {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let mut table = Table::open(node, path, to)?;
        let limits = Self::of(&mut table, to);
        table.finish(to);
        Some(limits)
    }
}

impl Limits {
    /// Those that a table has.
    pub(crate) fn of(table: &mut Table<'_>, to: &mut Gathered) -> Self {
        Self {
            memory: table.get("memory", to),
            time: table.get("time", to),
            after_response: table.get("after-response", to),
            cpu: table.get("cpu", to),
            concurrency: table.get("concurrency", to),
            request_body: table.get("request-body", to),
            response_body: table.get("response-body", to),
            headers: table.get("headers", to),
            connections: table.get("connections", to),
            files: table.get("files", to),
            log_rate: table.get("log-rate", to),
        }
    }
}
