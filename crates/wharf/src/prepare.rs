//! Prepare: from a declared workload to units that are ready to run.
//!
//! The stages in their order, each a module with one entry function: [`load`] gets the code (through a [`source`] loader) and
//! [`adapt`]s core modules, `workload::resolve` decides who satisfies which import, [`fuse`] makes one component of each unit,
//! the [engine](crate::engine) compiles it, [`link`] gives each import its functions, and the
//! [plugins](crate::plugin) are opened and bound (`grant`).

pub mod source;
pub mod adapt;
pub mod load;
pub mod fuse;
pub mod compose;
pub(crate) mod slots;
pub mod link;
pub(crate) mod grant;
