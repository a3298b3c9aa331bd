//! The WASI grants of a component, opened when its workload starts and shared by all its instances.

use std::sync::Arc;

use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};
use workload::Name;
use workload::manifest::{Access, Component, Mount, Protocol};

use super::sockets::denials::Denials;
use super::sockets::lookup::Resolver;
use super::sockets::loopback::{Loopback, ServiceStart};
use super::sockets::network::Network;
use super::stdio::Stdio;
use super::volumes::Shared;
use super::{Wasi, timezone};
use crate::plugin::PluginError;
use crate::store::{ComponentContext, Scope, View};

/// The WASI grants of a component: what its section of the manifest allows. Everything else is denied.
///
/// A plugin asks for them to apply a component's `hosts` to its own connections:
///
/// ```
/// use wharf::ComponentContext;
/// use wharf::wasi::Grants;
/// use wharf::workload::manifest::Protocol;
///
/// fn may_connect(component: &ComponentContext, host: &str) -> bool {
///     Grants::of(component).allows(Protocol::Tcp, host, 443)
/// }
/// ```
pub struct Grants {
    pub(super) env: Vec<(String, String)>,
    pub(super) args: Vec<String>,
    pub(super) stdio: Arc<dyn Stdio>,
    pub(super) network: Arc<Network>,
    pub(super) filesystem: WasiFilesystemCtx,
    /// The filesystem context for operations on handles. It has no volumes, because they are opened through `filesystem`.
    pub(crate) handles: WasiFilesystemCtx,
    pub(super) zone: jiff::tz::TimeZone,
}

impl Grants {
    /// Returns the grants of a component.
    ///
    /// # Panics
    /// When the context does not come from a [`Host`](crate::Host), which binds WASI to every component.
    pub fn of(component: &ComponentContext) -> &Self {
        #[allow(clippy::expect_used, reason = "a host binds WASI to every component")]
        component.binding().expect("a host binds WASI to every component")
    }

    /// Opens the volumes and the network of a component.
    pub(super) fn open(
        workload: String,
        name: &Name,
        component: &Component,
        wasi: &Wasi,
        shared: &Shared,
    ) -> Result<Self, PluginError> {
        let program = component.program.clone().unwrap_or_else(|| name.to_string());
        let denials = Denials::new(workload, name.to_string());
        let network = Network::new(component.hosts.clone(), shared.loopback.clone(), shared.lookups.clone(), denials);
        // From a separate builder: clones of a filesystem context share its volumes.
        let handles = WasiCtxBuilder::new().allow_blocking_current_thread(wasi.dedicated).build().filesystem().clone();
        let mut builder = WasiCtxBuilder::new();
        builder.allow_blocking_current_thread(wasi.dedicated);
        let mut open = |(i, mount)| open_volume(&mut builder, mount, shared, i).err();
        let errors: Vec<_> = component.volumes.iter().enumerate().filter_map(&mut open).collect();
        if let Some(error) = PluginError::all(errors) {
            return Err(error);
        }
        let mut context = builder.build();
        Ok(Self {
            env: component.env.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            args: std::iter::once(program).chain(component.args.iter().cloned()).collect(),
            stdio: wasi.stdio.clone(),
            network: Arc::new(network),
            filesystem: context.filesystem().clone(),
            handles,
            zone: timezone::granted(&component.timezone),
        })
    }

    /// Returns whether the component's `hosts` allow `protocol` to a port of a host. `host` is a name or the text of an
    /// address.
    pub fn allows(&self, protocol: Protocol, host: &str, port: u16) -> bool {
        self.network.rules().iter().any(|rule| rule.allows_name(protocol, host, port))
    }

    /// Returns a resolver for the connections that the component's `hosts` allow.
    pub fn resolver(&self) -> Resolver {
        Resolver::of(self.network.clone())
    }

    /// Registers the component as a service, for the connections that wait for it.
    pub(crate) fn register_service(&self) -> ServiceStart {
        self.loopback().register_service(self.network.id())
    }

    pub(super) fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// Returns the loopback of the component's workload.
    pub(crate) fn loopback(&self) -> &Arc<Loopback> {
        self.network.loopback()
    }
}

/// Opens a volume, at the path where the guest sees it.
fn open_volume(builder: &mut WasiCtxBuilder, mount: &Mount, shared: &Shared, index: usize) -> Result<(), PluginError> {
    let volume = &mount.volume;
    let path = shared
        .folder(volume)
        .ok_or_else(|| PluginError::new(format!("unknown volume `{volume}`")).at(format!("volumes.{index}.volume")))?;
    let perms = match mount.access {
        Access::Read => FsPerms::ReadOnly,
        Access::ReadWrite => FsPerms::ReadWrite,
    };
    builder.preopened_dir(path, &mount.guest, perms).map_err(|error| {
        let message = format!("cannot open the volume `{volume}` at `{}`: {error:#}", path.display());
        PluginError::new(message)
            .at(format!("volumes.{index}.volume"))
            .hint("create the directory, or correct the volume's `host`")
            .caused_by(error)
    })?;
    Ok(())
}

/// The volumes of the calling component.
pub(super) struct Volumes;

impl View for Volumes {
    type Of = WasiFilesystem;
    fn view(scope: Scope<'_>) -> WasiFilesystemCtxView<'_> {
        let component = scope.component;
        let ctx = scope.state.get_or_insert_with(|| Grants::of(component).filesystem.clone());
        WasiFilesystemCtxView { ctx, table: scope.table }
    }
}
