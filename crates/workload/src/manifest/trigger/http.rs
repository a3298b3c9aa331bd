//! `[[triggers.http]]`: requests that a component answers.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{HttpPath, TriggerKind};
use crate::manifest::SettingsError;
use crate::name::Name;

/// A route to a component that answers HTTP requests. The longest path wins, and a named host wins over any host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpTrigger {
    /// The component, which exports `wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`.
    pub component: Name,
    /// The `Host` of the request, in lower case and without port; any host if `None`.
    #[serde(default, deserialize_with = "lower_case", skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path: exact (`/a`), or with everything below (`/a/...`). `/...` if omitted.
    #[serde(default)]
    pub path: HttpPath,
}

fn lower_case<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|host| host.to_ascii_lowercase()))
}

impl TriggerKind for HttpTrigger {
    const KEY: &'static str = "http";
    const INTERFACES: &'static [&'static str] = &["wasi:http/incoming-handler@0.2.0", "wasi:http/handler@0.3.0"];

    fn component(&self) -> &Name {
        &self.component
    }

    fn label(&self) -> String {
        format!("http {}{}", self.host.as_deref().unwrap_or(""), self.path)
    }

    fn check(all: &[Self]) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut routes = HashMap::new();
        for (i, route) in all.iter().enumerate() {
            if let Some(host) = route.host.as_ref().filter(|h| h.is_empty() || h.contains(['/', ':', ' ', '*'])) {
                let message = format!("invalid `triggers.http.{i}.host`: expected a host name, found `{host}`");
                let error = SettingsError::new(format!("{i}.host"), message);
                errors.push(error.with_hint("remove the scheme, port, path or wildcard"));
            }
            if let Some(other) = routes.insert((&route.host, &route.path), &route.component) {
                let (path, host) = (&route.path, route.host.as_deref().unwrap_or("any host"));
                let message = format!("duplicate route `{path}` for {host}: `{other}` and `{}`", route.component);
                let error = SettingsError::new(format!("{i}.path"), message);
                errors.push(error.with_hint("remove one of them, or change its `host` or `path`"));
            }
        }
        errors
    }
}
