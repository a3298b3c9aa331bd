//! What one component was granted of WASI, made once when its workload starts and shared by all its instances.

use std::path::Path;
use std::sync::Arc;

use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};
use workload::Name;
use workload::manifest::{Access, Component, Mount, Protocol};

use super::lookup::{Lookups, Resolver};
use super::loopback::Loopback;
use super::network::Network;
use super::stdio::Stdio;
use super::timezone;
use crate::ctx::{Scope, View};

/// What one component was granted of WASI.
pub struct Grants {
    pub(super) env: Vec<(String, String)>,
    pub(super) args: Vec<String>,
    pub(super) stdio: Stdio,
    pub(super) network: Arc<Network>,
    pub(super) filesystem: WasiFilesystemCtx,
    /// What operations on handles are given: no volumes, which were opened by then.
    pub(crate) handles: WasiFilesystemCtx,
    pub(super) zone: jiff::tz::TimeZone,
}

/// Why a volume could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the volume `{volume}` of `{component}` cannot be opened at {path}: {error}")]
pub struct VolumeError {
    /// The component.
    pub component: Name,
    /// The volume.
    pub volume: Name,
    /// The folder on the host.
    pub path: String,
    /// What the system says.
    pub error: String,
}

impl Grants {
    /// Opens what a component was granted. `folder` says where a volume is on this host.
    pub(crate) fn open<'p>(
        name: &Name,
        component: &Component,
        stdio: Stdio,
        dedicated: bool,
        loopback: &Arc<Loopback>,
        lookups: &Lookups,
        folder: impl Fn(&Mount) -> Option<&'p Path>,
    ) -> Result<Self, VolumeError> {
        let program = component.program.clone().unwrap_or_else(|| name.to_string());
        let network = Arc::new(Network::new(component.hosts.clone(), loopback.clone(), lookups.clone()));
        // Before the volumes, each of which takes it over.
        let handles = WasiCtxBuilder::new().allow_blocking_current_thread(dedicated).build().filesystem().clone();
        let mut builder = WasiCtxBuilder::new();
        builder.allow_blocking_current_thread(dedicated);
        for mount in &component.volumes {
            let refuse = |path: &Path, error: String| VolumeError {
                component: name.clone(),
                volume: mount.volume.clone(),
                path: path.display().to_string(),
                error,
            };
            let path = folder(mount).ok_or_else(|| refuse(Path::new("?"), "there is no such volume".into()))?;
            let perms = match mount.access {
                Access::Read => FsPerms::ReadOnly,
                Access::ReadWrite => FsPerms::ReadWrite,
            };
            builder.preopened_dir(path, &mount.guest, perms).map_err(|e| refuse(path, format!("{e:#}")))?;
        }
        let mut wasi = builder.build();
        Ok(Self {
            env: component.env.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            args: std::iter::once(program).chain(component.args.iter().cloned()).collect(),
            stdio,
            network,
            filesystem: wasi.filesystem().clone(),
            handles,
            zone: timezone::granted(&component.timezone),
        })
    }

    /// Whether the component may speak `protocol` to this host, a name or an address in text, at this port.
    pub fn allows(&self, protocol: Protocol, host: &str, port: u16) -> bool {
        self.network.rules().iter().any(|rule| rule.allows_name(protocol, host, port))
    }

    /// Looks up hosts for connections that the component may make.
    pub fn resolver(&self) -> Resolver {
        Resolver::of(self.network.clone())
    }

    pub(super) fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// The loopback of the component's workload.
    pub(crate) fn loopback(&self) -> &Arc<Loopback> {
        self.network.loopback()
    }
}

/// The volumes of the component that calls.
pub(super) struct Volumes;

impl View for Volumes {
    type Of = WasiFilesystem;
    fn view(scope: Scope<'_>) -> WasiFilesystemCtxView<'_> {
        let grants = scope.grants;
        let ctx = scope.state.get_or_insert_with(|| grants.wasi().filesystem.clone());
        WasiFilesystemCtxView { ctx, table: scope.table }
    }
}
