//! What a person sees when something went wrong: what, where, what to do; and the exit code.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | it went well |
//! | 1 | the component said that it failed, or gave this number itself (`wharf run`) |
//! | 2 | the command line is wrong |
//! | 3 | the manifest is wrong |
//! | 4 | the workload cannot be resolved, or a component cannot be loaded |
//! | 5 | the component trapped |
//! | 6 | the host could not do it: an address in use, a folder that cannot be written |

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use wharf::StartError;
use wharf::load::LoadError;
use wharf::workload::manifest::{ManifestProblem, Origins};
use wharf::workload::{Problem, Severity};

use crate::logging;

pub(crate) const MANIFEST: u8 = 3;
pub(crate) const UNRESOLVED: u8 = 4;
pub(crate) const TRAPPED: u8 = 5;
pub(crate) const HOST: u8 = 6;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();
const PLACE: Style = Style::new().dimmed();

/// An error that ends the program.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// What is printed, already in full.
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl std::fmt::Display) -> Self {
        Self { code, text: one(Severity::Error, None, &message.to_string(), &[], None) }
    }

    pub(crate) fn with_hint(code: u8, message: impl std::fmt::Display, hint: &str) -> Self {
        Self { code, text: one(Severity::Error, None, &message.to_string(), &[], Some(hint)) }
    }

    /// Several failures as one, with the code of the first.
    pub(crate) fn all(failures: Vec<Self>) -> Self {
        let code = failures.first().map_or(HOST, |failure| failure.code);
        Self { code, text: failures.into_iter().map(|failure| failure.text).collect() }
    }

    pub(crate) fn print(&self) -> ExitCode {
        logging::print(&self.text);
        ExitCode::from(self.code)
    }
}

/// Where a workload was declared, for the places of its problems.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    pub(crate) file: Option<PathBuf>,
    pub(crate) origins: Origins,
}

impl Declared {
    fn place(&self, path: &str) -> Option<String> {
        let file = self.file.as_ref()?;
        let at = self.origins.find(path).map_or_else(String::new, |at| format!(":{at}"));
        Some(format!("{}{at}", file.display()))
    }
}

pub(crate) fn manifest(file: &Path, problems: &[ManifestProblem], omitted: usize) -> Failure {
    let mut text = String::new();
    for problem in problems {
        let place = format!("{}:{}", file.display(), problem.at);
        text += &one(Severity::Error, Some(&place), &problem.message, &[], problem.hint.as_deref());
    }
    if omitted > 0 {
        writeln!(text, "{PLACE}and {omitted} more, which are not listed{PLACE:#}").ok();
    }
    Failure { code: MANIFEST, text: text + &count(problems.len() + omitted, 0) }
}

/// All that stands in the way of a workload, warnings among it.
pub(crate) fn problems(declared: &Declared, unloaded: &[LoadError], problems: &[Problem]) -> String {
    let mut text = String::new();
    for error in unloaded {
        let place = declared.place(&error.place());
        text += &one(Severity::Error, place.as_deref(), &error.to_string(), &[], Some(error.hint()));
    }
    for problem in problems {
        let place = declared.place(&problem.place());
        let (message, hint) = (problem.to_string(), problem.hint());
        text += &one(problem.severity(), place.as_deref(), &message, &problem.notes(), Some(&hint));
    }
    let errors = problems.iter().filter(|p| p.severity() == Severity::Error).count();
    text + &count(unloaded.len() + errors, problems.len() - errors)
}

pub(crate) fn start(declared: &Declared, error: &StartError) -> Failure {
    match error {
        StartError::Unresolved { unloaded, problems: found } => {
            Failure { code: UNRESOLVED, text: problems(declared, unloaded, found) }
        }
        StartError::Fuse(_) | StartError::Compile(_) | StartError::Link(_) | StartError::Plugin { .. } => {
            let place = declared.file.as_ref().map(|file| file.display().to_string());
            let text = one(Severity::Error, place.as_deref(), &error.to_string(), &[], None);
            Failure { code: UNRESOLVED, text }
        }
        StartError::Volume(volume) => {
            let place = declared.place(&format!("volumes.{}", volume.volume));
            let hint = "make the folder, or correct the volume's `host`";
            Failure { code: HOST, text: one(Severity::Error, place.as_deref(), &error.to_string(), &[], Some(hint)) }
        }
        _ => Failure::new(HOST, error),
    }
}

/// One problem: place, severity, message; then notes and a hint, each on a line of its own.
fn one(severity: Severity, place: Option<&str>, message: &str, notes: &[String], hint: Option<&str>) -> String {
    let (style, word) = match severity {
        Severity::Error => (ERROR, "error"),
        Severity::Warning => (WARNING, "warning"),
    };
    let mut text = String::new();
    if let Some(place) = place {
        write!(text, "{PLACE}{place}:{PLACE:#} ").ok();
    }
    writeln!(text, "{style}{word}:{style:#} {message}").ok();
    for note in notes {
        writeln!(text, "  {PLACE}note:{PLACE:#} {note}").ok();
    }
    if let Some(hint) = hint {
        writeln!(text, "  {HINT}hint:{HINT:#} {hint}").ok();
    }
    text
}

fn count(errors: usize, warnings: usize) -> String {
    let some = |n: usize, what: &str| (n > 0).then(|| format!("{n} {what}{}", if n == 1 { "" } else { "s" }));
    let parts: Vec<_> = [some(errors, "error"), some(warnings, "warning")].into_iter().flatten().collect();
    if errors + warnings > 1 { format!("{}\n", parts.join(", ")) } else { String::new() }
}
