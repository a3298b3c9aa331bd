//! [`wasi:tls`] for Wharf: a component encrypts the connections that it was granted.
//!
//! The interface takes streams that the component has already, so that it grants no access by itself: `hosts` decides what they lead
//! to. A server's certificate is checked against the public roots, or against those that the component was granted instead, with `tls = { roots =
//! "ca.pem" }` in the manifest. The plugin provides `wasi:tls` in the versions 0.2.0-draft and
//! 0.3.0-draft, and `wharf-http` uses a component's settings for its
//! outgoing requests.
//!
//! ```
//! use wharf::{Engine, Host};
//! use wharf_stores::Policy;
//! use wharf_tls::TlsPlugin;
//!
//! let engine = Engine::builder().pooling(false).build().unwrap();
//! let host = Host::builder(engine).plugin(TlsPlugin::new(&Policy::default())).build().unwrap();
//! assert!(host.interfaces().iter().any(|i| i.name.to_string() == "wasi:tls/types@0.2.0-draft"));
//! ```
//!
//! [`wasi:tls`]: https://github.com/WebAssembly/wasi-tls

mod bindings;
mod connect;
mod p3;

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use rustls::ClientConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wasmtime::component::HasData;
use wasmtime_wasi_tls::p2::bindings::types;
use wasmtime_wasi_tls::{WasiTlsCtx, WasiTlsCtxBuilder, WasiTlsCtxView};
use wharf::limits::Limits;
use wharf::plugin::Planning;
use wharf::workload::manifest::SettingsKey;
use wharf::workload::{Name, Workload};
use wharf::{Binding, Link, Plugin, PluginError, Provided, Scope, StoreData, View};
use wharf_stores::{Policy, read_file};
use zeroize::Zeroizing;

use bindings::wasi::tls::client;
use p3::{Connector, HasConnectors, HasFailures};

const KEY: &str = "tls";
const P2: &str = "wasi:tls/types@0.2.0-draft";
const P3_CLIENT: &str = "wasi:tls/client@0.3.0-draft";
const P3_TYPES: &str = "wasi:tls/types@0.3.0-draft";
/// The largest file of certificates, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// The memory that a connection takes: a record each way, and what waits in between.
const CONNECTION: usize = 64 * 1024;
/// The same for a connection of 0.3, with a piece of each stream.
const CONNECTION_P3: usize = 256 * 1024;

/// What a component sets for its TLS connections: `tls` in the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct TlsSettings {
    /// A file of certificates in PEM that sign those of servers, in the place of the public ones. A relative path starts at the
    /// manifest's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots: Option<PathBuf>,
    /// A file with the component's own certificate in PEM, and those that sign it, for servers that ask for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The secret that has the certificate's private key in PEM: the name of a `[secrets.<name>]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Name>,
}

/// Provides `wasi:tls`.
#[derive(Clone, Debug, Default)]
pub struct TlsPlugin {
    policy: Policy,
}

impl TlsPlugin {
    /// A plugin for a host with this policy, which says whether manifests may name files.
    pub fn new(policy: &Policy) -> Self {
        Self { policy: policy.clone() }
    }
}

/// How a component connects, which the plugin binds to every component.
pub struct ComponentTls {
    config: Arc<ClientConfig>,
    own: bool,
}

impl ComponentTls {
    /// The component's configuration, if it has any settings of its own.
    pub fn own(&self) -> Option<&Arc<ClientConfig>> {
        self.own.then_some(&self.config)
    }
}

/// The configuration of components without settings.
static PUBLIC: LazyLock<Result<Arc<ClientConfig>, connect::Invalid>> = LazyLock::new(|| connect::client(None, None));

