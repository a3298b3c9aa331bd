//! Why an operation failed: a code for programs, and messages for people.
//!
//! One type in both directions. A host makes it of its own errors; over the wire it is the body of every response with a
//! non-2xx status. A client adds one code of its own, [`ErrorCode::Transport`].

use std::error::Error;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;

/// Why an operation failed.
///
/// Its `Display` lists everything: the message with its causes on the first line, then each diagnostic.
///
/// ```
/// use wharf_api::{ApiError, Diagnostic, ErrorCode};
///
/// let error = ApiError::new(ErrorCode::Invalid, "the workload `default/shop` is not valid").with_diagnostic(
///     Diagnostic::error("nothing satisfies `acme:shop/prices`, which `web` imports").at("components.web"),
/// );
/// assert_eq!(
///     error.to_string(),
///     "the workload `default/shop` is not valid\n\
///      components.web: error: nothing satisfies `acme:shop/prices`, which `web` imports"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct ApiError {
    /// The kind of error, for programs.
    pub code: ErrorCode,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What caused it, the nearest cause first: the chain of [`Error::source`], which has no types on the wire.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// Every problem of the workload, and its warnings, when the workload is why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

impl ApiError {
    /// An error with this message, no causes and no diagnostics.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), causes: Vec::new(), diagnostics: Vec::new() }
    }

    /// An error with the message of `error`, and the messages of its sources as causes.
    pub fn of(code: ErrorCode, error: &dyn Error) -> Self {
        let causes =
            std::iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string).collect();
        Self { causes, ..Self::new(code, error.to_string()) }
    }

    /// The error of an operation on a workload that is not on the host.
    pub fn no_workload(id: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("no workload `{id}` is on this host; a heartbeat lists those that are"))
    }

    /// The same with one more diagnostic.
    #[must_use]
    pub fn with_diagnostic(mut self, diagnostic: impl Into<Diagnostic>) -> Self {
        self.diagnostics.push(diagnostic.into());
        self
    }

    /// The same with more diagnostics, such as the problems of a resolution.
    #[must_use]
    pub fn with_diagnostics<D: Into<Diagnostic>>(mut self, diagnostics: impl IntoIterator<Item = D>) -> Self {
        self.diagnostics.extend(diagnostics.into_iter().map(Into::into));
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))?;
        self.diagnostics.iter().try_for_each(|diagnostic| write!(f, "\n{diagnostic}"))
    }
}

// `causes` are in `Display`, so that a reporter which walks the sources does not print them twice.
impl Error for ApiError {}

/// The kinds of [`ApiError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// There is no such workload, component, function, blob or operation.
    NotFound,
    /// A workload of this id is on the host already.
    AlreadyRunning,
    /// There is no workload of this id to replace.
    NotRunning,
    /// The workload, or the request, is not valid; the diagnostics list every problem of a workload.
    Invalid,
    /// The workload is valid, and the host could not start it.
    Failed,
    /// A trigger or a plugin refuses the workload.
    Refused,
    /// The call is not admitted now: a limit on calls at once is reached. A later one can succeed.
    Busy,
    /// The function trapped, reached a limit, or could not be called with these arguments.
    CallFailed,
    /// The host shuts down and takes no new work.
    ShuttingDown,
    /// The host does not support this version of the API.
    UnsupportedVersion,
    /// The client could not reach the host, or could not read its response. A host never sends this code.
    Transport,
    /// A code that this version does not know.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: &'static [Self] = &[
        Self::NotFound,
        Self::AlreadyRunning,
        Self::NotRunning,
        Self::Invalid,
        Self::Failed,
        Self::Refused,
        Self::Busy,
        Self::CallFailed,
        Self::ShuttingDown,
        Self::UnsupportedVersion,
        Self::Transport,
        Self::Unknown,
    ];

    /// The HTTP status of a response with this error. A client reads the code; the status serves
    /// proxies and logs.
    pub fn status(self) -> u16 {
        match self {
            Self::NotFound | Self::UnsupportedVersion => 404,
            Self::AlreadyRunning | Self::NotRunning | Self::Refused => 409,
            Self::Invalid => 422,
            Self::Failed | Self::CallFailed | Self::Unknown => 500,
            Self::Transport => 502,
            Self::Busy | Self::ShuttingDown => 503,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the volume `data`")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_sources_of_an_error_are_its_causes() {
        let error = ApiError::of(ErrorCode::Failed, &Outer(std::io::Error::other("the disk is full")));
        assert_eq!(error.causes, ["the disk is full"]);
        let error = error.with_diagnostic(Diagnostic::warning("nothing reaches `cache`").with_note("no trigger"));
        let shown =
            "cannot open the volume `data`: the disk is full\nwarning: nothing reaches `cache`\n  note: no trigger";
        assert_eq!(error.to_string(), shown);
    }

    #[test]
    fn a_code_of_a_newer_host_is_unknown_and_keeps_its_message() {
        let error: ApiError = serde_json::from_str(r#"{ "code": "quota", "message": "ten at most" }"#).unwrap();
        assert_eq!(error, ApiError::new(ErrorCode::Unknown, "ten at most"));
    }

    #[test]
    fn every_status_is_an_error() {
        assert!(ErrorCode::ALL.iter().all(|code| (400..600).contains(&code.status())));
    }
}
