//! The settings of a host, and the interfaces that its plugins provide together.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use workload::manifest::Extensions;
use workload::{Ceilings, HostInterface, InterfaceName};

use super::identity::{self, Identity};
use super::trigger::Trigger;
use super::workloads::Workloads;
use super::{DRAIN, Host, Inner};
use crate::engine::Engine;
use crate::limits::Limits;
use crate::logs::Logs;
use crate::plugin::{Plugin, Provided};
use crate::prepare::slots::Plugins;
use crate::prepare::source::{LocalSources, SourceLoader};
use crate::wasi::stdio::{self, Stdio};
use crate::wasi::{self, Wasi};

/// The settings of a [`Host`].
///
/// ```
/// use std::time::Duration;
///
/// use wharf::workload::Ceilings;
/// use wharf::{Engine, Host, Limits, stdio};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut ceilings = Ceilings::default();
/// ceilings.instances = Some(100);
/// let host = Host::builder(Engine::builder().pooling(false).build()?)
///     .limits(Limits { memory: 64 << 20, ..Limits::default() })
///     .ceilings(ceilings)
///     .drain(Duration::from_secs(5))
///     .stdio(stdio::Null)
///     .friendly_name("edge-1")
///     .label("zone", "eu")
///     .build()?;
/// assert_eq!(host.heartbeat().await.friendly_name, "edge-1");
/// # Ok(())
/// # }
/// ```
pub struct HostBuilder {
    engine: Engine,
    plugins: Vec<Arc<dyn Plugin>>,
    triggers: Vec<Arc<dyn Trigger>>,
    stdio: Arc<dyn Stdio>,
    sources: Arc<dyn SourceLoader>,
    drain: Duration,
    limits: Limits,
    ceilings: Ceilings,
    dedicated: bool,
    friendly_name: Option<String>,
    labels: BTreeMap<String, String>,
}

/// Why a host could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Two plugins have one name.
    #[error("two plugins are named `{name}`")]
    DuplicatePlugin {
        /// The name.
        name: String,
    },
    /// Two plugins or triggers own one section of the manifest.
    #[error("two plugins or triggers own the section `{key}` of the manifest")]
    DuplicateSection {
        /// The key.
        key: String,
    },
    /// An interface's name is invalid.
    #[error("plugin `{plugin}` provides `{interface}`, which is not of the form `namespace:package/interface@version`")]
    InvalidInterface {
        /// The plugin.
        plugin: String,
        /// The name.
        interface: String,
    },
}

impl HostBuilder {
    /// The default settings: WASI and no other plugins, no triggers, and standard streams that go to the log.
    pub(super) fn new(engine: Engine) -> Self {
        Self {
            engine,
            plugins: Vec::new(),
            triggers: Vec::new(),
            stdio: Arc::new(stdio::Log),
            sources: Arc::new(LocalSources),
            drain: DRAIN,
            limits: Limits::default(),
            ceilings: Ceilings::default(),
            dedicated: false,
            friendly_name: None,
            labels: BTreeMap::new(),
        }
    }

    /// Adds a plugin.
    #[must_use]
    pub fn plugin(self, plugin: impl Plugin) -> Self {
        self.shared_plugin(Arc::new(plugin))
    }

    /// Adds a plugin that the caller keeps a handle to.
    #[must_use]
    pub fn shared_plugin(mut self, plugin: Arc<dyn Plugin>) -> Self {
        self.plugins.push(plugin);
        self
    }

    /// Adds a trigger. Without one, only the program itself calls components.
    #[must_use]
    pub fn trigger(self, trigger: impl Trigger) -> Self {
        self.shared_trigger(Arc::new(trigger))
    }

    /// Adds a trigger that the caller keeps a handle to.
    #[must_use]
    pub fn shared_trigger(mut self, trigger: Arc<dyn Trigger>) -> Self {
        self.triggers.push(trigger);
        self
    }

    /// Sets the components' standard streams; [`stdio::Log`] by default.
    #[must_use]
    pub fn stdio(mut self, stdio: impl Stdio) -> Self {
        self.stdio = Arc::new(stdio);
        self
    }

    /// Sets the loader of components' bytes; [`LocalSources`] by default.
    #[must_use]
    pub fn sources(mut self, sources: impl SourceLoader) -> Self {
        self.sources = Arc::new(sources);
        self
    }

