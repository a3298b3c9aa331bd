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
#[serde(untagged)]
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
                Ok(url) if url.has_host() => {
                    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
                    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
                }
                _ => "…".to_owned(),
            },
        }
    }
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
        assert_eq!(format!("{:?}", Text::from("host=db password=hunter2")), "…");
        let secret: Text = serde_json::from_value(serde_json::json!({ "secret": "redis-url" })).unwrap();
        assert_eq!(secret.shown(), "secret redis-url");
    }
}
