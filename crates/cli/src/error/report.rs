//! The text of errors and warnings: severity, place and message on one line; below it the notes and a hint.
//!
//! Takes errors and the problems of a workload; gives the text for standard error. It prints nothing and chooses no exit
//! code.

use std::error::Error;
use std::fmt;

use anstyle::{AnsiColor, Style};
use wharf::workload::Severity;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();
const PLACE: Style = Style::new().dimmed();

/// One or more errors and warnings. Ends with their count if there is more than one.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// How many further errors the report leaves out.
    pub(crate) omitted: usize,
}

/// An error or a warning.
#[derive(Debug)]
pub(crate) struct Diagnostic {
    pub(crate) severity: Severity,
    /// Where the cause is, such as `wharf.toml:4:1`.
    pub(crate) place: Option<String>,
    pub(crate) error: Box<dyn Error + Send + Sync>,
    pub(crate) notes: Vec<String>,
    pub(crate) hint: Option<String>,
}

/// What the program was doing when an error occurred.
#[derive(Debug, thiserror::Error)]
#[error("{action}")]
struct Context {
    action: String,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl Report {
    /// A report of one error.
    pub(crate) fn error(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Diagnostic::error(error).into()
    }

    /// A report of one error with a hint, which says what to do.
    pub(crate) fn with_hint(error: impl Into<Box<dyn Error + Send + Sync>>, hint: &str) -> Self {
        Diagnostic::error(error).with_hint(Some(hint)).into()
    }

    /// A report of one error, with the action that it ended: "cannot read `a.wasm`".
    pub(crate) fn with_context(error: impl Into<Box<dyn Error + Send + Sync>>, action: String) -> Self {
        Self::error(Context { action, source: error.into() })
    }
}

impl From<Diagnostic> for Report {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { diagnostics: vec![diagnostic], omitted: 0 }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.diagnostics.iter().try_for_each(|diagnostic| write!(f, "{diagnostic}"))?;
        if self.omitted > 0 {
            writeln!(f, "{PLACE}{} more errors omitted{PLACE:#}", self.omitted)?;
        }
        let warnings = self.diagnostics.iter().filter(|found| found.severity == Severity::Warning).count();
        let errors = self.diagnostics.len() - warnings + self.omitted;
        if errors + warnings > 1 {
            let parts: Vec<_> = [count(errors, "error"), count(warnings, "warning")].into_iter().flatten().collect();
            writeln!(f, "{}", parts.join(", "))?;
        }
        Ok(())
    }
}

/// A count with its noun, such as `2 errors`. `None` for zero.
fn count(n: usize, noun: &str) -> Option<String> {
    (n > 0).then(|| format!("{n} {noun}{}", if n == 1 { "" } else { "s" }))
}

impl Diagnostic {
    pub(crate) fn error(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { severity: Severity::Error, place: None, error: error.into(), notes: Vec::new(), hint: None }
    }

    pub(crate) fn at(self, place: Option<String>) -> Self {
        Self { place, ..self }
    }

    pub(crate) fn with_hint(self, hint: Option<&str>) -> Self {
        Self { hint: hint.map(str::to_owned), ..self }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (style, word) = match self.severity {
            Severity::Error => (ERROR, "error"),
            Severity::Warning => (WARNING, "warning"),
        };
        if let Some(place) = &self.place {
            write!(f, "{PLACE}{place}:{PLACE:#} ")?;
        }
        writeln!(f, "{style}{word}:{style:#} {}", message(self.error.as_ref()))?;
        for note in &self.notes {
            writeln!(f, "  {PLACE}note:{PLACE:#} {note}")?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "  {HINT}hint:{HINT:#} {hint}")?;
        }
        Ok(())
    }
}

/// The message of an error and of its sources. A source whose message an outer error quotes is not repeated.
pub(crate) fn message(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let message = source.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Report, message};

    #[test]
    fn an_error_shows_each_of_its_sources_once() {
        let inner = std::io::Error::other("disk full");
        let report = Report::with_context(inner, "cannot write `a.wasm`".to_owned());
        assert_eq!(message(report.diagnostics[0].error.as_ref()), "cannot write `a.wasm`: disk full");

        let quoted = Report::with_context(std::io::Error::other("disk full"), "disk full at byte 7".to_owned());
        assert_eq!(message(quoted.diagnostics[0].error.as_ref()), "disk full at byte 7");
    }
}
