//! Workloads as data: manifests, component types and import resolution, without an engine, a runtime or IO.
//!
//! Takes a manifest's text and components' bytes; returns a [`Workload`], then a [`Resolution`] that names the provider of
//! each import, and every [`Problem`] found, all at once. Never reads a file, opens a socket or runs a component.
//!
//! ```
//! use wharf_workload::manifest::{Format, parse};
//!
//! let parsed = parse("name = 'hello'\n[components.web]\nsource = 'web.wasm'\n", Format::Toml);
//! assert!(parsed.problems.is_empty());
//! assert_eq!(parsed.workload.unwrap().name.as_str(), "hello");
//! ```

pub mod name;
pub mod interface;
pub mod manifest;
pub mod workload;
pub mod validate;
pub mod component;
pub mod problem;
pub mod resolution;
pub mod resolve;
pub mod ceilings;

pub use ceilings::{Ceilings, HostConfig};
pub use component::{ComponentError, ComponentType};
pub use interface::InterfaceName;
pub use name::Name;
pub use problem::{Problem, Severity};
pub use resolution::{Provider, Resolution, Unit};
pub use resolve::{HostInterface, resolve, resolve_with};
pub use validate::validate;
pub use workload::Workload;
