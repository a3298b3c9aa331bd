//! `[[triggers.<kind>]]`: what calls a component. Each kind of trigger is one file; a host adds its own in
//! [`Extensions`](super::Extensions).

mod command;
mod http;
mod http_path;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

pub use command::CommandTrigger;
pub use http::HttpTrigger;
pub use http_path::{HttpPath, HttpPathError};

use super::decode::{Decode, Diagnostics, child, choice, missing_key, settings};
use super::problem::ManifestProblemKind;
use super::settings::{Settings, SettingsError};
use super::shape;
use super::tree::{Node, Value};
use crate::name::Name;

/// A kind of trigger: one `[[triggers.<KEY>]]` table, typed. Implemented by a struct that serde reads.
///
/// ```
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
/// use wharf_workload::Name;
/// use wharf_workload::manifest::{Extensions, Format, TriggerKind, parse_with};
///
/// #[derive(Clone, Serialize, Deserialize, JsonSchema)]
/// struct Cron {
///     component: Name,
///     schedule: String,
/// }
///
/// impl TriggerKind for Cron {
///     const KEY: &'static str = "cron";
///     const INTERFACES: &'static [&'static str] = &["wasi:cli/run@0.2.0", "wasi:cli/run@0.3.0"];
///     fn component(&self) -> &Name {
///         &self.component
///     }
///     fn label(&self) -> String {
///         format!("cron {}", self.schedule)
///     }
/// }
///
/// let extensions = Extensions::builtin().with_trigger::<Cron>();
/// let text = "name = 'a'\n[components.job]\nsource = 'job.wasm'\n[[triggers.cron]]\ncomponent = 'job'\nschedul = '@daily'\n";
/// let parsed = parse_with(text, Format::Toml, &extensions);
/// assert_eq!(parsed.problems[1].to_string(), "6:1: unknown key `schedul` in `triggers.cron.0` (did you mean `schedule`?)");
/// ```
pub trait TriggerKind: Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The key below `triggers`, such as `http`.
    const KEY: &'static str;
    /// The interfaces that the trigger calls. The component must export one of them in a compatible version; any component
    /// will do if there are none.
    const INTERFACES: &'static [&'static str];

    /// The component that it calls, which is thereby an entry.
    fn component(&self) -> &Name;

    /// A short description for plans, such as `http /shop/...`.
    fn label(&self) -> String;

    /// Checks what no single trigger shows, such as two with the same route. The `path` of an error starts with the index of
    /// a trigger in `all`: `0.host`.
    fn check(all: &[Self]) -> Vec<SettingsError> {
        let _ = all;
        Vec::new()
    }
}

/// A type-erased [`TriggerKind`].
#[derive(Clone)]
pub struct AnyTriggerKind {
    key: &'static str,
    interfaces: &'static [&'static str],
    schema: fn() -> serde_json::Value,
    subschema: fn(&mut SchemaGenerator) -> Schema,
    check: fn(&[TriggerEntry]) -> Vec<SettingsError>,
    label: fn(&Settings) -> Option<String>,
}

impl AnyTriggerKind {
    /// Erases a kind's type.
    pub fn of<T: TriggerKind>() -> Self {
        Self {
            key: T::KEY,
            interfaces: T::INTERFACES,
            schema: || schemars::schema_for!(T).to_value(),
            subschema: SchemaGenerator::subschema_for::<T>,
            check: check::<T>,
            label: |settings| settings.decode::<T>().ok().map(|trigger| trigger.label()),
        }
    }

    /// The key below `triggers`.
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// The interfaces that it calls, any one of which a component must export.
    pub fn interfaces(&self) -> &'static [&'static str] {
        self.interfaces
    }

    /// The interfaces as messages name them: `` `wasi:cli/run@0.2` or `wasi:cli/run@0.3` ``.
    pub(crate) fn wanted(&self) -> String {
        let tracks: Vec<_> = self.interfaces.iter().map(|i| i.strip_suffix(".0").unwrap_or(i)).collect();
        choice(&tracks)
    }

    /// The JSON schema of one trigger.
    pub fn schema(&self) -> serde_json::Value {
        (self.schema)()
    }

    pub(crate) fn subschema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.subschema)(generator)
    }

    /// Checks all triggers of this kind: their settings, and what [`TriggerKind::check`] finds. The `path` of each error
    /// starts with the index of an entry.
    pub fn check(&self, entries: &[TriggerEntry]) -> Vec<SettingsError> {
        (self.check)(entries)
    }

    /// The label of a trigger of this kind for plans; the kind's key if its settings are not valid.
    pub fn label(&self, entry: &TriggerEntry) -> String {
        (self.label)(&entry.settings).unwrap_or_else(|| self.key.to_owned())
    }
}

fn check<T: TriggerKind>(entries: &[TriggerEntry]) -> Vec<SettingsError> {
    let schema = schemars::schema_for!(T).to_value();
    let (mut errors, mut valid, mut indices) = (Vec::new(), Vec::new(), Vec::new());
    for (i, entry) in entries.iter().enumerate() {
        let (trigger, found) = decode_all::<T>(&schema, i, entry);
        let Some(trigger) = trigger else {
            errors.extend(found.into_iter().map(|error| error.below(&i.to_string())));
            continue;
        };
        if found.is_empty() {
            valid.push(trigger);
            indices.push(i);
        } else {
            // What is left of it is checked by itself: as another it could only be mistaken.
            let rest = T::check(&[trigger]).into_iter().filter_map(|error| error.at_index(|_| Some(i)));
            errors.extend(found.into_iter().map(|error| error.below(&i.to_string())).chain(rest));
        }
    }
    errors.extend(T::check(&valid).into_iter().filter_map(|error| error.at_index(|i| indices.get(i).copied())));
    errors
}

