//! The host's policy: which backends exist, which a manifest may name, and which stores the host puts in the place of others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wharf::workload::manifest::{Settings, SettingsError};
use wharf::workload::{Name, Workload};

use crate::declaration::{Backend, Declaration, check};
use crate::inputs::{Environment, InputPolicy};
use crate::secret::SecretSource;

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Key-value stores: `[keyvalue.<name>]`.
    KeyValue,
    /// Blob stores: `[blobstore.<name>]`.
    BlobStore,
    /// Message brokers: `[messaging.<name>]`.
    Messaging,
    /// SQL databases: `[sql.<name>]`.
    Sql,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::KeyValue, Self::BlobStore, Self::Messaging, Self::Sql];

    /// The key in manifests, of the workload and of a component; also the name of the plugin.
    pub fn key(self) -> &'static str {
        match self {
            Self::KeyValue => "keyvalue",
            Self::BlobStore => "blobstore",
            Self::Messaging => "messaging",
            Self::Sql => "sql",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// The policy for one kind of store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindPolicy {
    /// Stores that the host puts in the place of declared ones, as declarations, by `<store>` or `<namespace>/<workload>:<store>`.
    pub replace: BTreeMap<String, Settings>,
}

/// What a host lets manifests do with stores.
///
/// The default is for a host that runs manifests of others: embedded stores and stores in memory, no addresses of servers, and no secrets.
/// [`Policy::open`] is for a host that runs the manifests of its own user.
///
/// ```
/// use wharf_stores::Policy;
///
/// let mut policy = Policy::default().with_state("/var/lib/app");
/// policy.backends = Some(["embedded".to_owned()].into());
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Policy {
    /// The folder of embedded stores. Without one, they are refused.
    pub state: Option<PathBuf>,
    /// The backends that a manifest may name; `None` allows all.
    pub backends: Option<BTreeSet<String>>,
    /// Whether a manifest may have addresses of servers.
    pub urls: bool,
    /// The stores of the host's own, by kind.
    pub kinds: BTreeMap<Kind, KindPolicy>,
    /// Where manifests may read secrets and configuration from.
    pub inputs: InputPolicy,
    /// The secrets of the host's own stores.
    pub host_secrets: BTreeMap<Name, SecretSource>,
    /// Where the host reads its own secrets from.
    pub host_inputs: InputPolicy,
}

/// The form of `[stores]` in the host's configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Configured {
    backends: Option<BTreeSet<String>>,
    urls: Option<bool>,
    inputs: Option<BTreeSet<Input>>,
    #[serde(default)]
    keyvalue: BTreeMap<String, Settings>,
    #[serde(default)]
    blobstore: BTreeMap<String, Settings>,
    #[serde(default)]
    messaging: BTreeMap<String, Settings>,
    #[serde(default)]
    sql: BTreeMap<String, Settings>,
}

/// Where a manifest may read secrets and configuration from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Input {
    File,
    Env,
}

/// What is wrong with the `stores` or the `secrets` of a host's configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PolicyError {
    /// The dotted path in the configuration.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl PolicyError {
    fn at(place: &str, error: SettingsError) -> Self {
        let inner = if error.path.is_empty() { String::new() } else { format!(".{}", error.path) };
        Self { place: format!("{place}{inner}"), message: error.message, hint: error.hint }
    }
}

impl Policy {
    /// A policy that lets manifests use every backend, address and secret of the user who runs the host.
    pub fn open(environment: impl Environment) -> Self {
        let inputs = InputPolicy::default().with_files().with_environment(environment);
        Self { urls: true, host_inputs: inputs.clone(), inputs, ..Self::default() }
    }

    /// Sets the folder of embedded stores.
    #[must_use]
    pub fn with_state(self, folder: impl Into<PathBuf>) -> Self {
        Self { state: Some(folder.into()), ..self }
    }

