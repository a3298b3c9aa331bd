//! Tree → typed values, collecting every problem instead of stopping at the first.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::problem::{ManifestProblem, ManifestProblemKind, Position, Problems};
use super::tree::{Node, Value};
use crate::name::{MAX_NAME, Name};

/// Where each key of a manifest stands: `components.web.source` → line and column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Position>);

impl Origins {
    /// The position of a dotted path, or of the nearest part of it that the text has.
    pub fn find(&self, path: &str) -> Option<Position> {
        let mut path = path;
        loop {
            if let Some(at) = self.0.get(path) {
                return Some(*at);
            }
            path = &path[..path.rfind('.')?];
        }
    }
}

/// What decoding gathers as it goes.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) problems: Problems,
    pub(crate) origins: Origins,
}

impl Gathered {
    pub(crate) fn bad(&mut self, at: Position, message: impl Into<String>) {
        self.push(at, ManifestProblemKind::BadValue, message.into(), None);
    }

    /// Adds a problem, which is only found out about if it is listed.
    pub(crate) fn problem(&mut self, problem: impl FnOnce() -> ManifestProblem) {
        if self.problems.is_full() {
            self.problems.omit(1);
        } else {
            self.problems.push(problem());
        }
    }

    fn push(&mut self, at: Position, kind: ManifestProblemKind, message: String, hint: Option<String>) {
        self.problems.push(ManifestProblem { at, kind, message, hint });
    }

    fn wrong_type(&mut self, path: &str, wanted: &str, node: &Node) {
        let what = if path.is_empty() { "a manifest".to_owned() } else { format!("`{path}`") };
        let message = format!("{what} takes {wanted}, not {}", node.value.kind());
        self.push(node.at, ManifestProblemKind::WrongType, message, None);
    }
}

/// A type that a node of the tree can be read as. `path` is the dotted path, for messages.
pub(crate) trait Decode: Sized {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self>;
}

/// A table being read: every key that is asked for is known, and every other one is refused at the end.
pub(crate) struct Table<'n> {
    path: String,
    at: Position,
    entries: &'n [(super::tree::Key, Node)],
    known: Vec<&'static str>,
}

impl<'n> Table<'n> {
    pub(crate) fn open(node: &'n Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            to.wrong_type(path, "a table", node);
            return None;
        };
        Some(Self { path: path.to_owned(), at: node.at, entries, known: Vec::new() })
    }

    fn child(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The node at `key`, which becomes a known key.
    fn node(&mut self, key: &'static str, to: &mut Gathered) -> Option<(&'n Node, String)> {
        self.known.push(key);
        let (found, node) = self.entries.iter().find(|(k, _)| k.text == key)?;
        let path = self.child(key);
        to.origins.0.insert(path.clone(), found.at);
        Some((node, path))
    }

    /// The value at `key`, if it is there and right.
    pub(crate) fn get<T: Decode>(&mut self, key: &'static str, to: &mut Gathered) -> Option<T> {
        let (node, path) = self.node(key, to)?;
        T::decode(node, &path, to)
    }

    /// The value at `key`; that it is missing is a problem.
    pub(crate) fn require<T: Decode>(&mut self, key: &'static str, to: &mut Gathered) -> Option<T> {
        if !self.entries.iter().any(|(k, _)| k.text == key) {
            self.known.push(key);
            let place = if self.path.is_empty() { "the manifest".to_owned() } else { format!("`{}`", self.path) };
            to.push(self.at, ManifestProblemKind::MissingKey, format!("{place} has no `{key}`, which it needs"), None);
            return None;
        }
        self.get(key, to)
    }

    /// Refuses every key that nothing asked for, each with the nearest one that is known.
    pub(crate) fn finish(self, to: &mut Gathered) {
        for (key, _) in self.entries.iter().filter(|(k, _)| !self.known.contains(&k.text.as_str())) {
            let place = if self.path.is_empty() { "a manifest".to_owned() } else { format!("`{}`", self.path) };
            if to.problems.is_full() {
                to.problems.omit(1);
                continue;
            }
            let hint = match nearest(&key.text, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it can have {}", list(&self.known)),
            };
            let message = format!("unknown key `{}` in {place}", key.text);
            to.push(key.at, ManifestProblemKind::UnknownKey, message, Some(hint));
        }
    }
}

/// The longest text that is compared with others to guess what was meant, and how many of those.
const MAX_GUESSED: usize = 256;
const MAX_CANDIDATES: usize = 1000;

