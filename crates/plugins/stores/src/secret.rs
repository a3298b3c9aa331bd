//! Secrets: where they are declared to be, and how they are read. Their values are wiped from memory when they are dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wharf::PluginError;
use wharf::workload::{Name, Workload};
use zeroize::Zeroizing;

use crate::inputs::{InputPolicy, read_file};

/// The largest secret, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// Where a secret is: `[secrets.<name>]` of a manifest. A manifest never has its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSource {
    /// A file; a relative path starts at the manifest's folder. One newline at its end is not part of the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// A variable of the host's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

/// The value of a secret. It shows neither in `Debug` output nor in an error, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct SecretValue(Arc<Zeroizing<Vec<u8>>>);

impl SecretValue {
    /// A secret with this value.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// The value.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// The value as text.
    ///
    /// # Errors
    /// [`PluginError`] when it is not UTF-8.
    pub fn text(&self) -> Result<Zeroizing<String>, PluginError> {
        let text = std::str::from_utf8(&self.0).map_err(|_| PluginError::new("the secret is not UTF-8 text"))?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

impl InputPolicy {
    /// Checks the declaration of a secret without reading it.
    ///
    /// # Errors
    /// [`PluginError`] with a place below the declaration.
    pub fn check_secret(&self, source: &SecretSource) -> Result<(), PluginError> {
        match (&source.file, &source.env) {
            (Some(file), None) if file.as_os_str().is_empty() => Err(PluginError::new("expected a path").at("file")),
            (Some(_), None) => self.check_file().map_err(|error| error.at("file")),
            (None, Some(_)) => self.check_environment().map_err(|error| error.at("env")),
            _ => Err(PluginError::new("expected either `file` or `env`").hint("a manifest never has a secret's value")),
        }
    }

    /// Reads a secret.
    ///
    /// # Errors
    /// [`PluginError`] with a place below the declaration.
    pub async fn read_secret(&self, source: &SecretSource) -> Result<SecretValue, PluginError> {
        self.check_secret(source)?;
        if let Some(file) = &source.file {
            let failed = |error: std::io::Error| {
                PluginError::new(format!("cannot read the secret's file `{}`: {error}", file.display())).at("file")
            };
            let mut bytes = read_file(file, MAX_SECRET).await.map_err(failed)?;
            if bytes.ends_with(b"\n") {
                let length = bytes.len() - if bytes.ends_with(b"\r\n") { 2 } else { 1 };
                bytes.truncate(length);
            }
            return Ok(SecretValue(Arc::new(bytes)));
        }
        let variable = source.env.as_deref().unwrap_or_default();
        let value = self.variable(variable);
        let value = value.ok_or_else(|| {
            PluginError::new(format!("the host's environment has no variable `{variable}`")).at("env").hint("set it")
        })?;
        Ok(SecretValue::new(value.into_encoded_bytes()))
    }

    /// Checks that a workload declares a secret, and that it may be read, without reading it.
    ///
    /// # Errors
    /// [`PluginError`], with a place below the workload if the declaration is wrong.
    pub fn check_secret_of(&self, workload: &Workload, name: &Name) -> Result<(), PluginError> {
        let declared = declared(workload)?;
        let source = declared.get(name).ok_or_else(|| unknown(name))?;
        self.check_secret(source).map_err(|error| error.below(&format!("secrets.{name}")))
    }

    /// Reads a secret of a workload by its name.
    ///
    /// # Errors
    /// [`PluginError`] with a place below the workload.
    pub async fn read_secret_of(&self, workload: &Workload, name: &Name) -> Result<SecretValue, PluginError> {
        let declared = declared(workload)?;
        let source = declared.get(name).ok_or_else(|| unknown(name))?;
        self.read_secret(source).await.map_err(|error| error.below(&format!("secrets.{name}")))
    }
}

fn unknown(name: &Name) -> PluginError {
    PluginError::new(format!("unknown secret `{name}`")).hint(format!("add `[secrets.{name}]`"))
}

/// The secrets that a workload declares.
pub(crate) fn declared(workload: &Workload) -> Result<BTreeMap<Name, SecretSource>, PluginError> {
    let decoded = workload.settings.get("secrets").map(|settings| settings.decode_at("secrets")).transpose();
    decoded.map(Option::unwrap_or_default).map_err(|error| PluginError::from(error).below("secrets"))
}