#[async_trait]
impl Plugin for TlsPlugin {
    fn name(&self) -> &'static str {
        KEY
    }

    fn interfaces(&self) -> Vec<Provided> {
        vec![
            Provided::grant(P2),
            Provided::grant(P3_CLIENT),
            // Failures alone, which components may pass to each other.
            Provided::shared(P3_TYPES),
        ]
    }

    fn settings(&self) -> Vec<SettingsKey> {
        let key = SettingsKey::new(KEY).in_component::<TlsSettings>();
        vec![key.with_component_path("roots").with_component_path("certificate")]
    }

    fn plan(&self, planning: &mut Planning<'_>) {
        for (component, _) in planning.components() {
            let settings: Option<TlsSettings> = planning.component_settings(component, KEY);
            let Some(TlsSettings { roots, certificate, key }) = settings else { continue };
            let place = |key: &str| format!("components.{component}.{KEY}.{key}");
            for (name, file) in [("roots", &roots), ("certificate", &certificate)] {
                let Some(file) = file else { continue };
                match self.policy.inputs_of(planning.workload()).check_file() {
                    Ok(()) => planning.grant(component, name, file.display().to_string()),
                    Err(error) => planning.problem(error.at(place(name))),
                }
            }
            match (certificate, key) {
                (Some(_), None) => planning.problem(missing("key").at(place("certificate"))),
                (None, Some(_)) => planning.problem(missing("certificate").at(place("key"))),
                (_, Some(key)) => {
                    let checked = self.policy.inputs_of(planning.workload()).check_secret_of(planning.workload(), &key);
                    match checked {
                        Ok(()) => planning.grant(component, "key", format!("secret {key}")),
                        Err(error) if error.place().is_none() => planning.problem(error.at(place("key"))),
                        // The plugin for secrets reports the declaration.
                        Err(_) => {}
                    }
                }
                (None, None) => {}
            }
        }
    }

    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let settings: TlsSettings = binding.settings(KEY)?.unwrap_or_default();
        let own = settings != TlsSettings::default();
        let config = if own {
            self.config(binding.workload(), &settings).await.map_err(|error| error.below(KEY))?
        } else {
            PUBLIC.clone().map_err(refused)?
        };
        binding.insert(ComponentTls { config, own });
        Ok(())
    }

    /// Outgoing HTTP requests use the settings of a component that does not import the interface.
    fn binds_every_component(&self) -> bool {
        true
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        match link.interface().to_string().as_str() {
            P3_CLIENT => {
                let get = link.getter::<HasConnectors>();
                client::add_to_linker_instance::<StoreData, HasConnectors>(&mut link.instance()?, get)
            }
            P3_TYPES => {
                let get = link.getter::<HasFailures>();
                bindings::wasi::tls::types::add_to_linker_instance::<StoreData, HasFailures>(&mut link.instance()?, get)
            }
            _ => {
                let get = link.getter::<HasTls>();
                let mut options = types::LinkOptions::default();
                options.tls(true);
                types::add_to_linker_instance::<StoreData, HasTls>(&mut link.instance()?, &options, get)
            }
        }
    }

    fn resource_size(&self, resource: &(dyn Any + Send), _: &Limits) -> usize {
        use wasmtime_wasi_tls::p2::{HostClientConnection, HostClientHandshake, HostFutureClientStreams};
        let is_connection = resource.is::<HostClientConnection>()
            || resource.is::<HostClientHandshake>()
            || resource.is::<HostFutureClientStreams>();
        match is_connection {
            true => CONNECTION,
            false if resource.is::<Connector>() => CONNECTION_P3,
            false => 0,
        }
    }
}

fn refused(connect::Invalid { key, problem }: connect::Invalid) -> PluginError {
    PluginError::new(problem).at(key)
}

fn missing(key: &str) -> PluginError {
    PluginError::new(format!("a client certificate needs a `{key}`, too"))
        .hint("`certificate` is a file, and `key` the name of a secret with its private key")
}

impl TlsPlugin {
    /// The configuration of a component. Errors are below its settings.
    async fn config(&self, workload: &Workload, settings: &TlsSettings) -> Result<Arc<ClientConfig>, PluginError> {
        let roots = self.read(workload, "roots", settings.roots.as_deref()).await?;
        let certificate = self.read(workload, "certificate", settings.certificate.as_deref()).await?;
        let identity = match (certificate, &settings.key) {
            (Some(certificate), Some(name)) => {
                let key = self.policy.inputs_of(workload).read_secret_of(workload, name).await;
                Some((certificate, key.map_err(|error| error.at("key"))?))
            }
            (None, None) => None,
            (Some(_), None) => return Err(missing("key").at("certificate")),
            (None, Some(_)) => return Err(missing("certificate").at("key")),
        };
        let identity = identity.as_ref().map(|(certificate, key)| (certificate.as_slice(), key.reveal()));
        connect::client(roots.as_ref().map(|pem| pem.as_slice()), identity).map_err(refused)
    }

    async fn read(
        &self,
        workload: &Workload,
        place: &str,
        file: Option<&Path>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, PluginError> {
        let Some(file) = file else { return Ok(None) };
        self.policy.inputs_of(workload).check_file().map_err(|error| error.at(place))?;
        let read = read_file(file, MAX_FILE).await;
        let failed = |error| PluginError::new(format!("cannot read `{}`: {error}", file.display())).at(place);
        read.map(Some).map_err(failed)
    }
}

/// Names the data of the bindings.
struct HasTls;

impl HasData for HasTls {
    type Data<'a> = WasiTlsCtxView<'a>;
}

impl View for HasTls {
    type Of = Self;
    fn view(scope: Scope<'_>) -> WasiTlsCtxView<'_> {
        let ComponentTls { config, .. } = scope.binding();
        let context = || WasiTlsCtxBuilder::new().provider(Box::new(connect::Connector(config.clone()))).build();
        WasiTlsCtxView { table: scope.table, ctx: scope.state.get_or_insert_with::<WasiTlsCtx>(context) }
    }
}
