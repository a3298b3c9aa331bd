//! One problem of a workload, in words: what is wrong, where, and what to do.
//!
//! Takes a [`Problem`] of resolution, or what a host finds by itself; gives data that every client can print, with no
//! knowledge of the kinds of problems.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use workload::{Problem, Severity};

/// A problem of a workload, or a warning.
///
/// ```
/// use wharf_api::Diagnostic;
///
/// let diagnostic = Diagnostic::error("missing required key `source`")
///     .at("components.web")
///     .with_hint("add `source = \"web.wasm\"`");
/// assert_eq!(
///     diagnostic.to_string(),
///     "components.web: error: missing required key `source`\n  hint: add `source = \"web.wasm\"`"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Diagnostic {
    /// Whether it keeps the workload from running. A reader takes a severity that it does not know for an error.
    #[serde(with = "severity")]
    #[schemars(with = "String")]
    pub severity: Severity,
    /// The kind of problem, for programs: the kebab-case name of a [`Problem`]'s variant, such as `missing-import`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The part of the manifest that it is about, as a dotted path: `components.web.source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Facts that explain it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error with this message.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message)
    }

    /// A warning with this message.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message)
    }

    fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self { severity, code: None, message: message.into(), place: None, notes: Vec::new(), hint: None }
    }

    /// The same with a code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The same with a place in the manifest, as a dotted path.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// The same with one more note.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: {}", severity::name(self.severity), self.message)?;
        self.notes.iter().try_for_each(|note| write!(f, "\n  note: {note}"))?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"))
    }
}

impl From<&Problem> for Diagnostic {
    fn from(problem: &Problem) -> Self {
        // A problem's variants have their names only in what serde derives.
        let fields = serde_json::to_value(problem).unwrap_or_default();
        Self {
            severity: problem.severity(),
            code: fields.get("code").and_then(|code| code.as_str()).map(str::to_owned),
            message: problem.to_string(),
            place: Some(problem.place()),
            notes: problem.notes(),
            hint: Some(problem.hint()).filter(|hint| !hint.is_empty()),
        }
    }
}

impl From<Problem> for Diagnostic {
    fn from(problem: Problem) -> Self {
        Self::from(&problem)
    }
}

/// How a severity is written.
mod severity {
    use super::{Deserialize, Deserializer, Serializer, Severity};

    pub(super) fn name(severity: Severity) -> &'static str {
        match severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }

    // The signature is that of serde's `with`.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(super) fn serialize<S: Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name(*severity))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Severity, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(if text == "warning" { Severity::Warning } else { Severity::Error })
    }
}

#[cfg(test)]
mod tests {
    use workload::Name;

    use super::*;

    #[test]
    fn a_problem_keeps_its_code_place_and_hint() {
        let problem = Problem::Unreached { component: Name::new("cache").unwrap() };
        let diagnostic = Diagnostic::from(&problem);
        assert_eq!(diagnostic.severity, Severity::Warning);
        assert_eq!(diagnostic.code.as_deref(), Some("unreached"));
        assert_eq!(diagnostic.place, Some(problem.place()));
        assert_eq!(diagnostic.message, problem.to_string());
        assert_eq!(diagnostic.hint, Some(problem.hint()));
    }

    #[test]
    fn an_unknown_severity_is_an_error() {
        let read: Diagnostic = serde_json::from_str(r#"{ "severity": "fatal", "message": "it burns" }"#).unwrap();
        assert_eq!(read, Diagnostic::error("it burns"));
    }
}