/// A trigger and every error of its settings. With errors, it lacks the values that have one; `None` if it cannot do without.
fn decode_all<T: TriggerKind>(
    schema: &serde_json::Value,
    index: usize,
    entry: &TriggerEntry,
) -> (Option<T>, Vec<SettingsError>) {
    let place = format!("triggers.{}.{index}", T::KEY);
    let mut errors = shape::check(schema, entry.settings.value(), &place);
    let mut settings = entry.settings.clone();
    errors.iter().for_each(|error| {
        settings.remove(&error.path);
    });
    loop {
        match settings.decode_at(&place) {
            Ok(trigger) => return (Some(trigger), errors),
            Err(error) => {
                let removed = settings.remove(&error.path);
                // An error that only follows from one before is not reported.
                if !removed && !errors.is_empty() {
                    return (None, errors);
                }
                errors.push(error);
                if !removed {
                    return (None, errors);
                }
            }
        }
    }
}

fn decode<T: TriggerKind>(
    schema: &serde_json::Value,
    index: usize,
    entry: &TriggerEntry,
) -> Result<T, Vec<SettingsError>> {
    match decode_all(schema, index, entry) {
        (Some(trigger), errors) if errors.is_empty() => Ok(trigger),
        (_, errors) => Err(errors),
    }
}

/// A declared trigger: the component that it calls, and its kind's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerEntry {
    /// The component that it calls.
    pub component: Name,
    /// The whole table, `component` included.
    pub settings: Settings,
}

impl Serialize for TriggerEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.settings.serialize(serializer)
    }
}

/// The triggers of a workload, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Triggers(BTreeMap<String, Vec<TriggerEntry>>);

impl Triggers {
    /// The triggers of one kind, typed.
    ///
    /// # Errors
    /// The first error of their settings; [`validate`](crate::validate()) finds all of them. Its `path` starts with the
    /// trigger's index.
    pub fn of<T: TriggerKind>(&self) -> Result<Vec<T>, SettingsError> {
        let Some(entries) = self.0.get(T::KEY) else { return Ok(Vec::new()) };
        let schema = schemars::schema_for!(T).to_value();
        let typed = entries.iter().enumerate().map(|(i, entry)| {
            let first = |errors: Vec<SettingsError>| errors.into_iter().next().unwrap_or_default();
            decode(&schema, i, entry).map_err(|errors| first(errors).below(&i.to_string()))
        });
        typed.collect()
    }

    /// Adds a trigger.
    ///
    /// # Errors
    /// [`SettingsError`] if the trigger has no JSON form. The built-in kinds always have one.
    // By value, as a caller adds a trigger that it has just built.
    #[allow(clippy::needless_pass_by_value)]
    pub fn push<T: TriggerKind>(&mut self, trigger: T) -> Result<(), SettingsError> {
        let entry = TriggerEntry { component: trigger.component().clone(), settings: Settings::encode(&trigger)? };
        self.push_entry(T::KEY, entry);
        Ok(())
    }

    /// Adds a trigger of a kind by its key.
    pub fn push_entry(&mut self, kind: impl Into<String>, entry: TriggerEntry) {
        self.0.entry(kind.into()).or_default().push(entry);
    }

    /// Every trigger: its kind, its index among those of the kind, and its entry.
    pub fn entries(&self) -> impl Iterator<Item = (&str, usize, &TriggerEntry)> {
        let all = self.0.iter();
        all.flat_map(|(kind, entries)| entries.iter().enumerate().map(|(i, entry)| (kind.as_str(), i, entry)))
    }

    /// The triggers by kind.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, &[TriggerEntry])> {
        self.0.iter().map(|(kind, entries)| (kind.as_str(), entries.as_slice()))
    }

    /// Whether there are no triggers, so that only the embedding program calls the workload.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }
}

impl Decode for TriggerEntry {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            diagnostics.wrong_type(path, "a table", node);
            return None;
        };
        let settings = settings(node, path, diagnostics);
        let at = child(path, "component");
        let component = if let Some((_, node)) = entries.iter().find(|(key, _)| key.text == "component") {
            Name::decode(node, &at, diagnostics)
        } else {
            let message = missing_key("component", path);
            diagnostics.push(&at, node.at, ManifestProblemKind::MissingKey, message, None);
            None
        };
        Some(Self { component: component.unwrap_or_else(|| Name::nearest("unknown")), settings })
    }
}

impl Decode for Triggers {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            diagnostics.wrong_type(path, "a table", node);
            return None;
        };
        let mut triggers = BTreeMap::new();
        for (key, node) in entries {
            let path = child(path, &key.text);
            diagnostics.spans.record(&path, key.at);
            if let Some(entries) = Vec::decode(node, &path, diagnostics) {
                triggers.insert(key.text.clone(), entries);
            }
        }
        Some(Self(triggers))
    }
}

impl JsonSchema for Triggers {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Triggers".into()
    }
    /// The kinds are added by [`schema_with`](super::schema_with).
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "object" })
    }
}
