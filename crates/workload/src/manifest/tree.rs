//! A manifest as a tree in which every value knows where it stands. TOML, YAML and JSON all become this one tree.

use super::problem::{Position, Problems};

/// A value and where it starts.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// A key of a table and where it starts.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) at: Position,
    pub(crate) text: String,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float,
    String(String),
    Array(Vec<Node>),
    Table(Vec<(Key, Node)>),
    /// A date or time, which only TOML has.
    Date,
}

impl Value {
    /// What a message calls a value of this kind.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float => "a float",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
            Self::Date => "a date",
        }
    }
}

/// What reading a text gives: a tree if there was one to make, and what was wrong.
pub(crate) type Read = (Option<Node>, Problems);

/// Turns byte offsets into lines and columns.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
    /// How many characters the text has before each [`STEP`]th byte: a line can be as long as the text.
    characters: Vec<usize>,
}

const STEP: usize = 256;

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        let (mut count, mut characters) = (0, vec![0]);
        for step in text.as_bytes().chunks(STEP) {
            count += step.iter().filter(|byte| begins_character(**byte)).count();
            characters.push(count);
        }
        Self { text, starts, characters }
    }

    /// The position of a byte offset: lines and columns from 1, columns in characters.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts[line - 1];
        Position { line, column: self.before(offset) - self.before(start) + 1 }
    }

    /// How many characters begin before this offset.
    fn before(&self, offset: usize) -> usize {
        let step = offset / STEP;
        let rest = self.text.as_bytes()[step * STEP..offset].iter();
        self.characters[step] + rest.filter(|byte| begins_character(**byte)).count()
    }
}

fn begins_character(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

#[cfg(test)]
mod tests {
    use super::{Lines, STEP};

    #[test]
    fn positions_count_lines_and_characters() {
        let text = format!("é{}\nüb", "x".repeat(STEP));
        let lines = Lines::new(&text);
        let at = |offset| {
            let at = lines.position(offset);
            (at.line, at.column)
        };
        assert_eq!([at(0), at(2), at(STEP), at(STEP + 2)], [(1, 1), (1, 2), (1, STEP), (1, STEP + 2)]);
        assert_eq!([at(STEP + 3), at(STEP + 5), at(STEP + 6), at(9999)], [(2, 1), (2, 2), (2, 3), (2, 3)]);
        assert_eq!(Lines::new("").position(0), super::Position::START);
        let whole = "x".repeat(STEP);
        assert_eq!(Lines::new(&whole).position(STEP).column, STEP + 1);
    }
}
