//! Tree → typed values. Decoding continues after a problem, so that one pass finds all of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::extensions::{Extensions, Level};
use super::problem::{ManifestProblem, ManifestProblemKind, Position, Problems};
use super::settings::Settings;
use super::tree::{Node, Value};
use crate::name::{MAX_NAME, Name};

/// The position of each key of a manifest: `components.web.source` → line and column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    positions: BTreeMap<String, Position>,
    /// The total length of the paths in bytes.
    bytes: usize,
}

/// The maximum total length of all recorded paths in bytes: a deep tree with many values would otherwise take memory in the
/// product of both. A path beyond it is found by its nearest recorded ancestor.
const MAX_SPAN_BYTES: usize = 16 * 1024 * 1024;

impl Spans {
    /// The position of a dotted path, or of its nearest ancestor in the text.
    pub fn find(&self, path: &str) -> Option<Position> {
        let mut path = path;
        loop {
            if let Some(at) = self.positions.get(path) {
                return Some(*at);
            }
            path = &path[..path.rfind('.')?];
        }
    }

    /// Whether the text has exactly this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.positions.contains_key(path)
    }

    /// Finds the paths below the key `from` below the key `to` as well.
    pub(crate) fn also(&mut self, from: &str, to: &str) {
        let below = self.positions.iter().filter_map(|(path, at)| {
            let rest = path.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with('.'))?;
            Some((format!("{to}{rest}"), *at))
        });
        let below: Vec<_> = below.collect();
        self.positions.extend(below);
    }

    pub(crate) fn record(&mut self, path: &str, at: Position) {
        self.bytes += path.len();
        if self.bytes <= MAX_SPAN_BYTES {
            self.positions.insert(path.to_owned(), at);
        }
    }
}

/// What decoding collects: problems, and the position of each key.
#[derive(Default)]
pub(crate) struct Diagnostics {
    pub(crate) problems: Problems,
    pub(crate) spans: Spans,
    /// The paths of the values that did not decode.
    failed: BTreeSet<String>,
    /// The extensions whose keys are accepted; every key if `None`.
    pub(crate) extensions: Option<Extensions>,
}

impl Diagnostics {
    /// Diagnostics that start with the problems of the text.
    pub(crate) fn new(problems: Problems, extensions: Option<Extensions>) -> Self {
        Self { problems, extensions, ..Self::default() }
    }

    pub(crate) fn bad(&mut self, path: &str, at: Position, message: impl Into<String>) {
        self.push(path, at, ManifestProblemKind::BadValue, message.into(), None);
    }

    pub(crate) fn push(
        &mut self,
        path: &str,
        at: Position,
        kind: ManifestProblemKind,
        message: String,
        hint: Option<String>,
    ) {
        if !self.problems.is_full() {
            self.failed.insert(path.to_owned());
        }
        self.problems.push(ManifestProblem { at, kind, message, hint });
    }

    pub(crate) fn wrong_type(&mut self, path: &str, wanted: &str, node: &Node) {
        let message = expected(wanted, path, node.value.kind());
        self.push(path, node.at, ManifestProblemKind::WrongType, message, None);
    }

    /// Whether a problem at `place` may follow from a value that did not decode: the value itself, one in it, or one that
    /// contains it.
    pub(crate) fn may_follow(&self, place: &str) -> bool {
        let within = |path: &str, outer: &str| {
            path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || outer.is_empty() || rest.starts_with('.'))
        };
        self.failed.iter().any(|failed| within(place, failed) || within(failed, place))
    }
}

/// A type that decodes from a node of the tree. `path` is the node's dotted path, for messages.
pub(crate) trait Decode: Sized {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self>;
}

/// A table that is being decoded. Every key that is read becomes known; [`Table::finish`] rejects the others.
pub(crate) struct Table<'n> {
    path: String,
    at: Position,
    entries: &'n [(super::tree::Key, Node)],
    known: Vec<&'static str>,
}

