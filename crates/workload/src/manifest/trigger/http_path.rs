//! The path of an HTTP route, which has exactly one reading.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The path of an [`HttpTrigger`](super::HttpTrigger).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpPath {
    /// `/a`: exactly this path.
    Exact(String),
    /// `/a/...`: `/a` and everything below it. Stored without the last slash: `/...` is the empty string.
    Prefix(String),
}

/// Why a string is not an [`HttpPath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an exact path (`/a`) or a prefix (`/a/...`), without `?`, `#`, `\\`, spaces, empty or dot segments, and \
     encoded `/`, `\\` or `%`"
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
        // The last segment of an exact path may be empty: `/`, `/a/`.
        let last = segments.next_back().is_none_or(|last| (!prefix && last.is_empty()) || is_segment(last));
        if !rooted || !last || !segments.all(is_segment) || !path.chars().all(plain) {
            return Err(HttpPathError);
        }
        Ok(if prefix { Self::Prefix(path.to_owned()) } else { Self::Exact(path.to_owned()) })
    }
}

/// Whether a request's segment like this has exactly one reading.
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

impl<'de> Deserialize<'de> for HttpPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
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
