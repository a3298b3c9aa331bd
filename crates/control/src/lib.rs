//! The host API over HTTP/1.1: [`ControlServer`] serves a [`Host`](wharf::Host) on a Unix socket, or on TCP with mutual TLS, to
//! [`wharf::api::Client`](https://docs.rs/wharf-api) and to any other HTTP client; `wharf_api::version` has the table of operations.
//!
//! Takes a host; gives responses whose bodies are the types of `wharf-api`. Components' bytes come first and by digest, into [`Blobs`], from
//! which the host loads them. With a [`State`] folder, workloads that were started through the API come back after a restart.
//!
//! ```no_run
//! use wharf::{Engine, Host};
//! use wharf_control::{Blobs, Control, ControlServer};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let blobs = Blobs::temporary()?;
//! let host = Host::builder(Engine::builder().build()?).sources(blobs.clone()).build()?;
//! let server = ControlServer::bind_unix("/run/wharf.sock")?;
//! server.serve(Control::new(host, blobs));
//! # Ok(())
//! # }
//! ```

mod blobs;
mod body;
mod listener;
mod metrics;
mod service;
mod state;
mod tls;

pub use blobs::Blobs;
pub use listener::{BindError, ControlServer, Serving};
pub use metrics::Exposition;
pub use service::{Control, Metrics};
pub use state::{State, StateError};
pub use tls::{MutualTls, MutualTlsError};
