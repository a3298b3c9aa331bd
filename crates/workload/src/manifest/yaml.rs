//! YAML 1.2 → tree. JSON takes the same path: what a strict JSON parser accepts is valid YAML.

use std::collections::HashSet;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

use super::MAX_DEPTH;
use super::problem::{ManifestProblem, ManifestProblemKind, Position, Problems};
use super::tree::{Key, Node, Read, Value};

/// Reads JSON: first with a strict parser for the syntax, then as YAML for the positions.
pub(crate) fn read_json(text: &str) -> Read {
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        let at = Position { line: error.line().max(1), column: error.column().max(1) };
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
        return (None, one(ManifestProblem::syntax(at, message)));
    }
    read(&without_surrogates(text))
}

/// Replaces surrogate pairs, which JSON allows and YAML does not, by the characters that they encode.
fn without_surrogates(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return text.into();
    }
    let escape = |at: usize| -> Option<u16> {
        let hex = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(hex, 16).ok()
    };
    let mut plain = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let pair = escape(at).zip(escape(at + 6));
        let decoded = pair.and_then(|(high, low)| char::decode_utf16([high, low]).next()?.ok());
        // Any other escape is copied whole, so that `\\\\u` is not mistaken for the start of one.
        let length = match decoded {
            Some(c) if c as u32 > 0xffff => {
                plain.push(c);
                at += 12;
                continue;
            }
            _ if c == '\\' => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
            _ => c.len_utf8(),
        };
        plain.push_str(&text[at..at + length]);
        at += length;
    }
    plain.into()
}

pub(crate) fn read(text: &str) -> Read {
    let mut reader = Reader { parser: Parser::new_from_str(text), problems: Problems::default() };
    match reader.document() {
        Ok(node) => (Some(node), reader.problems),
        Err(problem) => {
            reader.problems.push(problem);
            (None, reader.problems)
        }
    }
}

fn one(problem: ManifestProblem) -> Problems {
    let mut problems = Problems::default();
    problems.push(problem);
    problems
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    problems: Problems,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), ManifestProblem> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(ManifestProblem::syntax(position(error.marker()), error.info())),
            None => Err(ManifestProblem::syntax(Position::START, "unexpected end of the document")),
        }
    }

    fn document(&mut self) -> Result<Node, ManifestProblem> {
        let empty = Node { at: Position::START, value: Value::Table(Vec::new()) };
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(empty),
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                (event, span) => {
                    let node = self.node(event, span, 0)?;
                    return self.end(node);
                }
            }
        }
    }

    /// Rejects a second document.
    fn end(&mut self, node: Node) -> Result<Node, ManifestProblem> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(node),
                (Event::DocumentStart(_), span) => {
                    let message = "unexpected second document; a manifest is a single document";
                    return Err(ManifestProblem::syntax(position(&span.start), message));
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, ManifestProblem> {
        let at = position(&span.start);
        if depth > MAX_DEPTH {
            return Err(ManifestProblem::syntax(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let value = match event {
            Event::Scalar(text, style, _, tag) => scalar(&text, style, tag.is_some()),
            Event::SequenceStart(..) => Value::Array(self.sequence(depth)?),
            Event::MappingStart(..) => Value::Table(self.mapping(depth)?),
            Event::Alias(_) => {
                return Err(ManifestProblem::syntax(at, "unsupported alias (`*name`)"));
            }
            _ => return Err(ManifestProblem::syntax(at, "expected a value")),
        };
        Ok(Node { at, value })
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, ManifestProblem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, ManifestProblem> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (Event::Scalar(text, ..), span) => Key { at: position(&span.start), text: text.into_owned() },
                (_, span) => return Err(ManifestProblem::syntax(position(&span.start), "expected a scalar key")),
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if !seen.insert(key.text.clone()) {
                self.problems.push(ManifestProblem {
                    at: key.at,
                    kind: ManifestProblemKind::DuplicateKey,
                    message: format!("duplicate key `{}`", key.text),
                    hint: None,
                });
                continue;
            }
            entries.push((key, value));
        }
    }
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

/// A scalar by YAML 1.2's core schema: quoted or tagged text is always a string.
fn scalar(text: &str, style: ScalarStyle, tagged: bool) -> Value {
    if style != ScalarStyle::Plain || tagged {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match text.parse::<i64>() {
            // `00501` and `+1` stay strings: converted to a number they would lose what was written.
            Ok(number) if number.to_string() == text => Value::Integer(number),
            Err(_) if looks_like_a_float(text) => Value::Float(number(text)),
            _ => Value::String(text.to_owned()),
        },
    }
}

fn number(text: &str) -> Option<serde_json::Number> {
    let float = || serde_json::Number::from_f64(text.parse().ok()?);
    text.parse::<u64>().ok().map(Into::into).or_else(float)
}

fn looks_like_a_float(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) && text.parse::<f64>().is_ok()
}