/// The candidate that is so like `text` that it may have been meant.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance costs the product of both lengths, and a key can be as long as a manifest.
    if text.len() > MAX_GUESSED {
        return None;
    }
    let most = |c: &str| (c.len().max(text.len()) / 3).max(1);
    candidates
        .into_iter()
        .take(MAX_CANDIDATES)
        // So many characters have to be added or taken away at least.
        .filter(|c| c.len().abs_diff(text.len()) <= most(c))
        .map(|c| (strsim::damerau_levenshtein(text, c), c))
        .filter(|(distance, c)| *distance <= most(c))
        .min()
        .map(|(_, c)| c)
}

/// A key as a part of a path: one that cannot be a name may be as long as the manifest, and stands in the path of all
/// that is below it.
fn part(key: &str) -> Cow<'_, str> {
    if key.len() <= MAX_NAME {
        return Cow::Borrowed(key);
    }
    Cow::Owned(format!("{}…", &key[..key.floor_char_boundary(MAX_NAME)]))
}

/// `a, b and c`, each in backquotes.
pub(crate) fn list(items: &[&str]) -> String {
    join(items, "and")
}

/// `a, b or c`, each in backquotes.
pub(crate) fn choice(items: &[&str]) -> String {
    join(items, "or")
}

fn join(items: &[&str], word: &str) -> String {
    let quoted: Vec<_> = items.iter().map(|i| format!("`{i}`")).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} {word} {last}", most.join(", ")),
    }
}

impl Decode for String {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        if let Value::String(text) = &node.value {
            Some(text.clone())
        } else {
            to.wrong_type(path, "a string", node);
            None
        }
    }
}

impl Decode for bool {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        if let Value::Bool(value) = node.value {
            Some(value)
        } else {
            to.wrong_type(path, "true or false", node);
            None
        }
    }
}

impl Decode for u32 {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        if let Value::Integer(value) = node.value {
            match Self::try_from(value) {
                Ok(value) if value > 0 => Some(value),
                _ => {
                    to.bad(node.at, format!("`{path}` takes a whole number from 1 to {}, not {value}", Self::MAX));
                    None
                }
            }
        } else {
            to.wrong_type(path, "a whole number", node);
            None
        }
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let Value::Array(items) = &node.value else {
            to.wrong_type(path, "an array", node);
            return None;
        };
        let decoded: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(i, item)| {
                let path = format!("{path}.{i}");
                to.origins.0.insert(path.clone(), item.at);
                T::decode(item, &path, to)
            })
            .collect();
        decoded.into_iter().collect()
    }
}

impl<T: Decode> Decode for BTreeMap<Name, T> {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            to.wrong_type(path, "a table", node);
            return None;
        };
        let mut map = Self::new();
        for (key, value) in entries {
            let name = Name::new(key.text.clone()).map_err(|error| to.bad(key.at, error.to_string()));
            let path = format!("{path}.{}", part(&key.text));
            to.origins.0.insert(path.clone(), key.at);
            if let (Ok(name), Some(value)) = (name, T::decode(value, &path, to)) {
                map.insert(name, value);
            }
        }
        Some(map)
    }
}

/// Free-form text settings (`env`, `config`): whole numbers (in decimal) and booleans are taken as text.
impl Decode for BTreeMap<String, String> {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            to.wrong_type(path, "a table of strings", node);
            return None;
        };
        let mut map = Self::new();
        for (key, value) in entries {
            let path = format!("{path}.{}", key.text);
            to.origins.0.insert(path.clone(), key.at);
            let text = match &value.value {
                Value::Integer(number) => Some(number.to_string()),
                Value::Bool(value) => Some(value.to_string()),
                _ => String::decode(value, &path, to),
            };
            if key.text.is_empty() || key.text.contains(['\0', '=']) {
                to.bad(key.at, "a key here cannot be empty or hold `=` or a NUL");
            } else if let Some(text) = text {
                map.insert(key.text.clone(), text);
            }
        }
        Some(map)
    }
}

/// Reads a string and parses it; the parser's error becomes the problem.
pub(crate) fn parsed<T, E: std::fmt::Display>(
    node: &Node,
    path: &str,
    to: &mut Gathered,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let text = String::decode(node, path, to)?;
    match parse(&text) {
        Ok(value) => return Some(value),
        // What an error has to say may take long to find out.
        Err(_) if to.problems.is_full() => to.problems.omit(1),
        Err(error) => to.bad(node.at, format!("`{path}`: {error}")),
    }
    None
}

impl Decode for Name {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        parsed(node, path, to, |text| Self::new(text))
    }
}