impl<'n> Table<'n> {
    pub(crate) fn open(node: &'n Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            diagnostics.wrong_type(path, "a table", node);
            return None;
        };
        Some(Self { path: path.to_owned(), at: node.at, entries, known: Vec::new() })
    }

    /// The node at `key`, which becomes known.
    fn node(&mut self, key: &'static str, diagnostics: &mut Diagnostics) -> Option<(&'n Node, String)> {
        self.known.push(key);
        let (found, node) = self.entries.iter().find(|(k, _)| k.text == key)?;
        let path = child(&self.path, key);
        diagnostics.spans.record(&path, found.at);
        Some((node, path))
    }

    /// The value at `key`, if it is present and valid.
    pub(crate) fn get<T: Decode>(&mut self, key: &'static str, diagnostics: &mut Diagnostics) -> Option<T> {
        let (node, path) = self.node(key, diagnostics)?;
        T::decode(node, &path, diagnostics)
    }

    /// The value at `key`, which is required.
    pub(crate) fn require<T: Decode>(&mut self, key: &'static str, diagnostics: &mut Diagnostics) -> Option<T> {
        if !self.entries.iter().any(|(k, _)| k.text == key) {
            self.known.push(key);
            let (path, message) = (child(&self.path, key), missing_key(key, &self.path));
            diagnostics.push(&path, self.at, ManifestProblemKind::MissingKey, message, None);
            return None;
        }
        self.get(key, diagnostics)
    }

    /// Rejects every unknown key, with the most similar known one.
    pub(crate) fn finish(self, diagnostics: &mut Diagnostics) {
        let known = self.known.clone();
        for (key, _) in self.unread() {
            self.reject(key, &known, diagnostics);
        }
    }

    /// Decodes the keys that extensions own as settings, and rejects every other unknown key.
    pub(crate) fn finish_with_settings(
        self,
        level: Level,
        diagnostics: &mut Diagnostics,
    ) -> BTreeMap<String, Settings> {
        let extensions = diagnostics.extensions.clone();
        let owned: Option<Vec<&str>> = extensions.as_ref().map(|e| e.at(level).map(|(key, _)| key).collect());
        let known: Vec<_> = self.known.iter().copied().chain(owned.iter().flatten().copied()).collect();
        let mut owned_settings = BTreeMap::new();
        for (key, node) in self.unread() {
            if owned.as_ref().is_some_and(|owned| !owned.contains(&key.text.as_str())) {
                self.reject(key, &known, diagnostics);
                continue;
            }
            let path = child(&self.path, &part(&key.text));
            diagnostics.spans.record(&path, key.at);
            owned_settings.insert(key.text.clone(), settings(node, &path, diagnostics));
        }
        owned_settings
    }

    fn unread(&self) -> impl Iterator<Item = &'n (super::tree::Key, Node)> {
        self.entries.iter().filter(|(k, _)| !self.known.contains(&k.text.as_str()))
    }

    fn reject(&self, key: &super::tree::Key, known: &[&str], diagnostics: &mut Diagnostics) {
        if diagnostics.problems.is_full() {
            diagnostics.problems.omit(1);
            return;
        }
        let (message, hint) = (unknown_key(&key.text, &self.path), known_keys(&key.text, known));
        let path = child(&self.path, &part(&key.text));
        diagnostics.push(&path, key.at, ManifestProblemKind::UnknownKey, message, Some(hint));
    }
}

/// A node as settings, with the position of each key in them.
pub(crate) fn settings(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Settings {
    if !matches!(node.value, Value::Null) {
        check_values(node, path, diagnostics);
    }
    record(node, &mut path.to_owned(), &mut diagnostics.spans);
    Settings::new(node.to_json())
}

/// Reports the values that have no JSON form: their owner would see another value, or none.
fn check_values(node: &Node, path: &str, diagnostics: &mut Diagnostics) {
    match &node.value {
        Value::Null => diagnostics.wrong_type(path, "a value", node),
        Value::Float(None) => diagnostics.wrong_type(path, "a finite number", node),
        Value::Date(_) => diagnostics.wrong_type(path, "a string", node),
        Value::Table(entries) => {
            entries.iter().for_each(|(key, node)| check_values(node, &child(path, &part(&key.text)), diagnostics));
        }
        Value::Array(items) => {
            // An owner may want a null in an array, where it is no missing value.
            let items = items.iter().enumerate().filter(|(_, item)| !matches!(item.value, Value::Null));
            items.for_each(|(i, item)| check_values(item, &child(path, &i.to_string()), diagnostics));
        }
        _ => {}
    }
}

fn record(node: &Node, path: &mut String, spans: &mut Spans) {
    let mut below = |segment: &str, at: Position, node: &Node| {
        let length = path.len();
        path.push('.');
        path.push_str(segment);
        spans.record(path, at);
        record(node, path, spans);
        path.truncate(length);
    };
    match &node.value {
        Value::Table(entries) => entries.iter().for_each(|(key, node)| below(&part(&key.text), key.at, node)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, item)| below(&i.to_string(), item.at, item)),
        _ => {}
    }
}

/// The dotted path of `key` below `path`.
pub(crate) fn child(path: &str, key: &str) -> String {
    match (path.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (_, true) => path.to_owned(),
        _ => format!("{path}.{key}"),
    }
}

/// The phrase of a message that names the table at `path`.
fn within(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" in `{path}`") }
}

/// The message of a required key that is missing from the table at `path`.
pub(crate) fn missing_key(key: &str, path: &str) -> String {
    format!("missing required key `{key}`{}", within(path))
}

/// The message of an unknown key in the table at `path`.
pub(crate) fn unknown_key(key: &str, path: &str) -> String {
    format!("unknown key `{key}`{}", within(path))
}

/// The hint of an unknown key.
pub(crate) fn known_keys(key: &str, known: &[&str]) -> String {
    match nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "remove it; this table takes no keys".to_owned(),
        None => format!("known keys are {}", list(known)),
    }
}

/// The message of a value of the wrong type at `path`.
pub(crate) fn expected(wanted: &str, path: &str, found: &str) -> String {
    let place = if path.is_empty() { String::new() } else { format!(" for `{path}`") };
    format!("expected {wanted}{place}, found {found}")
}

/// The limits of a search for a similar name: the length of the text in bytes, and the number of candidates.
const MAX_GUESSED: usize = 256;
const MAX_CANDIDATES: usize = 1000;

