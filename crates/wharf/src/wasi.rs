//! WASI 0.2 and 0.3 as the engine implements them, and 0.1 for programs: the first plugin.
//!
//! For a workload it opens the volumes, the loopback and the resolver; for a component it binds the [`Grants`] that the manifest
//! declares. `wasi:http` is not here: the HTTP plugin provides it.

pub mod grants;
pub mod stdio;
mod cli;
mod files;
mod hold;
pub(crate) mod p1;
mod random;
mod sockets;
pub(crate) mod table;
mod timezone;
mod unit;
mod volumes;

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use workload::HostInterface;
use workload::manifest::TimeZone;

use crate::limits::Limits;
use crate::plugin::{Binding, Link, Opening, Plugin, PluginError, Provided};
use stdio::Stdio;
use volumes::Shared;

pub use grants::Grants;
pub use sockets::lookup::Resolver;

/// The version of WASI 0.2 that is provided. It serves components built for any 0.2.
pub const P2: &str = "0.2.12";
/// The version of WASI 0.3 that is provided. It serves components built for any 0.3, as far as this version goes.
pub const P3: &str = "0.3.0";

/// The name of the plugin.
pub const NAME: &str = "wasi";

/// The most name look-ups that a workload has in progress, unless the host's ceilings say otherwise.
const MAX_LOOKUPS: u32 = 16;

/// Provides WASI.
#[derive(Clone)]
pub(crate) struct Wasi {
    pub(crate) stdio: Arc<dyn Stdio>,
    pub(crate) dedicated: bool,
    pub(crate) lookups: Option<u32>,
}

/// The interfaces that WASI provides. In resolution they come after those of all other plugins.
pub fn interfaces() -> Vec<HostInterface> {
    table::rows().filter_map(|row| Some(HostInterface { name: row.name()?, plugin: None, grant: row.grant })).collect()
}

/// Runs file operations off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PluginError> + Send + 'static,
) -> Result<T, PluginError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| PluginError::new("opening was interrupted").caused_by(error))?
}

#[async_trait]
impl Plugin for Wasi {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interfaces(&self) -> Vec<Provided> {
        let named = |row: &table::Row| Some(Provided { name: row.name()?.to_string(), grant: row.grant });
        table::rows().filter_map(named).collect()
    }

    async fn open(&self, opening: &mut Opening<'_>) -> Result<(), PluginError> {
        let (volumes, lookups) = (&opening.workload().volumes, self.lookups.unwrap_or(MAX_LOOKUPS));
        let shared = if volumes.is_empty() {
            Shared::open(volumes, lookups)?
        } else {
            let volumes = volumes.clone();
            blocking(move || Shared::open(&volumes, lookups)).await?
        };
        opening.insert(Arc::new(shared));
        Ok(())
    }

    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let Some(shared) = binding.opened::<Arc<Shared>>().cloned() else {
            return Err(PluginError::new("the volumes are not open"));
        };
        let (workload, name, component) = (binding.workload().id(), binding.name(), binding.component());
        let grants = if component.volumes.is_empty() && component.timezone != TimeZone::System {
            Grants::open(workload, name, component, self, &shared)?
        } else {
            let (name, component, wasi) = (name.clone(), component.clone(), self.clone());
            blocking(move || Grants::open(workload, &name, &component, &wasi, &shared)).await?
        };
        binding.insert(grants);
        Ok(())
    }

    fn binds_every_component(&self) -> bool {
        true
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        match table::find(link.interface()) {
            Some(row) => (row.link)(link),
            None => Ok(()),
        }
    }

    fn resource_size(&self, resource: &(dyn Any + Send), _: &Limits) -> usize {
        files::size(resource) + sockets::lookup::size(resource)
    }
}
