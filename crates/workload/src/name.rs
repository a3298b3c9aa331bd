//! Names of workloads, components and volumes: kebab-case, short enough for a DNS label.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The maximum length of a name in characters: that of a DNS label (RFC 1035), so that a name can become a host name.
pub const MAX_NAME: usize = 63;

/// A kebab-case name of 1 to 63 characters: words of `a-z` and `0-9`, each starting with a letter, joined by single
/// hyphens. Such a name is also a valid component-model label, so it can be the namespace of a scoped import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Name(#[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*$"))] String);

/// Why a string is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The string is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The string is longer than [`MAX_NAME`].
    #[error("expected at most {MAX_NAME} characters, found {0}")]
    TooLong(usize),
    /// The string is not kebab-case.
    #[error(
        "`{0}` is not kebab-case (lowercase words joined by single hyphens, each starting with a letter); try `{1}`"
    )]
    NotKebab(String, String),
}

impl Name {
    /// The name as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The valid name most similar to `text`, such as a file name: `My_tool 2` becomes `my-tool2`. Long input is truncated.
    pub fn nearest(text: &str) -> Self {
        let mut name = suggest(text);
        // The name is ASCII, so every byte is a character boundary.
        name.truncate(MAX_NAME);
        Self(name.trim_end_matches('-').to_owned())
    }

    /// A name that is joined from names, and may be longer than one that a manifest has.
    pub(crate) fn joined(names: String) -> Self {
        Self(names)
    }

    /// Validates `text` as a name.
    ///
    /// # Errors
    /// [`NameError`] if it is empty, too long, or not kebab-case.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let length = text.chars().count();
        if length > MAX_NAME {
            return Err(NameError::TooLong(length));
        }
        let word = |w: &str| {
            w.starts_with(|c: char| c.is_ascii_lowercase())
                && w.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        if text.split('-').all(word) { Ok(Self(text)) } else { Err(NameError::NotKebab(text.clone(), suggest(&text))) }
    }
}

/// The most similar kebab-case name, for error messages.
fn suggest(text: &str) -> String {
    let mut words = Vec::new();
    for word in text.to_lowercase().split(|c: char| !c.is_ascii_alphanumeric()) {
        match word.chars().next() {
            Some(c) if c.is_ascii_digit() => match words.last_mut() {
                Some(last) => *last = format!("{last}{word}"),
                None => words.push(format!("v{word}")),
            },
            Some(_) => words.push(word.to_owned()),
            None => {}
        }
    }
    let joined = words.join("-");
    if joined.is_empty() { "my-name".to_owned() } else { joined }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kebab_case_is_accepted() {
        for good in ["a", "auth", "my-store", "web2", "a-b-c"] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a--b", "2a", "a-2", "a.b", "é", "a b", &"a".repeat(64)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_message_suggests_a_valid_name() {
        let message = Name::new("My_Store 2").unwrap_err().to_string();
        assert!(message.ends_with("try `my-store2`"), "{message}");
    }
}
