//! Declared stores → open stores, and the stores of each component.
//!
//! Takes an [`Opening`] and the host's [`Policy`]; opens every declared store through the plugin's own function. Never gives a
//! component a store that it was not granted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wharf::workload::{Name, Workload};
use wharf::{Binding, PluginError};
use zeroize::Zeroizing;

use crate::declaration::{Backend, Declaration, check};
use crate::granted::Granted;
use crate::inputs::read_file;
use crate::policy::Policy;
use crate::registry::{Identity, Key, Lease, Registry};
use crate::text::Text;

/// A declared store that a plugin opens.
pub struct Source<'a, D> {
    /// Its declaration: the manifest's, or the one that the host put in its place.
    pub declared: D,
    /// Its backend.
    pub backend: &'static Backend,
    /// The workload that it belongs to.
    pub workload: &'a Workload,
    /// Its name.
    pub name: &'a Name,
    policy: &'a Policy,
    by_host: bool,
}

impl<'a, D: Declaration> Source<'a, D> {
    /// The store as it is to be opened.
    ///
    /// # Errors
    /// [`PluginError`] with a place below the workload.
    pub(crate) fn find(
        policy: &'a Policy,
        workload: &'a Workload,
        name: &'a Name,
        declared: &D,
    ) -> Result<Self, PluginError> {
        let place = format!("{}.{name}", D::KIND);
        let at = |errors: Vec<_>| {
            let errors = errors.into_iter().map(|error| PluginError::from(error).below(&place));
            PluginError::all(errors).unwrap_or_else(|| PluginError::new("invalid store").at(place.clone()))
        };
        let replacement = policy.replacement::<D>(workload, name);
        let by_host = replacement.is_some();
        let declared = replacement.unwrap_or_else(|| declared.clone());
        let backend = check(&declared).map_err(at)?;
        match policy.refusal(workload, &declared, backend).filter(|_| !by_host) {
            Some(refusal) => Err(at(vec![refusal])),
            None => Ok(Self { declared, backend, workload, name, policy, by_host }),
        }
    }

    /// What it is, for plans: `embedded`, `redis at redis://cache:6379`, with `(host)` if the host put it in its place.
    pub(crate) fn describe(&self) -> String {
        let host = if self.by_host { " (by the host)" } else { "" };
        // The address of a store of the host's own is the operator's affair.
        match self.declared.url().filter(|_| !self.by_host) {
            Some(url) => format!("{} at {}{host}", self.backend.name, url.shown()),
            None => format!("{}{host}", self.backend.name),
        }
    }

    /// The folder of an embedded store: one for each store of each workload.
    ///
    /// # Errors
    /// [`PluginError`] when the host has no state folder.
    pub fn folder(&self) -> Result<PathBuf, PluginError> {
        let state = self.policy.state.as_ref().ok_or_else(|| {
            PluginError::new("this host has no folder for embedded stores").hint("set the host's state folder")
        })?;
        let Workload { namespace, name, .. } = self.workload;
        Ok([namespace.as_str(), name.as_str(), D::KIND.key(), self.name.as_str()]
            .iter()
            .fold(state.clone(), |p, s| p.join(s)))
    }

    /// What keeps the stores of several workloads apart on a server that the host put in their place: `namespace.workload.store`.
    /// `None` for a store that a manifest declares itself.
    pub fn partition(&self) -> Option<String> {
        self.by_host.then(|| format!("{}.{}.{}", self.workload.namespace, self.workload.name, self.name))
    }

