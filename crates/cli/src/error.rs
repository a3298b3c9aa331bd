//! The errors that end a command, and the exit code of each.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | success |
//! | 1 | the component reports failure; with `wharf run`, the exit code is the component's own |
//! | 2 | the command line is wrong |
//! | 3 | a manifest or the host configuration cannot be read or does not parse |
//! | 4 | the workload does not resolve, or a component does not load |
//! | 5 | the component trapped |
//! | 6 | the host failed: an address is in use, a folder is not writable, no instance is free |
//! | 7 | the component reached a limit |
//! | 8 | a component does not build |

mod report;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use wharf::api::{ApiError, ErrorCode};
use wharf::prepare::load::LoadError;
use wharf::run::call::CallError;
use wharf::wasmtime::component::ResourceTableError;
use wharf::workload::Problem;
use wharf::workload::manifest::{ManifestProblem, Spans};
use wharf::{StartError, Termination};

use crate::logging;
pub(crate) use report::message;
pub(crate) use report::{Diagnostic, Report};

/// An error that ends the command. The variant determines the exit code; the report prints each error with its sources.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(Report),
    /// A manifest or the host configuration cannot be read or does not parse.
    #[error("{0}")]
    Manifest(Report),
    /// The workload does not resolve, or a component does not load, link or compile.
    #[error("{0}")]
    Workload(Report),
    /// The component trapped.
    #[error("{0}")]
    Call(Report),
    /// The component reached a limit.
    #[error("{0}")]
    Limit(Report),
    /// The host lacks a resource, such as a free address or a writable folder.
    #[error("{0}")]
    Host(Report),
    /// A component does not build.
    #[error("{0}")]
    Build(Report),
    /// Several workloads failed. The first error determines the exit code.
    #[error("{first}{}", Concatenated(rest))]
    Several {
        /// The first error.
        first: Box<CliError>,
        /// The others, in the order of their manifests.
        rest: Vec<CliError>,
    },
}

/// Prints the reports of several errors, one after the other.
struct Concatenated<'a>(&'a [CliError]);

impl fmt::Display for Concatenated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|error| write!(f, "{error}"))
    }
}

impl CliError {
    /// Combines errors into one. `None` if there are none.
    pub(crate) fn several(errors: Vec<Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let first = errors.next()?;
        let rest: Vec<Self> = errors.collect();
        Some(if rest.is_empty() { first } else { Self::Several { first: Box::new(first), rest } })
    }

    /// The exit code of the program, from the table at the top of this file.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Manifest(_) => 3,
            Self::Workload(_) => 4,
            Self::Call(_) => 5,
            Self::Host(_) => 6,
            Self::Limit(_) => 7,
            Self::Build(_) => 8,
            Self::Several { first, .. } => first.exit_code(),
        }
    }

    /// Prints the error to standard error and returns its exit code.
    pub(crate) fn print(&self) -> ExitCode {
        logging::print(&self.to_string());
        ExitCode::from(self.exit_code())
    }
}

/// The manifest that declares a workload, with the position of each of its keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    /// The manifest. `None` for a workload that the command line declares.
    pub(crate) file: Option<PathBuf>,
    pub(crate) spans: Spans,
}

impl Declared {
    /// The place of a key, as `file:line:column`.
    pub(crate) fn place(&self, path: &str) -> Option<String> {
        let file = self.file.as_ref()?;
        let at = self.spans.find(path).map_or_else(String::new, |at| format!(":{at}"));
        Some(format!("{}{at}", file.display()))
    }
}

/// The problems of a manifest that does not parse. `omitted` counts the problems that the parser leaves out.
pub(crate) fn manifest(file: &Path, problems: &[ManifestProblem], omitted: usize) -> CliError {
    let diagnostics = problems.iter().map(|problem| {
        let place = format!("{}:{}", file.display(), problem.at);
        Diagnostic::error(problem.message.as_str()).at(Some(place)).with_hint(problem.hint.as_deref())
    });
    CliError::Manifest(Report { diagnostics: diagnostics.collect(), omitted })
}

/// What is wrong with the host's configuration, at the place of a key in it.
pub(crate) fn host_config(declared: &Declared, place: &str, message: String, hint: Option<&str>) -> CliError {
    CliError::Manifest(Diagnostic::error(message).at(declared.place(place)).with_hint(hint).into())
}

/// All problems of a workload, warnings included.
pub(crate) fn problems(declared: &Declared, unloaded: &[LoadError], problems: &[Problem]) -> Report {
    let unloaded = unloaded.iter().map(|error| {
        Diagnostic::error(message(error)).at(declared.place(&error.place())).with_hint(Some(&error.hint()))
    });
    let problems = problems.iter().map(|problem| Diagnostic {
        severity: problem.severity(),
        place: declared.place(&problem.place()),
        error: problem.to_string().into(),
        notes: problem.notes(),
        hint: Some(problem.hint()).filter(|hint| !hint.is_empty()),
    });
    Report { diagnostics: unloaded.chain(problems).collect(), omitted: 0 }
}