    /// Sets how long a stopping workload waits for the calls in progress; [`DRAIN`] by default.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Sets the limits of an instance where its manifest declares none; [`Limits::default`] by default.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the most that a manifest may ask for; no ceilings by default. A workload that asks for more does not start:
    /// [`StartError::Invalid`](super::StartError::Invalid) lists each excess.
    #[must_use]
    pub fn ceilings(mut self, ceilings: Ceilings) -> Self {
        self.ceilings = ceilings;
        self
    }

    /// Whether the host runs a single program, as `wharf run` does: files are then accessed on the thread that the program
    /// runs on, and the program never moves to the background. Off by default, because a slow disk would delay all other
    /// calls.
    #[must_use]
    pub fn dedicated(mut self, dedicated: bool) -> Self {
        self.dedicated = dedicated;
        self
    }

    /// Sets the host's display name.
    #[must_use]
    pub fn friendly_name(mut self, name: impl Into<String>) -> Self {
        self.friendly_name = Some(name.into());
        self
    }

    /// Adds a label, by which a scheduler chooses among hosts.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Builds the host.
    ///
    /// # Errors
    /// [`HostError`] when two plugins have one name or own one section of the manifest, or an interface's name is invalid.
    pub fn build(mut self) -> Result<Host, HostError> {
        let interfaces = interfaces(&self.plugins)?;
        let extensions = extensions(&self.plugins, &self.triggers)?;
        let wasi = Wasi { stdio: self.stdio, dedicated: self.dedicated, lookups: self.ceilings.lookups };
        // First, so that it binds before the plugins that use its grants.
        self.plugins.insert(0, Arc::new(wasi));
        self.plugins.push(Arc::new(Identity));
        let id = format!("{:016x}", std::hash::RandomState::new().build_hasher().finish());
        Ok(Host(Arc::new(Inner {
            friendly_name: self.friendly_name.unwrap_or_else(|| format!("wharf-{}", &id[..8])),
            id,
            engine: self.engine,
            plugins: Arc::new(Plugins(self.plugins)),
            triggers: self.triggers,
            interfaces,
            extensions,
            sources: self.sources,
            drain: self.drain,
            limits: self.limits.capped_at(&self.ceilings.limits),
            ceilings: self.ceilings,
            dedicated: self.dedicated,
            labels: self.labels,
            started: Instant::now(),
            workloads: Workloads::default(),
            logs: Logs::default(),
            provided: OnceLock::new(),
            operations: tokio_util::task::TaskTracker::new(),
        })))
    }
}

/// The interfaces of the plugins, and of WASI.
fn interfaces(plugins: &[Arc<dyn Plugin>]) -> Result<Vec<HostInterface>, HostError> {
    let mut interfaces: Vec<HostInterface> = Vec::new();
    for (i, plugin) in plugins.iter().enumerate() {
        let name = plugin.name();
        if [wasi::NAME, identity::NAME].contains(&name) || plugins[..i].iter().any(|other| other.name() == name) {
            return Err(HostError::DuplicatePlugin { name: name.to_owned() });
        }
        for provided in plugin.interfaces() {
            let invalid = || HostError::InvalidInterface { plugin: name.to_owned(), interface: provided.name.clone() };
            let interface = InterfaceName::parse(&provided.name).ok_or_else(invalid)?;
            interfaces.push(HostInterface { name: interface, plugin: Some(name.to_owned()), grant: provided.grant });
        }
    }
    for Provided { name, grant } in Identity.interfaces() {
        let plugin = Some(identity::NAME.to_owned());
        interfaces.extend(InterfaceName::parse(&name).map(|name| HostInterface { name, plugin, grant }));
    }
    interfaces.extend(wasi::interfaces());
    Ok(interfaces)
}

/// The sections that plugins and triggers add to the manifest.
fn extensions(plugins: &[Arc<dyn Plugin>], triggers: &[Arc<dyn Trigger>]) -> Result<Extensions, HostError> {
    let mut extensions = Extensions::builtin();
    for kind in triggers.iter().filter_map(|trigger| trigger.kind()) {
        if extensions.triggers().iter().any(|other| other.key() == kind.key()) {
            return Err(HostError::DuplicateSection { key: format!("triggers.{}", kind.key()) });
        }
        extensions = extensions.with_trigger_kind(kind);
    }
    for key in plugins.iter().flat_map(|plugin| plugin.settings()) {
        if extensions.settings().iter().any(|other| other.key == key.key) {
            return Err(HostError::DuplicateSection { key: key.key });
        }
        extensions = extensions.with_settings(key);
    }
    Ok(extensions)
}
