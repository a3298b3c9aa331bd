//! `config-from`: configuration from files and from the host's environment.
//!
//! Takes the sources of a component; gives their values, later ones before earlier ones. Never reads what the host's policy does not
//! allow.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wharf::PluginError;
use wharf_stores::InputPolicy;

/// The largest file of configuration, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// One source of `config-from`. Exactly one key is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigSource {
    /// A file of TOML or JSON, by its extension. The keys of tables are joined by dots. A relative path starts at the manifest's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// A `.env` file: lines of `KEY=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dotenv: Option<PathBuf>,
    /// Variables of the host's environment; `APP_*` is every one that begins with `APP_`, and keeps its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
}

impl ConfigSource {
    /// What is wrong with the source, apart from what it contains.
    pub(crate) fn check(&self, policy: &InputPolicy) -> Result<(), PluginError> {
        match (&self.file, &self.dotenv, &self.env) {
            (Some(_), None, None) => policy.check_file().map_err(|error| error.at("file")),
            (None, Some(_), None) => policy.check_file().map_err(|error| error.at("dotenv")),
            (None, None, Some(_)) => policy.check_environment().map_err(|error| error.at("env")),
            _ => Err(PluginError::new("expected exactly one of `file`, `dotenv` and `env`")),
        }
    }

    /// The values of the source.
    pub(crate) async fn read(&self, policy: &InputPolicy) -> Result<BTreeMap<String, String>, PluginError> {
        self.check(policy)?;
        match (&self.file, &self.dotenv, &self.env) {
            (Some(file), ..) => parse(file, &text(file).await?).map_err(|error| error.at("file")),
            (_, Some(file), _) => {
                let parsed = dotenv_parser::parse_dotenv(&text(file).await?);
                parsed.map_err(|error| PluginError::new(format!("`{}`: {error}", file.display())).at("dotenv"))
            }
            (.., variables) => environment(policy, variables.as_deref().unwrap_or_default()),
        }
    }
}

async fn text(file: &Path) -> Result<String, PluginError> {
    let failed = |error: std::io::Error| PluginError::new(format!("cannot read `{}`: {error}", file.display()));
    let size = tokio::fs::metadata(file).await.map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(PluginError::new(format!("`{}` has {size} bytes, more than {MAX_FILE}", file.display())));
    }
    tokio::fs::read_to_string(file).await.map_err(failed)
}

fn parse(file: &Path, text: &str) -> Result<BTreeMap<String, String>, PluginError> {
    let invalid = |error: &dyn std::fmt::Display| PluginError::new(format!("`{}`: {error}", file.display()));
    let value: serde_json::Value = match file.extension().and_then(|extension| extension.to_str()) {
        Some("json") => serde_json::from_str(text).map_err(|error| invalid(&error))?,
        Some("toml") => toml::from_str(text).map_err(|error| invalid(&error))?,
        _ => return Err(invalid(&"unknown extension").hint("name it `.toml` or `.json`, or use `dotenv`")),
    };
    let mut values = BTreeMap::new();
    flatten(String::new(), &value, &mut values);
    Ok(values)
}

/// Adds a value under its dotted key; a list as JSON.
fn flatten(key: String, value: &serde_json::Value, values: &mut BTreeMap<String, String>) {
    use serde_json::Value;
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                flatten(if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, value, values);
            }
        }
        Value::Null => {}
        Value::String(text) => drop(values.insert(key, text.clone())),
        other => drop(values.insert(key, other.to_string())),
    }
}

fn environment(policy: &InputPolicy, names: &[String]) -> Result<BTreeMap<String, String>, PluginError> {
    let mut values = BTreeMap::new();
    for (i, name) in names.iter().enumerate() {
        if let Some(prefix) = name.strip_suffix('*') {
            values.extend(policy.variables().filter(|(name, _)| name.starts_with(prefix)));
            continue;
        }
        let value = policy.variable(name).and_then(|value| value.into_string().ok());
        let missing =
            || PluginError::new(format!("the host's environment has no variable `{name}`")).at(format!("env.{i}"));
        values.insert(name.clone(), value.ok_or_else(missing)?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::path::Path;

    #[test]
    fn tables_become_dotted_keys() {
        let toml = "a = 1\n[b]\nc = \"x\"\nd = [1, 2]\n[b.e]\nf = true\n";
        let json = r#"{"a": 1, "b": {"c": "x", "d": [1, 2], "e": {"f": true}}, "n": null}"#;
        let values = parse(Path::new("x.toml"), toml).unwrap();
        assert_eq!(values, parse(Path::new("x.json"), json).unwrap());
        let pairs: Vec<_> = values.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(pairs, ["a=1", "b.c=x", "b.d=[1,2]", "b.e.f=true"]);
        assert!(parse(Path::new("x.ini"), "").is_err());
    }
}
