#![doc = include_str!("../docs/crate.md")]

pub mod logs;
pub mod usage;
pub mod limits;
pub mod engine;
pub mod guest_log;
pub mod store;
pub mod run;
pub mod plugin;
pub mod wasi;
pub mod prepare;
pub mod host;
pub mod shutdown;

pub use engine::{Engine, EngineBuilder, Feature, Profiling};
pub use host::trigger::{Trigger, TriggerError};
pub use host::{Host, HostApi, HostBuilder, StartError};
pub use limits::{Limit, Limits};
pub use plugin::{Binding, Link, Opening, Plugin, PluginError, Provided};
pub use prepare::load::Loaded;
pub use run::drive::Execution;
pub use run::entry::Entry;
pub use run::invoke::{Call, InvokeError};
pub use run::pool::Instantiated;
pub use run::termination::Termination;
pub use store::{ComponentContext, Scope, StoreData, View};
pub use wasi::stdio;

/// The engine, in the version that Wharf is built on.
pub use wasmtime;
/// The engine's WASI, in the version that Wharf is built on.
pub use wasmtime_wasi;
/// The host API: types, errors, and the trait that [`Host`] implements.
pub use wharf_api as api;
/// What a workload is: its manifest, its types, and how its imports are resolved.
pub use workload;

/// The programs of docs/plugins.md are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/plugins.md")]
struct PluginsGuide;
