//! `timezone`: the time zone that a component sees.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use jiff::tz::TimeZoneDatabase;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::decode::{Decode, Diagnostics, nearest, parsed};
use super::tree::Node;

/// The time zone that `wasi:clocks/timezone` reports to a component. The default is UTC, so that a component cannot infer
/// the host's location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeZone {
    /// Coordinated Universal Time.
    #[default]
    Utc,
    /// The host's time zone.
    System,
    /// An entry of the IANA Time Zone Database.
    Named(ZoneName),
}

/// A valid identifier of the IANA Time Zone Database, such as `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneName(String);

/// Why a string is not a [`TimeZone`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected `UTC`, `system`, or an IANA time zone such as `Europe/Berlin`, found `{name}`{}",
    near(name).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
)]
pub struct TimeZoneError {
    name: String,
}

/// The most similar identifier.
fn near(name: &str) -> Option<&'static str> {
    static KNOWN: LazyLock<Vec<String>> =
        LazyLock::new(|| TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect());
    nearest(name, KNOWN.iter().map(String::as_str))
}

impl TimeZone {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::Utc
    }
}

impl ZoneName {
    /// The identifier in the database's spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TimeZone {
    type Err = TimeZoneError;
    fn from_str(text: &str) -> Result<Self, TimeZoneError> {
        match text {
            "UTC" => return Ok(Self::Utc),
            "system" => return Ok(Self::System),
            _ => {}
        }
        // The bundled database, so that a manifest means the same on every host.
        let database = TimeZoneDatabase::bundled();
        if let Some(name) = database.get(text).ok().as_ref().and_then(jiff::tz::TimeZone::iana_name) {
            return Ok(Self::Named(ZoneName(name.to_owned())));
        }
        Err(TimeZoneError { name: text.to_owned() })
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utc => "UTC",
            Self::System => "system",
            Self::Named(name) => name.as_str(),
        })
    }
}

impl Serialize for TimeZone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for TimeZone {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimeZone".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "minLength": 1, "default": "UTC",
            "description": "UTC, system (the host's time zone), or an identifier of the IANA database such as Europe/Berlin."
        })
    }
}

impl Decode for TimeZone {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        parsed(node, path, diagnostics, str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_come_from_the_database() {
        let zone = |text: &str| text.parse::<TimeZone>().map(|zone| zone.to_string());
        assert_eq!(zone("UTC"), Ok("UTC".to_owned()));
        assert_eq!(zone("system"), Ok("system".to_owned()));
        assert_eq!(zone("Europe/Berlin"), Ok("Europe/Berlin".to_owned()));
        assert_eq!(zone("europe/berlin"), Ok("Europe/Berlin".to_owned()), "normalised to the database's spelling");
        assert!(zone("Europe/Berlim").unwrap_err().to_string().ends_with("did you mean `Europe/Berlin`?"));
        for wrong in ["", "Mars/Olympus", "../../etc/localtime", "+02:00"] {
            assert!(zone(wrong).is_err(), "{wrong}");
        }
    }
}
