//! What a host's plugins and triggers add to the manifest.

use schemars::JsonSchema;

use super::trigger::{AnyTriggerKind, CommandTrigger, HttpTrigger, TriggerKind};

/// The kinds of triggers and the plugins' keys that a host adds to the manifest.
///
/// ```
/// use wharf_workload::manifest::{Extensions, Format, SettingsKey, parse_with};
///
/// let extensions = Extensions::builtin().with_settings(SettingsKey::new("keyvalue").in_workload_any());
/// let text = "name = 'a'\n[components.web]\nsource = 'web.wasm'\n[keyvalue.sessions]\nbackend = 'memory'\n";
/// let workload = parse_with(text, Format::Toml, &extensions).workload.unwrap();
/// assert!(workload.settings.contains_key("keyvalue"));
/// ```
#[derive(Clone)]
pub struct Extensions {
    triggers: Vec<AnyTriggerKind>,
    settings: Vec<SettingsKey>,
}

impl Default for Extensions {
    fn default() -> Self {
        Self::builtin()
    }
}

impl Extensions {
    /// The built-in kinds of triggers, `http` and `command`, and no plugins' keys.
    pub fn builtin() -> Self {
        Self { triggers: Vec::new(), settings: Vec::new() }
            .with_trigger::<HttpTrigger>()
            .with_trigger::<CommandTrigger>()
    }

    /// Adds a kind of trigger. It replaces one with the same key.
    #[must_use]
    pub fn with_trigger<T: TriggerKind>(self) -> Self {
        self.with_trigger_kind(AnyTriggerKind::of::<T>())
    }

    /// Adds a type-erased kind of trigger. It replaces one with the same key.
    #[must_use]
    pub fn with_trigger_kind(mut self, kind: AnyTriggerKind) -> Self {
        self.triggers.retain(|known| known.key() != kind.key());
        self.triggers.push(kind);
        self
    }

    /// Adds a plugin's key. It replaces one with the same name; a key of the manifest itself, such as `name`, keeps its
    /// meaning, and [`validate`](crate::validate()) rejects settings under it.
    #[must_use]
    pub fn with_settings(mut self, key: SettingsKey) -> Self {
        self.settings.retain(|known| known.key != key.key);
        self.settings.push(key);
        self
    }

    /// The kinds of triggers.
    pub fn triggers(&self) -> &[AnyTriggerKind] {
        &self.triggers
    }

    /// The plugins' keys.
    pub fn settings(&self) -> &[SettingsKey] {
        &self.settings
    }

    /// The kind of trigger with this key.
    pub fn trigger(&self, key: &str) -> Option<&AnyTriggerKind> {
        self.triggers.iter().find(|kind| kind.key() == key)
    }

    /// The plugins' keys at one level, with their schemas.
    pub(crate) fn at(&self, level: Level) -> impl Iterator<Item = (&str, &serde_json::Value)> {
        self.settings.iter().filter_map(move |key| {
            let schema = match level {
                Level::Workload => key.workload.as_ref(),
                Level::Component => key.component.as_ref(),
            };
            Some((key.key.as_str(), schema?))
        })
    }
}

impl std::fmt::Debug for Extensions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let triggers: Vec<_> = self.triggers.iter().map(AnyTriggerKind::key).collect();
        f.debug_struct("Extensions").field("triggers", &triggers).field("settings", &self.settings).finish()
    }
}

/// The level of the manifest at which a plugin's key appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// At the top of the manifest.
    Workload,
    /// In a component.
    Component,
}

/// A key of the manifest that a plugin owns: at the top, in each component, or both.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingsKey {
    /// The key, such as `keyvalue`.
    pub key: String,
    /// The JSON schema of its value at the top of the manifest, `true` for any value; `None` if it is not allowed there.
    pub workload: Option<serde_json::Value>,
    /// The JSON schema of its value in a component, `true` for any value; `None` if it is not allowed there.
    pub component: Option<serde_json::Value>,
    /// The places of paths in its value at the top of the manifest, such as `*.file`, where `*` is any key. A relative path
    /// starts at the manifest's folder.
    pub paths: Vec<&'static str>,
    /// The same for its value in a component.
    pub component_paths: Vec<&'static str>,
}

impl SettingsKey {
    /// A key that is not allowed at any level yet.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), workload: None, component: None, paths: Vec::new(), component_paths: Vec::new() }
    }

    /// Declares the place of a path in the key's value at the top of the manifest, such as `*.file`.
    #[must_use]
    pub fn with_path(mut self, place: &'static str) -> Self {
        self.paths.push(place);
        self
    }

    /// Declares the place of a path in the key's value in a component, such as `*.file`.
    #[must_use]
    pub fn with_component_path(mut self, place: &'static str) -> Self {
        self.component_paths.push(place);
        self
    }

    /// Allows the key at the top of the manifest, with the schema of `T`.
    #[must_use]
    pub fn in_workload<T: JsonSchema>(self) -> Self {
        Self { workload: Some(schemars::schema_for!(T).to_value()), ..self }
    }

    /// Allows the key at the top of the manifest, with any value.
    #[must_use]
    pub fn in_workload_any(self) -> Self {
        Self { workload: Some(true.into()), ..self }
    }

    /// Allows the key in each component, with the schema of `T`.
    #[must_use]
    pub fn in_component<T: JsonSchema>(self) -> Self {
        Self { component: Some(schemars::schema_for!(T).to_value()), ..self }
    }

    /// Allows the key in each component, with any value.
    #[must_use]
    pub fn in_component_any(self) -> Self {
        Self { component: Some(true.into()), ..self }
    }
}
