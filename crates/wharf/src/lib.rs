#![doc = include_str!("../docs/crate.md")]

pub mod engine;
pub mod adapt;
pub mod load;
pub mod fuse;
pub mod compile;
pub mod ctx;
pub mod wasi;
pub mod plugin;
pub mod link;
pub mod limits;
pub mod guest_log;
pub mod policy;
mod ticker;
mod aside;
mod dump;
pub mod meter;
mod driven;
pub mod pool;
pub mod call;
pub mod host;
pub mod shutdown;

pub use ctx::{Ctx, Scope, View};
pub use driven::Driven;
pub use engine::{Engine, EngineBuilder, Feature, Profiling};
pub use host::{Host, HostApi, HostBuilder, StartError};
pub use limits::{Limit, Limits};
pub use load::Loaded;
pub use meter::Ended;
pub use plugin::{Binding, Link, Plugin, PluginError, Trigger, TriggerError};
pub use pool::Entry;
pub use wasi::stdio::Stdio;

/// The engine, in the version that Wharf is built on.
pub use wasmtime;
/// The engine's WASI, in the version that Wharf is built on.
pub use wasmtime_wasi;
/// What a workload is: its manifest, its types, and how its imports are resolved.
pub use workload;
