//! What the tests of the backends share.

pub(crate) mod conformance;
#[cfg(feature = "nats")]
pub(crate) mod server;
