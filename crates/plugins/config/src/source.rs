//! `config-from`: configuration from files and from the host's environment.
//!
//! Takes the sources of a component; gives their values, later ones before earlier ones. Never reads what the host's policy does not
//! allow.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wharf::PluginError;
use wharf_stores::{InputPolicy, read_file};

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
            (Some(file), ..) => {
                let read = async { Form::of(file)?.parse(file, &text(file).await?) };
                read.await.map_err(|error| error.at("file"))
            }
            (_, Some(file), _) => {
                let text = text(file).await.map_err(|error| error.at("dotenv"))?;
                // The parser's own error quotes the line, which may have a secret.
                let invalid =
                    |_| PluginError::new(format!("`{}` is not lines of `KEY=value`", file.display())).at("dotenv");
                dotenv_parser::parse_dotenv(&text).map_err(invalid)
            }
            (.., variables) => environment(policy, variables.as_deref().unwrap_or_default()),
        }
    }
}

async fn text(file: &Path) -> Result<String, PluginError> {
    let failed = |reason: &dyn Display| PluginError::new(format!("cannot read `{}`: {reason}", file.display()));
    let bytes = read_file(file, MAX_FILE).await.map_err(|error| failed(&error))?;
    std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| failed(&"it is not UTF-8"))
}

/// A form of a file of values.
#[derive(Clone, Copy)]
enum Form {
    Json,
    Toml,
}

impl Form {
    fn of(file: &Path) -> Result<Self, PluginError> {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Ok(Self::Json),
            Some("toml") => Ok(Self::Toml),
            _ => Err(PluginError::new(format!("`{}`: unknown extension", file.display()))
                .hint("name it `.toml` or `.json`, or use `dotenv`")),
        }
    }

    /// The values of a file. Errors have the place and no text of the file, which may be secret.
    fn parse(self, file: &Path, text: &str) -> Result<BTreeMap<String, String>, PluginError> {
        let invalid =
            |line: usize, what: &dyn Display| PluginError::new(format!("`{}`, line {line}: {what}", file.display()));
        let value: serde_json::Value = match self {
            Self::Json => serde_json::from_str(text).map_err(|error| invalid(error.line(), &"invalid JSON"))?,
            Self::Toml => toml::from_str(text).map_err(|error| {
                let before = text.get(..error.span().unwrap_or_default().start).unwrap_or_default();
                invalid(before.matches('\n').count() + 1, &format_args!("invalid TOML: {}", error.message()))
            })?,
        };
        let mut values = BTreeMap::new();
        flatten(String::new(), &value, &mut values);
        Ok(values)
    }
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
    use super::Form;
    use std::collections::BTreeMap;
    use std::path::Path;
    use wharf::PluginError;

    fn parse(file: &str, text: &str) -> Result<BTreeMap<String, String>, PluginError> {
        let file = Path::new(file);
        Form::of(file)?.parse(file, text)
    }

    #[test]
    fn tables_become_dotted_keys() {
        let toml = "a = 1\n[b]\nc = \"x\"\nd = [1, 2]\n[b.e]\nf = true\n";
        let json = r#"{"a": 1, "b": {"c": "x", "d": [1, 2], "e": {"f": true}}, "n": null}"#;
        let values = parse("x.toml", toml).unwrap();
        assert_eq!(values, parse("x.json", json).unwrap());
        let pairs: Vec<_> = values.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(pairs, ["a=1", "b.c=x", "b.d=[1,2]", "b.e.f=true"]);
        assert!(parse("x.ini", "").is_err());
    }

    #[test]
    fn an_error_has_no_text_of_the_file() {
        for (file, text) in [("x.toml", "a = 1\nkey = hunter2\n"), ("x.json", "{\n\"key\": hunter2}")] {
            let error = parse(file, text).unwrap_err().to_string();
            assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
        }
    }
}
