//! Problems of a manifest's text.

use std::fmt;

use serde::Serialize;

/// A position in a text: line and column, both from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

impl Position {
    /// The first character of a text.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A problem of a manifest: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManifestProblem {
    /// Where it is.
    pub at: Position,
    /// What kind of problem it is.
    pub kind: ManifestProblemKind,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The kinds of a [`ManifestProblem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ManifestProblemKind {
    /// The text does not parse, or is too large or too deeply nested.
    Syntax,
    /// A key appears twice.
    DuplicateKey,
    /// A key that is not part of the schema.
    UnknownKey,
    /// A required key is missing.
    MissingKey,
    /// A value of the wrong type.
    WrongType,
    /// A value of the right type that is not valid.
    BadValue,
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl ManifestProblem {
    /// The message and hint without the position.
    pub(crate) fn unplaced(&self) -> String {
        self.hint.as_ref().map_or_else(|| self.message.clone(), |hint| format!("{} ({hint})", self.message))
    }

    pub(crate) fn syntax(at: Position, message: impl Into<String>) -> Self {
        Self { at, kind: ManifestProblemKind::Syntax, message: message.into(), hint: None }
    }
}

/// The maximum number of problems that are listed for one manifest.
pub const MAX_PROBLEMS: usize = 100;

/// The maximum length of a message in bytes, because a message may quote the manifest.
const MAX_MESSAGE: usize = 512;

/// Problems in the order in which they are found, up to [`MAX_PROBLEMS`], and the number of the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Problems {
    list: Vec<ManifestProblem>,
    omitted: usize,
}

impl Problems {
    /// Whether further problems are only counted, so that their messages need not be computed.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= MAX_PROBLEMS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn push(&mut self, mut problem: ManifestProblem) {
        if self.is_full() {
            self.omitted += 1;
            return;
        }
        cut(&mut problem.message);
        if let Some(hint) = &mut problem.hint {
            cut(hint);
        }
        self.list.push(problem);
    }

    /// Counts problems without listing them.
    pub(crate) fn omit(&mut self, count: usize) {
        self.omitted += count;
    }

    /// The problems in the order of the text, and the number of unlisted ones.
    pub(crate) fn into_parts(mut self) -> (Vec<ManifestProblem>, usize) {
        self.list.sort_by_key(|problem| problem.at);
        (self.list, self.omitted)
    }
}

fn cut(text: &mut String) {
    if text.len() > MAX_MESSAGE {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE));
        text.push('…');
    }
}
