//! Declarations: the settings of one store, whatever its kind.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wharf::workload::manifest::{Settings, SettingsError};

use crate::policy::Kind;
use crate::text::Text;

/// A backend of a kind of store, and the keys of a declaration that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its name in manifests.
    pub name: &'static str,
    /// The keys that it requires.
    pub required: &'static [&'static str],
    /// The keys that it may have besides.
    pub optional: &'static [&'static str],
    /// Whether this build of the host has it.
    pub available: bool,
}

impl Backend {
    /// Whether the store is in the host's process or its state folder, not on a server.
    pub(crate) fn is_local(&self) -> bool {
        !self.required.contains(&"url")
    }
}

/// The settings of one store: `[<kind>.<name>]` of a manifest.
pub trait Declaration: Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The kind of store.
    const KIND: Kind;
    /// The backends of this kind. The first is the default.
    const BACKENDS: &'static [Backend];

    /// The name of the backend, if the declaration has one.
    fn backend(&self) -> Option<&str>;

    /// The address of the server, if there is one.
    fn url(&self) -> Option<&Text>;

    /// The secrets that it refers to, each with its key.
    fn texts(&self) -> Vec<(&'static str, &Text)> {
        self.url().map(|url| ("url", url)).into_iter().collect()
    }

    /// Checks the values, as far as they can be checked without opening anything.
    fn check(&self) -> Vec<SettingsError> {
        Vec::new()
    }
}

/// The backend of a declaration, or what is wrong with it. Paths are below the declaration.
///
/// # Errors
/// Every error: an unknown backend, a missing key, a key that the backend does not read.
pub fn check<D: Declaration>(declared: &D) -> Result<&'static Backend, Vec<SettingsError>> {
    let named = declared.backend();
    let found = D::BACKENDS.iter().find(|backend| named.is_none_or(|name| backend.name == name));
    let Some(backend) = found else {
        let known: Vec<_> = D::BACKENDS.iter().map(|backend| format!("`{}`", backend.name)).collect();
        let message = format!("unknown backend `{}`", named.unwrap_or_default());
        return Err(vec![
            SettingsError::new("backend", message).with_hint(format!("known ones are {}", known.join(", "))),
        ]);
    };
    let mut errors = Vec::new();
    if !backend.available {
        let message = format!("this host was built without the backend `{}`", backend.name);
        let hint = format!("build it with the feature `{}`", backend.name);
        errors.push(SettingsError::new("backend", message).with_hint(hint));
    }
    let keys = serde_json::to_value(declared).unwrap_or_default();
    let keys =
        keys.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).map(|(key, _)| key.as_str());
    let keys: Vec<_> = keys.filter(|key| *key != "backend").collect();
    for key in backend.required.iter().filter(|key| !keys.contains(*key)) {
        errors
            .push(SettingsError::new(*key, format!("missing key `{key}`, which backend `{}` requires", backend.name)));
    }
    for key in keys.iter().filter(|key| !backend.required.contains(key) && !backend.optional.contains(key)) {
        let having = D::BACKENDS.iter().filter(|b| b.required.contains(key) || b.optional.contains(key));
        let having: Vec<_> = having.map(|backend| format!("`{}`", backend.name)).collect();
        let message = format!("`{key}` has no meaning for backend `{}`", backend.name);
        errors.push(
            SettingsError::new(*key, message).with_hint(format!("remove it; it belongs to {}", having.join(", "))),
        );
    }
    errors.extend(declared.check());
    if errors.is_empty() { Ok(backend) } else { Err(errors) }
}

/// The declarations of one kind as JSON, without what may be secret: addresses lead to their host alone, and other texts show as `…`.
/// One that is not valid shows as `null`.
pub fn shown<D: Declaration>(declared: &Settings) -> serde_json::Value {
    let stores = declared.value().as_object().into_iter().flatten();
    let shown = stores.map(|(name, value)| {
        let Ok(declared) = Settings::new(value.clone()).decode::<D>() else {
            return (name.clone(), serde_json::Value::Null);
        };
        let mut value = value.clone();
        for (key, text) in declared.texts() {
            value[key] = text.shown().into();
        }
        (name.clone(), value)
    });
    serde_json::Value::Object(shown.collect())
}
