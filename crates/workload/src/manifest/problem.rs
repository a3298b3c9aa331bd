//! What can be wrong with a manifest's text.

use std::fmt;

use serde::Serialize;

/// A place in a text: line and column, both from 1, the column in characters.
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

/// One thing that is wrong with a manifest, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManifestProblem {
    /// Where it is.
    pub at: Position,
    /// What kind of problem it is.
    pub kind: ManifestProblemKind,
    /// What is wrong.
    pub message: String,
    /// What to do about it, when there is something to say.
    pub hint: Option<String>,
}

/// The kinds of a [`ManifestProblem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ManifestProblemKind {
    /// The text is not the format that its file name says, or is too large or too deep.
    Syntax,
    /// A key is there twice.
    DuplicateKey,
    /// A key that no manifest has.
    UnknownKey,
    /// A key that must be there is not.
    MissingKey,
    /// A value of another type than the key takes.
    WrongType,
    /// A value of the right type that cannot be.
    BadValue,
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl ManifestProblem {
    pub(crate) fn syntax(at: Position, message: impl Into<String>) -> Self {
        Self { at, kind: ManifestProblemKind::Syntax, message: message.into(), hint: None }
    }
}

/// The most problems of one manifest that are listed: who mends these will see the rest.
pub const MAX_PROBLEMS: usize = 100;

/// The most bytes of a message, which may quote what is wrong.
const MAX_MESSAGE: usize = 512;

/// Problems as they are found, and how many more there were than are listed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Problems {
    list: Vec<ManifestProblem>,
    omitted: usize,
}

impl Problems {
    /// Whether another problem would be counted and no more, so that nothing need be found out about it.
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

    /// Counts problems that nothing was found out about.
    pub(crate) fn omit(&mut self, count: usize) {
        self.omitted += count;
    }

    /// The problems in the order of the text, and how many are not among them.
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
