//! The host API: its types in both directions, its errors, its trait, and how it travels over HTTP, without the engine.
//!
//! Takes a [`Workload`] or an id; gives a [`WorkloadStatus`], a [`Heartbeat`], a call's results or an [`ApiError`], each
//! of which serialises to JSON. Never compiles or runs a component, and opens a socket only in the `client` module.
//!
//! [`HostApi`] is one trait for a host in the same process and for a remote one, so that a program works with either.
//! [`version`] has the routes and says how a component's bytes travel.
//!
//! # Compatibility
//!
//! A reader ignores fields that it does not know, and reads a state or an error code that it does not know as `Unknown`:
//! a host and a client of different releases understand each other as long as both support one [`API_VERSION`].
//!
//! # Features
//!
//! - `client`: `Client`, which calls a host over a Unix socket or TCP.
//!
//! ```
//! use wharf_api::{ApiError, ErrorCode};
//!
//! let error: ApiError = serde_json::from_str(r#"{ "code": "busy", "message": "`web` has no free instance" }"#)?;
//! assert_eq!(error.code, ErrorCode::Busy);
//! # Ok::<(), serde_json::Error>(())
//! ```

pub mod types;
pub mod limit;
pub mod diagnostic;
pub mod error;
pub mod host;
pub mod openapi;
pub mod version;
#[cfg(feature = "client")]
pub mod client;

#[cfg(feature = "client")]
pub use client::Client;
pub use diagnostic::Diagnostic;
pub use error::{ApiError, ErrorCode};
pub use host::HostApi;
pub use limit::Limit;
pub use types::{
    CallFormat, CallRequest, CallResponse, Heartbeat, LogLine, LogPage, PluginHealth, ServiceState, ServiceStatus,
    State, WorkloadPage, WorkloadStatus, WorkloadSummary,
};
pub use version::API_VERSION;
/// What a workload is: its manifest, its types, and how its imports are resolved.
pub use workload::{self, Workload};
