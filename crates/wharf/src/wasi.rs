//! WASI 0.2 and 0.3 as the engine implements them, given to each component by its own grants.
//!
//! `wasi:http` is not here: the HTTP plugin provides it.

pub mod grants;
pub mod stdio;
mod connections;
mod cli;
pub(crate) mod files;
mod network;
pub(crate) mod lookup;
pub(crate) mod p1;
mod random;
pub(crate) mod loopback;
pub(crate) mod sockets;
mod sockets_p2;
mod sockets_p3;
pub(crate) mod table;
mod timezone;
mod until;

use workload::HostInterface;

pub use lookup::Resolver;

/// The version of WASI 0.2 that is provided. Components built for any 0.2 find it.
pub const P2: &str = "0.2.12";
/// The version of WASI 0.3 that is provided. Components built for any 0.3 find what is in this one.
pub const P3: &str = "0.3.0";

/// Every interface that WASI provides here.
pub fn interfaces() -> Vec<HostInterface> {
    table::rows().filter_map(|row| Some(HostInterface { name: row.name()?, plugin: None, grant: row.grant })).collect()
}