/// The candidate that is most similar to `text`, if it is similar enough to be a plausible correction.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance takes time in the product of both lengths, and a key can be as long as the manifest.
    if text.len() > MAX_GUESSED {
        return None;
    }
    let most = |c: &str| c.len().max(text.len()) / 3;
    candidates
        .into_iter()
        .take(MAX_CANDIDATES)
        // The difference in length is a lower bound of the distance, and free to compute.
        .filter(|c| c.len().abs_diff(text.len()) <= most(c))
        .map(|c| (strsim::damerau_levenshtein(text, c), c))
        .filter(|(distance, c)| *distance <= most(c))
        .min()
        .map(|(_, c)| c)
}

/// A key as a segment of a path, truncated: an invalid key may be as long as the manifest, and every path below repeats it.
pub(crate) fn part(key: &str) -> Cow<'_, str> {
    if key.len() <= MAX_NAME {
        return Cow::Borrowed(key);
    }
    Cow::Owned(format!("{}…", &key[..key.floor_char_boundary(MAX_NAME)]))
}

/// `a, b and c`, each in backticks.
pub(crate) fn list(items: &[&str]) -> String {
    join(items, "and")
}

/// `a, b or c`, each in backticks.
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

impl Decode for Settings {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        Some(settings(node, path, diagnostics))
    }
}

impl Decode for String {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        if let Value::String(text) = &node.value {
            Some(text.clone())
        } else {
            diagnostics.wrong_type(path, "a string", node);
            None
        }
    }
}

impl Decode for bool {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        if let Value::Bool(value) = node.value {
            Some(value)
        } else {
            diagnostics.wrong_type(path, "a boolean", node);
            None
        }
    }
}

impl Decode for u32 {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        if let Value::Integer(value) = node.value {
            match Self::try_from(value) {
                Ok(value) if value > 0 => Some(value),
                _ => {
                    diagnostics.bad(
                        path,
                        node.at,
                        format!("expected an integer from 1 to {} for `{path}`, found {value}", Self::MAX),
                    );
                    None
                }
            }
        } else {
            diagnostics.wrong_type(path, "an integer", node);
            None
        }
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Value::Array(items) = &node.value else {
            diagnostics.wrong_type(path, "an array", node);
            return None;
        };
        let decoded: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(i, item)| {
                let path = format!("{path}.{i}");
                diagnostics.spans.record(&path, item.at);
                T::decode(item, &path, diagnostics)
            })
            .collect();
        decoded.into_iter().collect()
    }
}

impl<T: Decode> Decode for BTreeMap<Name, T> {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            diagnostics.wrong_type(path, "a table", node);
            return None;
        };
        let mut map = Self::new();
        for (key, value) in entries {
            let path = child(path, &part(&key.text));
            let name = Name::new(key.text.clone());
            let name = name.map_err(|error| diagnostics.bad(&path, key.at, format!("invalid name: {error}")));
            diagnostics.spans.record(&path, key.at);
            if let (Ok(name), Some(value)) = (name, T::decode(value, &path, diagnostics)) {
                map.insert(name, value);
            }
        }
        Some(map)
    }
}

/// Free-form strings (`env`, `config`): integers and booleans are converted to strings.
impl Decode for BTreeMap<String, String> {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            diagnostics.wrong_type(path, "a table of strings", node);
            return None;
        };
        let mut map = Self::new();
        for (key, value) in entries {
            let path = format!("{path}.{}", key.text);
            diagnostics.spans.record(&path, key.at);
            let text = match &value.value {
                Value::Integer(number) => Some(number.to_string()),
                Value::Bool(value) => Some(value.to_string()),
                _ => String::decode(value, &path, diagnostics),
            };
            if let Some(text) = text {
                map.insert(key.text.clone(), text);
            }
        }
        Some(map)
    }
}

/// Decodes one of several names; the message has all of them, and the most similar one.
pub(crate) fn one_of<T: Copy>(
    all: &[(&'static str, T)],
    node: &Node,
    path: &str,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let text = String::decode(node, path, diagnostics)?;
    let found = all.iter().find(|(name, _)| *name == text);
    if found.is_none() {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        let near = nearest(&text, names.iter().copied());
        let did = near.map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"));
        diagnostics.bad(path, node.at, format!("expected {} for `{path}`, found `{text}`{did}", choice(&names)));
    }
    found.map(|(_, value)| *value)
}

/// Decodes a string and parses it; the parser's error becomes the problem.
pub(crate) fn parsed<T, E: std::fmt::Display>(
    node: &Node,
    path: &str,
    diagnostics: &mut Diagnostics,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let text = String::decode(node, path, diagnostics)?;
    match parse(&text) {
        Ok(value) => return Some(value),
        // Formatting an error can be expensive, such as a search for a similar name.
        Err(_) if diagnostics.problems.is_full() => diagnostics.problems.omit(1),
        Err(error) => diagnostics.bad(path, node.at, format!("invalid `{path}`: {error}")),
    }
    None
}

impl Decode for Name {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        parsed(node, path, diagnostics, |text| Self::new(text))
    }
}
