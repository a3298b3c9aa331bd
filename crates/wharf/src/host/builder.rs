//! The settings of a host, and what its plugins provide together.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use workload::{Ceilings, HostInterface, InterfaceName};

use super::{Host, Inner};
use crate::engine::Engine;
use crate::limits::Limits;
use crate::plugin::{Plugin, Trigger};
use crate::wasi::{self, stdio::Stdio};

/// The settings of a [`Host`].
pub struct HostBuilder {
    pub(super) engine: Engine,
    pub(super) plugins: Vec<Arc<dyn Plugin>>,
    pub(super) triggers: Vec<Arc<dyn Trigger>>,
    pub(super) stdio: Stdio,
    pub(super) drain: Duration,
    pub(super) limits: Limits,
    pub(super) ceilings: Ceilings,
    pub(super) dedicated: bool,
    pub(super) friendly_name: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
}

/// Why a host could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Two plugins provide the same interface.
    #[error("the plugins `{first}` and `{second}` both provide `{interface}`")]
    Twice {
        /// One plugin.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// The interface.
        interface: String,
    },
    /// A plugin's interface has no name of an interface.
    #[error(
        "the plugin `{plugin}` provides `{interface}`, which is not of the form `namespace:package/interface@version`"
    )]
    Name {
        /// The plugin.
        plugin: &'static str,
        /// What it says.
        interface: &'static str,
    },
}

impl HostBuilder {
    /// Adds a plugin.
    #[must_use]
    pub fn plugin(self, plugin: impl Plugin) -> Self {
        self.shared_plugin(Arc::new(plugin))
    }

    /// Adds a plugin that the caller keeps a handle of.
    #[must_use]
    pub fn shared_plugin(mut self, plugin: Arc<dyn Plugin>) -> Self {
        self.plugins.push(plugin);
        self
    }

    /// Adds a trigger. A host calls nothing by itself.
    #[must_use]
    pub fn trigger(self, trigger: impl Trigger) -> Self {
        self.shared_trigger(Arc::new(trigger))
    }

    /// Adds a trigger that the caller keeps a handle of.
    #[must_use]
    pub fn shared_trigger(mut self, trigger: Arc<dyn Trigger>) -> Self {
        self.triggers.push(trigger);
        self
    }

    /// Where the components' standard streams go; to the log unless this says otherwise.
    #[must_use]
    pub fn stdio(mut self, stdio: Stdio) -> Self {
        self.stdio = stdio;
        self
    }

    /// How long a stopping workload waits for the calls that are under way; [`DRAIN`](super::DRAIN) unless this says otherwise.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// What one instance may use where its manifest does not say; [`Limits::default`] unless this says otherwise.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What the manifest of a workload may ask for at most; anything unless this says otherwise. A workload that asks for
    /// more does not start: its [`StartError::Unresolved`](super::StartError::Unresolved) says what is too much.
    #[must_use]
    pub fn ceilings(mut self, ceilings: Ceilings) -> Self {
        self.ceilings = ceilings;
        self
    }

    /// Whether this host runs one program and serves nobody else, as `wharf run` does: files are then read and written on
    /// the thread that the program runs on, and it does not make room for others when it computes. Off by default, because
    /// a slow disk would keep everybody waiting.
    #[must_use]
    pub fn dedicated(mut self, dedicated: bool) -> Self {
        self.dedicated = dedicated;
        self
    }

    /// A name for people.
    #[must_use]
    pub fn friendly_name(mut self, name: impl Into<String>) -> Self {
        self.friendly_name = Some(name.into());
        self
    }

    /// A label, for whoever chooses among hosts.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Makes the host.
    ///
    /// # Errors
    /// [`HostError`] when two plugins provide one interface, or one provides what is no interface.
    pub fn build(self) -> Result<Host, HostError> {
        let interfaces = interfaces(&self.plugins)?;
        let id = format!("{:016x}", std::hash::RandomState::new().build_hasher().finish());
        Ok(Host(Arc::new(Inner {
            friendly_name: self.friendly_name.unwrap_or_else(|| format!("wharf-{}", &id[..8])),
            id,
            engine: self.engine,
            plugins: self.plugins,
            triggers: self.triggers,
            interfaces,
            stdio: self.stdio,
            drain: self.drain,
            limits: self.limits.below(&self.ceilings.limits),
            ceilings: self.ceilings,
            dedicated: self.dedicated,
            labels: self.labels,
            started: Instant::now(),
            updating: tokio::sync::Mutex::default(),
            workloads: Mutex::default(),
        })))
    }
}

/// What the plugins and WASI provide together.
fn interfaces(plugins: &[Arc<dyn Plugin>]) -> Result<Vec<HostInterface>, HostError> {
    let mut interfaces: Vec<HostInterface> = Vec::new();
    let mut owners: Vec<&'static str> = Vec::new();
    for plugin in plugins {
        for provided in plugin.interfaces() {
            let bad = || HostError::Name { plugin: plugin.name(), interface: provided.name };
            let name = InterfaceName::parse(provided.name).ok_or_else(bad)?;
            if let Some(i) = interfaces.iter().position(|other| other.name.may_serve(&name)) {
                return Err(HostError::Twice { first: owners[i], second: plugin.name(), interface: name.to_string() });
            }
            owners.push(plugin.name());
            interfaces.push(HostInterface { name, plugin: Some(plugin.name().to_owned()), grant: provided.grant });
        }
    }
    interfaces.extend(wasi::interfaces());
    Ok(interfaces)
}
