//! Run: from an entry to a finished call.
//!
//! Takes an [`Entry`](entry::Entry), a unit that is linked; gives the result of each call. [`invoke`] is the single path of every call;
//! the other modules are its stages. It never decides how instances are kept: that is [`policy`], which has no side effects.

pub(crate) mod tracker;
pub mod admission;
mod clock;
pub mod termination;
pub mod meter;
pub mod drive;
mod core_dump;
pub mod policy;
pub mod pool;
pub mod entry;
pub mod invoke;
pub mod shared;
pub(crate) mod service;
pub mod concurrent;
pub mod call;
pub mod command;