/// Why a workload did not start.
pub(crate) fn start(declared: &Declared, error: StartError) -> CliError {
    if let StartError::Invalid { unloaded, problems: found } = error {
        return CliError::Workload(problems(declared, &unloaded, &found));
    }
    let file = || declared.file.as_ref().map(|file| file.display().to_string());
    let place = |error: &StartError| match error {
        // The manifest is not to blame.
        StartError::Provided(_) => None,
        error => error.place().map_or_else(file, |place| declared.place(&place)),
    };
    let located = |error: &StartError| {
        let place = place(error);
        Diagnostic::error(error.to_string()).at(place).with_hint(error.hint().as_deref())
    };
    // The first error determines the exit code.
    let wrap = match &error.each()[0] {
        // WASI opens the volumes, which are folders of this machine.
        StartError::Plugin(refused) if refused.plugin == wharf::wasi::NAME => CliError::Host,
        StartError::Fuse(_)
        | StartError::Compile { .. }
        | StartError::Link(_)
        | StartError::Plugin(_)
        | StartError::Refused { .. }
        | StartError::Trigger { .. } => CliError::Workload,
        _ => CliError::Host,
    };
    // One error has its sources printed.
    if error.each().len() == 1 {
        let (place, hint) = (place(&error), error.hint());
        return wrap(Diagnostic::error(error).at(place).with_hint(hint.as_deref()).into());
    }
    wrap(Report { diagnostics: error.each().iter().map(located).collect(), omitted: 0 })
}

/// Why a call of a component failed. `reached_limit` says whether its workload reached a limit.
pub(crate) fn call(error: CallError, reached_limit: bool) -> CliError {
    let wrap = match &error {
        // An instance may be larger than its limit from the start.
        CallError::Terminated { cause: Termination::Instantiate(_), .. } if reached_limit => CliError::Limit,
        CallError::NoFunction { .. } | CallError::Arguments { .. } => CliError::Usage,
        CallError::Terminated { cause, .. } => match cause {
            // A program of WASI 0.1 has no error for a full table of files.
            Termination::Trap(error) if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) => {
                CliError::Limit
            }
            Termination::Trap(_) | Termination::Instantiate(_) | Termination::InstanceEnded => CliError::Call,
            Termination::Time(_) | Termination::AfterResponse(_) | Termination::Cpu(_) | Termination::Memory(_) => {
                CliError::Limit
            }
            _ => CliError::Host,
        },
        _ => CliError::Host,
    };
    wrap(Report::error(error))
}

/// Why an operation of a running host failed.
pub(crate) fn remote(error: ApiError) -> CliError {
    remote_at(&Declared::default(), error)
}

/// The same, for a workload of a manifest.
pub(crate) fn remote_at(declared: &Declared, error: ApiError) -> CliError {
    let wrap = match error.code {
        ErrorCode::Invalid
        | ErrorCode::Refused
        | ErrorCode::NotFound
        | ErrorCode::NotRunning
        | ErrorCode::AlreadyRunning => CliError::Workload,
        ErrorCode::CallFailed => CliError::Call,
        _ => CliError::Host,
    };
    let hint = match error.code {
        ErrorCode::AlreadyRunning => Some("replace it with `wharf update`"),
        ErrorCode::NotRunning => Some("start it with `wharf start`"),
        _ => None,
    };
    // A single problem may be the whole message.
    let is_repeated = error.diagnostics.iter().any(|found| found.message == error.message);
    let details = error.diagnostics.into_iter().map(|found| Diagnostic {
        severity: found.severity,
        place: found.place.map(|place| declared.place(&place).unwrap_or(place)),
        error: found.message.into(),
        notes: found.notes,
        hint: found.hint,
    });
    let message = error.causes.iter().fold(error.message, |text, cause| format!("{text}: {cause}"));
    let head = Diagnostic::error(message).with_hint(hint);
    wrap(Report { diagnostics: Some(head).filter(|_| !is_repeated).into_iter().chain(details).collect(), omitted: 0 })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CallError, Termination, call};

    #[test]
    fn exit_codes_distinguish_traps_limits_and_the_host() {
        let code = |cause| call(CallError::Terminated { function: "run".to_owned(), cause }, false).exit_code();
        assert_eq!(code(Termination::Trap(wharf::wasmtime::format_err!("unreachable"))), 5);
        assert_eq!(code(Termination::NoInstance), 6, "a full pool");
        let second = Duration::from_secs(1);
        for limit in [Termination::Time(second), Termination::Cpu(second), Termination::Memory(1)] {
            assert_eq!(code(limit), 7);
        }
    }
}