    /// The content of a file, at most `most` bytes, which manifests may name only by the host's policy.
    ///
    /// # Errors
    /// [`PluginError`] when manifests may not name files, or the file cannot be read.
    pub async fn file(&self, path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, PluginError> {
        if !self.by_host {
            self.policy.inputs_of(self.workload).check_file()?;
        }
        let read = read_file(path, most).await;
        read.map_err(|error| PluginError::new(format!("cannot read `{}`: {error}", path.display())))
    }

    /// The address of the server.
    ///
    /// # Errors
    /// [`PluginError`] when there is none, or its secret cannot be read.
    pub async fn url(&self) -> Result<Zeroizing<String>, PluginError> {
        self.required(self.declared.url()).await.map_err(|error| error.at("url"))
    }

    /// The value of a text that the backend requires.
    ///
    /// # Errors
    /// [`PluginError`] when there is none, or its secret cannot be read.
    pub async fn required(&self, text: Option<&Text>) -> Result<Zeroizing<String>, PluginError> {
        self.text(text.ok_or_else(|| PluginError::new("the backend requires it"))?).await
    }

    /// The value of a text, from the secrets of the manifest or of the host.
    ///
    /// # Errors
    /// [`PluginError`] when the secret cannot be read.
    pub async fn text(&self, text: &Text) -> Result<Zeroizing<String>, PluginError> {
        let secret = match text {
            Text::Plain(text) => return Ok(Zeroizing::new(text.clone())),
            Text::Secret { secret } => secret,
        };
        if !self.by_host {
            return self.policy.inputs_of(self.workload).read_secret_of(self.workload, secret).await?.text();
        }
        let source = self
            .policy
            .host_secrets
            .get(secret)
            .ok_or_else(|| PluginError::new(format!("the host's configuration has no secret `{secret}`")))?;
        self.policy.host_inputs.read_secret(source).await?.text()
    }
}

/// The open stores of a workload, of one kind.
pub struct Stores<S: ?Sized>(BTreeMap<Name, Lease<S>>);

impl<S: ?Sized + Send + Sync + 'static> Stores<S> {
    /// Opens the stores that a workload declares.
    ///
    /// # Errors
    /// [`PluginError`] for each store that cannot be opened, with its place below the workload.
    pub async fn open<D: Declaration>(
        policy: &Policy,
        registry: &Registry<S>,
        workload: &Workload,
        open: impl AsyncFn(&Source<'_, D>) -> Result<Arc<S>, PluginError>,
    ) -> Result<Self, PluginError> {
        let (mut stores, mut errors) = (BTreeMap::new(), Vec::new());
        for (name, declared) in declarations::<D>(workload)? {
            let opened = async {
                let source = Source::find(policy, workload, &name, &declared)?;
                let mut parts = vec![Zeroizing::new(serde_json::to_string(&source.declared).unwrap_or_default())];
                // A secret that changes makes another store.
                for (key, text) in source.declared.texts() {
                    let value = source.text(text).await;
                    parts.push(value.map_err(|error| error.at(format!("{}.{name}.{key}", D::KIND)))?);
                }
                let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
                let declared = registry.hash(&parts);
                // A local store is one store, whatever its settings are: its file, or what it has in memory.
                let identity = if source.backend.is_local() {
                    Identity::Local(source.backend.name)
                } else {
                    Identity::Server(declared)
                };
                let key = Key { workload: workload.id(), store: name.clone(), identity };
                let opening =
                    async { open(&source).await.map_err(|error| error.below(&format!("{}.{name}", D::KIND))) };
                let lease = registry.get_or_open(key, declared, opening).await?;
                if lease.declared != declared {
                    let (workload, kind) = (workload.id(), D::KIND.key());
                    tracing::warn!(workload, kind, store = %name, "an open store keeps its settings until the workload stops");
                }
                Ok(lease)
            };
            match opened.await {
                Ok(store) => drop(stores.insert(name.clone(), store)),
                Err(error) => errors.push(error),
            }
        }
        PluginError::all(errors).map_or(Ok(Self(stores)), Err)
    }

    /// A store by its name.
    pub fn get(&self, name: &str) -> Option<&Arc<S>> {
        self.0.get(name).map(|lease| &lease.store)
    }

    /// All stores.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Arc<S>)> {
        self.0.iter().map(|(name, lease)| (name, &lease.store))
    }

    /// Ends the use of all stores; closes those that no other version of the workload uses.
    pub async fn close<F: Future<Output = ()>>(&self, close: impl Fn(Arc<S>) -> F) {
        for lease in self.0.values() {
            lease.end(&close).await;
        }
    }
}

/// The stores that a workload declares.
pub(crate) fn declarations<D: Declaration>(workload: &Workload) -> Result<BTreeMap<Name, D>, PluginError> {
    let key = D::KIND.key();
    let decoded = workload.settings.get(key).map(|settings| settings.decode_at(key)).transpose();
    decoded.map(Option::unwrap_or_default).map_err(|error| PluginError::from(error).below(key))
}

/// The stores that a component may open, by the name that the guest asks for. With a link to one store, only that one is there,
/// under its own name, under the names by which it is granted, and as `default`.
///
/// # Errors
/// [`PluginError`] with a place below the component.
pub fn component_stores<S: ?Sized + Send + Sync + 'static>(
    kind: crate::Kind,
    binding: &Binding<'_>,
    stores: &Stores<S>,
) -> Result<BTreeMap<String, Arc<S>>, PluginError> {
    let granted: Granted = binding.settings(kind.key())?.unwrap_or_default();
    let mut found = BTreeMap::new();
    for (guest, name, place) in granted.iter() {
        let store =
            stores.get(name.as_str()).ok_or_else(|| unknown(kind, name.as_str()).at(format!("{kind}.{place}")))?;
        if binding.target().is_none_or(|target| target == name.as_str()) {
            found.insert(guest.to_owned(), store.clone());
        }
    }
    if let Some(target) = binding.target() {
        let store = stores.get(target).ok_or_else(|| unknown(kind, target))?;
        found.insert(target.to_owned(), store.clone());
        found.insert("default".to_owned(), store.clone());
    }
    Ok(found)
}

pub(crate) fn unknown(kind: crate::Kind, name: &str) -> PluginError {
    PluginError::new(format!("unknown {kind} store `{name}`")).hint(format!("add `[{kind}.{name}]`"))
}
