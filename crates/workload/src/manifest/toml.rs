//! TOML → tree. The parser recovers from errors, so several are reported at once.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{MAX_PROBLEMS, ManifestProblem, ManifestProblemKind, Position, Problems};
use super::tree::{Key, Lines, Node, Read, Value};

pub(crate) fn read(text: &str) -> Read {
    let lines = Lines::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut problems = Problems::default();
    for error in errors.iter().take(MAX_PROBLEMS) {
        problems.push(problem(error, text, &lines));
    }
    problems.omit(errors.len().saturating_sub(MAX_PROBLEMS));
    if !problems.is_empty() {
        return (None, problems);
    }
    let node = Node { at: Position::START, value: table(document.get_ref(), &lines) };
    (Some(node), problems)
}

fn problem(error: &toml::de::Error, text: &str, lines: &Lines<'_>) -> ManifestProblem {
    let at = error.span().map_or(Position::START, |span| lines.position(span.start));
    let message = error.message();
    if message == "duplicate key" {
        let key = error.span().and_then(|span| text.get(span)).unwrap_or_default();
        let message = format!("{message} `{key}`");
        return ManifestProblem { at, kind: ManifestProblemKind::DuplicateKey, message, hint: None };
    }
    ManifestProblem::syntax(at, message)
}

fn table(table: &DeTable<'_>, lines: &Lines<'_>) -> Value {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| {
            let at = lines.position(key.span().start);
            (Key { at, text: key.get_ref().to_string() }, node(value, lines))
        })
        .collect();
    // The parser sorts tables by key; problems are reported in the order of the text.
    entries.sort_by_key(|(key, _)| key.at);
    Value::Table(entries)
}

fn node(value: &Spanned<DeValue<'_>>, lines: &Lines<'_>) -> Node {
    let at = lines.position(value.span().start);
    let value = match value.get_ref() {
        DeValue::String(s) => Value::String(s.to_string()),
        DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).map_or(Value::Float(None), Value::Integer),
        DeValue::Float(f) => Value::Float(f.as_str().parse().ok().and_then(serde_json::Number::from_f64)),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| node(item, lines)).collect()),
        DeValue::Table(inner) => table(inner, lines),
    };
    Node { at, value }
}
