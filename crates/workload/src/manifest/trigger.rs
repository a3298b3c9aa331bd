//! `[[triggers.http]]` and `[[triggers.command]]`: what calls a component.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::decode::{Decode, Gathered, Table, parsed};
use super::tree::Node;
use crate::name::Name;

/// What calls the components of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Triggers {
    /// HTTP routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub http: Vec<HttpTrigger>,
    /// Commands that are run when the workload starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub command: Vec<CommandTrigger>,
}

impl Triggers {
    /// Whether nothing calls this workload but the program that it is embedded in.
    pub fn is_empty(&self) -> bool {
        self.http.is_empty() && self.command.is_empty()
    }
}

/// Requests that a component answers. The longest path wins; a named host goes before any host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HttpTrigger {
    /// The component, which exports `wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`.
    pub component: Name,
    /// The `Host` of the request, without port; any host if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path: exact (`/a`), or with everything below (`/a/...`). `/...` if left out.
    #[schemars(default)]
    pub path: HttpPath,
}

/// A component whose `wasi:cli/run` is called when the workload starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CommandTrigger {
    /// The component.
    pub component: Name,
}

/// The path of an [`HttpTrigger`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpPath {
    /// `/a`: this path alone.
    Exact(String),
    /// `/a/...`: `/a` and everything below it. Kept without its last slash: `/...` is the empty text.
    Prefix(String),
}

/// Why a text is not an [`HttpPath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a path starts with `/` and is exact (`/a`) or ends in `/...` (`/a/...`), without `?`, `#`, `\\`, spaces, empty or dot \
     segments, and encoded `/`, `\\` or `%`"
)]
pub struct HttpPathError;

impl Default for HttpPath {
    fn default() -> Self {
        Self::Prefix(String::new())
    }
}

impl FromStr for HttpPath {
    type Err = HttpPathError;
    fn from_str(text: &str) -> Result<Self, HttpPathError> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !['?', '#', '\\'].contains(&c);
        let (path, prefix) = match text.strip_suffix("/...") {
            Some(path) => (path, true),
            None => (text, false),
        };
        let mut segments = path.split('/');
        let rooted = segments.next() == Some("") && (prefix || path.starts_with('/'));
        // What an exact path ends in may be empty: `/`, `/a/`.
        let last = segments.next_back().is_none_or(|last| (!prefix && last.is_empty()) || is_segment(last));
        if !rooted || !last || !segments.all(is_segment) || !path.chars().all(plain) {
            return Err(HttpPathError);
        }
        Ok(if prefix { Self::Prefix(path.to_owned()) } else { Self::Exact(path.to_owned()) })
    }
}

/// Whether a request can have this segment without being read in two ways.
fn is_segment(segment: &str) -> bool {
    let encoded = segment.to_ascii_lowercase();
    !["", ".", "..", "..."].contains(&segment)
        && !["%2e", "%2f", "%5c", "%25"].iter().any(|code| encoded.contains(code))
}

impl fmt::Display for HttpPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Prefix(prefix) => write!(f, "{prefix}/..."),
        }
    }
}

impl Serialize for HttpPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for HttpPath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HttpPath".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "pattern": "^/",
            "description": "An exact path (/a), or one with everything below it (/a/...)."
        })
    }
}

impl Decode for HttpPath {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        parsed(node, path, to, str::parse)
    }
}

impl Decode for HttpTrigger {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let mut table = Table::open(node, path, to)?;
        let component = table.require("component", to);
        let host = table.get::<String>("host", to);
        let route = table.get("path", to).unwrap_or_default();
        table.finish(to);
        let host = host.map(|h| h.to_ascii_lowercase());
        if host.as_ref().is_some_and(|h| h.is_empty() || h.contains(['/', ':', ' ', '*'])) {
            to.bad(node.at, format!("`{path}.host` is a host name without scheme, port or wildcard"));
            return None;
        }
        Some(Self { component: component?, host, path: route })
    }
}

impl Decode for CommandTrigger {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let mut table = Table::open(node, path, to)?;
        let component = table.require("component", to);
        table.finish(to);
        Some(Self { component: component? })
    }
}

impl Decode for Triggers {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let mut table = Table::open(node, path, to)?;
        let http = table.get("http", to).unwrap_or_default();
        let command = table.get("command", to).unwrap_or_default();
        table.finish(to);
        Some(Self { http, command })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_reading() {
        for good in ["/", "/a", "/a/", "/a/...", "/...", "/caf%C3%A9/...", "/.well-known/x"] {
            assert_eq!(good.parse::<HttpPath>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "a",
            "a/...",
            "/a?b",
            "/a b",
            "/../a",
            "/a/.../b",
            "//a",
            "/a//b",
            "/a//...",
            "/./a",
            "/a/..",
            "/a\\b",
            "/a%2Fb",
            "/%2e%2e/a",
            "/a%25b",
        ] {
            assert!(bad.parse::<HttpPath>().is_err(), "{bad}");
        }
    }
}
