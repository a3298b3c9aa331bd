//! Values that may be secret: plain text, or the name of a secret.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;
use wharf::workload::Name;

/// Text in a declaration that may be a secret: `url = "redis://cache:6379"`, or `url = { secret = "redis-url" }`.
///
/// The text never shows in `Debug` output, which may end in a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields, expecting = "expected text, or `{ secret = \"<name>\" }`")]
pub enum Text {
    /// The text itself.
    Plain(String),
    /// The text is the value of a secret.
    Secret {
        /// The name of the secret, declared as `[secrets.<name>]`.
        secret: Name,
    },
}

impl Text {
    /// Where the text leads, for plans: a URL without user, password and query; `…` for any other text; the name of a secret.
    pub fn shown(&self) -> String {
        match self {
            Self::Secret { secret } => format!("secret {secret}"),
            Self::Plain(text) => match Url::parse(text) {
                // A password with an unescaped `/`, `?` or `#` leaves its end after the host.
                Ok(url) if url.has_host() && !after_host(&url).contains('@') => {
                    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
                    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
                }
                _ => "…".to_owned(),
            },
        }
    }
}

/// What follows the host and the port of an address.
fn after_host(url: &Url) -> &str {
    &url[url::Position::BeforePath..]
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Plain(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn a_password_never_shows() {
        let url = Text::from("redis://app:hunter2@cache.example:6379/0?token=x");
        assert_eq!(format!("{url:?}"), "redis://cache.example:6379");
        for text in
            ["host=db password=hunter2", "redis://app:hun/ter2@cache", "redis://hunter2#x@cache", "redis://hunter2?@x"]
        {
            assert_eq!(format!("{:?}", Text::from(text)), "…");
        }
        let secret: Text = serde_json::from_value(serde_json::json!({ "secret": "redis-url" })).unwrap();
        assert_eq!(secret.shown(), "secret redis-url");
        let both = serde_json::json!({ "secret": "redis-url", "value": "hunter2" });
        let error = serde_json::from_value::<Text>(both).unwrap_err().to_string();
        assert_eq!(error, "expected text, or `{ secret = \"<name>\" }`");
    }
}
