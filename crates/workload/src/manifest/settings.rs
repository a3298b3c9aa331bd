//! Settings that plugins and triggers own: values without a type until their owner decodes them.

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_path_to_error::Segment;

use super::decode::child;
use crate::problem::Problem;

/// A value of the manifest whose type only its owner knows: a plugin or a kind of trigger.
///
/// ```
/// use wharf_workload::manifest::Settings;
///
/// let settings = Settings::new(serde_json::json!({ "url": 3 }));
/// #[derive(serde::Deserialize)]
/// struct Store {
///     #[allow(dead_code)]
///     url: String,
/// }
/// assert_eq!(settings.decode::<Store>().err().unwrap().path, "url");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Settings(serde_json::Value);

/// Why [`Settings`] do not decode, or why a value in them is not valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsError {
    /// The value's dotted path below the settings; empty for the settings as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl SettingsError {
    /// An error without a hint.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), hint: None }
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The error as a problem of the workload, whose settings are at the dotted path `place`: `keyvalue`,
    /// `components.web.keyvalue`.
    pub fn into_problem(self, place: &str) -> Problem {
        Problem::Invalid { place: child(place, &self.path), message: self.message, hint: self.hint }
    }

    /// The same error at another index, which its path starts with; `None` if there is none.
    pub(crate) fn at_index(self, index: impl FnOnce(usize) -> Option<usize>) -> Option<Self> {
        let (first, rest) = self.path.split_once('.').unwrap_or((&self.path, ""));
        let index = index(first.parse().ok()?)?;
        Some(Self { path: child(&index.to_string(), rest), ..self })
    }

    /// The same error, seen from the table that has these settings at `path`.
    pub(crate) fn below(self, path: &str) -> Self {
        Self { path: child(path, &self.path), ..self }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl std::error::Error for SettingsError {}

fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(entries) => {
            let entries = entries.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(entries.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fn resolve_paths(value: &mut serde_json::Value, place: &str, folder: &Path) {
    use serde_json::Value;
    let (key, rest) = place.split_once('.').map_or((place, None), |(key, rest)| (key, Some(rest)));
    let inner: Vec<&mut Value> = match value {
        Value::Object(entries) => {
            entries.iter_mut().filter(|(name, _)| key == "*" || *name == key).map(|(_, value)| value).collect()
        }
        Value::Array(items) if key == "*" => items.iter_mut().collect(),
        _ => return,
    };
    for value in inner {
        match (rest, value) {
            (Some(rest), value) => resolve_paths(value, rest, folder),
            // An empty path is a mistake, which its owner reports.
            (None, Value::String(path)) if !path.is_empty() => {
                *path = folder.join(&*path).to_string_lossy().into_owned();
            }
            _ => {}
        }
    }
}

/// Without the value, which may have a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings(…)")
    }
}

/// A message of serde without the text that it found, which may be a secret in the wrong place.
fn without_text(message: &str) -> String {
    let found = "invalid type: string \"";
    match (message.find(found), message.rfind("\", expected ")) {
        (Some(start), Some(end)) if start < end => {
            format!("{}invalid type: string{}", &message[..start], &message[end + 1..])
        }
        _ => message.to_owned(),
    }
}

impl Settings {
    /// Settings with this value. Keys whose value is null are left out: a manifest has no null.
    pub fn new(value: serde_json::Value) -> Self {
        Self(without_nulls(value))
    }

    /// Encodes a typed value.
    ///
    /// # Errors
    /// [`SettingsError`] if `value` has no JSON form, such as a map whose keys are not strings.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, SettingsError> {
        serde_json::to_value(value).map(Self::new).map_err(|error| SettingsError::new("", error.to_string()))
    }

    /// Removes the key at a path of one key; gives whether there was one.
    pub(crate) fn remove(&mut self, path: &str) -> bool {
        let key = path.split('.').next().unwrap_or_default();
        self.0.as_object_mut().is_some_and(|entries| entries.remove(key).is_some())
    }

    /// Resolves the relative paths at a place such as `*.file` against `folder`.
    pub(crate) fn under(&mut self, place: &str, folder: &Path) {
        resolve_paths(&mut self.0, place, folder);
    }

    /// The value.
    pub fn value(&self) -> &serde_json::Value {
        &self.0
    }

    /// Decodes the value as its owner's type.
    ///
    /// # Errors
    /// [`SettingsError`] with the path of the value that does not fit.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        self.decode_at("")
    }

    /// Decodes the settings at the dotted path `place`, so that messages name the whole path.
    ///
    /// # Errors
    /// [`SettingsError`] with the path, below `place`, of the value that does not fit.
    pub fn decode_at<T: DeserializeOwned>(&self, place: &str) -> Result<T, SettingsError> {
        serde_path_to_error::deserialize(&self.0).map_err(|error| {
            let mut path = String::new();
            for segment in error.path() {
                path = match segment {
                    Segment::Seq { index } => child(&path, &index.to_string()),
                    Segment::Map { key } => child(&path, key),
                    Segment::Enum { variant } => child(&path, variant),
                    Segment::Unknown => path,
                };
            }
            let full = child(place, &path);
            let error = without_text(&error.into_inner().to_string());
            let message = if full.is_empty() { error } else { format!("invalid `{full}`: {error}") };
            SettingsError::new(path, message)
        })
    }
}
