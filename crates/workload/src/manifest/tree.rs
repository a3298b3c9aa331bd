//! A manifest as a tree of values with positions. TOML, YAML and JSON all become this tree.

use super::problem::{Position, Problems};

/// A value and its position.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// A table's key and its position.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) at: Position,
    pub(crate) text: String,
}

/// A value of a manifest.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// A number that is not an `i64`; `None` if JSON cannot express it (an infinity, not a number).
    Float(Option<serde_json::Number>),
    String(String),
    Array(Vec<Node>),
    Table(Vec<(Key, Node)>),
    /// A date or time, which only TOML has.
    Date(String),
}

impl Value {
    /// The value's type, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
            Self::Date(_) => "a date",
        }
    }
}

impl Node {
    /// The tree of a JSON value, which has no positions.
    pub(crate) fn from_json(value: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => number.as_i64().map_or_else(|| Value::Float(Some(number.clone())), Value::Integer),
            Json::String(text) => Value::String(text.clone()),
            Json::Array(items) => Value::Array(items.iter().map(Self::from_json).collect()),
            Json::Object(entries) => {
                let entry = |(key, value): (&String, &Json)| {
                    (Key { at: Position::START, text: key.clone() }, Self::from_json(value))
                };
                Value::Table(entries.iter().map(entry).collect())
            }
        };
        Self { at: Position::START, value }
    }

    /// The value as JSON. A date becomes a string.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => number.clone().map_or(Json::Null, Json::Number),
            Value::String(text) | Value::Date(text) => Json::String(text.clone()),
            Value::Array(items) => items.iter().map(Self::to_json).collect(),
            Value::Table(entries) => {
                Json::Object(entries.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect())
            }
        }
    }
}

/// The result of reading a text: a tree, unless the syntax is too broken for one, and the problems.
pub(crate) type Read = (Option<Node>, Problems);

/// Turns byte offsets into lines and columns.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
    /// The number of characters before each [`STEP`]th byte, because a line can be as long as the text.
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

    /// The number of characters that begin before this offset.
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