    /// Puts a store of the host's own in the place of declared ones: those of the name `store`, or the one that
    /// `<namespace>/<workload>:<store>` names.
    ///
    /// # Errors
    /// [`SettingsError`] if the declaration has no JSON form.
    pub fn with_store<D: Declaration>(mut self, store: &str, declared: &D) -> Result<Self, SettingsError> {
        let settings = Settings::encode(declared)?;
        self.kinds.entry(D::KIND).or_default().replace.insert(store.to_owned(), settings);
        Ok(self)
    }

    /// Applies the tables `stores` and `secrets` of a host's configuration.
    ///
    /// # Errors
    /// [`PolicyError`] with its place.
    pub fn configure(mut self, stores: Option<&Settings>, secrets: Option<&Settings>) -> Result<Self, PolicyError> {
        if let Some(secrets) = secrets {
            self.host_secrets = secrets.decode().map_err(|error| PolicyError::at("secrets", error))?;
        }
        let Some(stores) = stores else { return Ok(self) };
        let configured: Configured = stores.decode().map_err(|error| PolicyError::at("stores", error))?;
        self.backends = configured.backends.or(self.backends);
        self.urls = configured.urls.unwrap_or(self.urls);
        if let Some(allowed) = configured.inputs {
            let mut policy = InputPolicy::default();
            if allowed.contains(&Input::File) {
                policy = policy.with_files();
            }
            self.inputs = if allowed.contains(&Input::Env) { policy.environment_of(&self.inputs) } else { policy };
        }
        let kinds = [configured.keyvalue, configured.blobstore, configured.messaging, configured.sql];
        for (kind, replace) in Kind::ALL.into_iter().zip(kinds) {
            self.kinds.entry(kind).or_default().replace.extend(replace);
        }
        Ok(self)
    }

    /// Where a workload may read secrets and configuration from: a host's own components from wherever the host itself does.
    pub fn inputs_of(&self, workload: &Workload) -> &InputPolicy {
        if workload.is_of_host() { &self.host_inputs } else { &self.inputs }
    }

    /// Checks the host's own stores of a kind.
    ///
    /// # Errors
    /// [`PolicyError`] with its place in the host's configuration.
    pub fn check<D: Declaration>(&self) -> Result<(), PolicyError> {
        for (name, settings) in self.kinds.get(&D::KIND).into_iter().flat_map(|kind| &kind.replace) {
            let place = format!("stores.{}.{name}", D::KIND);
            let declared: D = settings.decode().map_err(|error| PolicyError::at(&place, error))?;
            if let Err(errors) = check(&declared) {
                let first = errors.into_iter().next().unwrap_or_default();
                return Err(PolicyError::at(&place, first));
            }
        }
        Ok(())
    }

    /// The store of the host's own that stands in the place of a declared one.
    pub(crate) fn replacement<D: Declaration>(&self, workload: &Workload, name: &Name) -> Option<D> {
        if workload.is_of_host() {
            return None;
        }
        let replace = &self.kinds.get(&D::KIND)?.replace;
        let settings = replace.get(&format!("{}:{name}", workload.id())).or_else(|| replace.get(name.as_str()))?;
        settings.decode().ok()
    }

    /// Why a manifest may not declare a store with this backend, if so. The path is below the declaration.
    pub(crate) fn refusal<D: Declaration>(
        &self,
        workload: &Workload,
        declared: &D,
        backend: &Backend,
    ) -> Option<SettingsError> {
        let bound = !workload.is_of_host();
        let hint = "the host's operator decides it: `stores` in the host configuration";
        if bound && self.backends.as_ref().is_some_and(|allowed| !allowed.contains(backend.name)) {
            let message = format!("this host lets no manifest use the backend `{}`", backend.name);
            return Some(SettingsError::new("backend", message).with_hint(hint));
        }
        if bound && !self.urls && declared.url().is_some() {
            let message = "this host lets no manifest name a server";
            return Some(SettingsError::new("url", message).with_hint(hint));
        }
        let has_folder = self.state.is_some() || backend.name != "embedded" || D::KIND == Kind::Messaging;
        (!has_folder).then(|| {
            SettingsError::new("backend", "this host has no folder for embedded stores")
                .with_hint("set the host's state folder, or use the backend `memory`")
        })
    }
}
