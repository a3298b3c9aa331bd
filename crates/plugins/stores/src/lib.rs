//! What the plugins for stores share: how a store is declared, granted, replaced by the host, and opened once.
//!
//! A *store* is declared at the top of a manifest, `[keyvalue.sessions]`, and granted to a component by name,
//! `keyvalue = ["sessions"]`. Takes those sections and the host's [`Policy`]; gives each component the stores that it may open, or
//! every problem with its place. Knows no interface and no backend: those are the plugins'.

mod declaration;
mod granted;
mod in_flight;
mod inputs;
mod open;
mod plan;
mod policy;
mod registry;
mod secret;
pub mod streams;
mod text;

pub use declaration::{Backend, Declaration, check, shown};
pub use granted::Granted;
pub use in_flight::{Held, InFlight};
pub use inputs::{Environment, InputPolicy, ProcessEnvironment, read_file};
pub use open::{Source, Stores, component_stores};
pub use plan::{plan, plan_triggers};
pub use policy::{Kind, KindPolicy, Policy, PolicyError};
pub use registry::Registry;
pub use secret::{SecretSource, SecretValue};
pub use text::Text;
