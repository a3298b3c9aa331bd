//! HTTP for Wharf: serves requests with components, and sends requests for them.
//!
//! [`HttpServer`] is a trigger: it serves the routes of every workload (`[[triggers.http]]`) over HTTP/1.1 and HTTP/2,
//! optionally with TLS, and calls `wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`. [`HttpPlugin`] is a
//! plugin: it provides the rest of [`wasi:http`], and limits each component's requests to its `hosts`.
//!
//! ```no_run
//! use wharf::{Engine, Host};
//! use wharf_http::{HttpPlugin, HttpServer, Settings};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let server = HttpServer::bind(Settings::new(([127, 0, 0, 1], 8000).into())).await?;
//! let host = Host::builder(Engine::builder().build()?)
//!     .plugin(HttpPlugin)
//!     .trigger(server.clone())
//!     .build()?;
//! // Start workloads here, and then accept connections.
//! server.accept();
//! # Ok(())
//! # }
//! ```
//!
//! [`wasi:http`]: https://github.com/WebAssembly/WASI/tree/main/proposals/http

mod connect;
mod pool;
mod size;
mod fields;
mod outbound;
mod client;
mod target;
mod routes;
mod handler;
mod frame;
mod notify;
mod body;
mod incoming;
mod tls;
mod timeout;
mod connection;
mod admission;
mod metrics;
mod settings;
mod server;

pub use metrics::RequestMetrics;
pub use outbound::HttpPlugin;
pub use server::{BindError, HttpServer};
pub use settings::Settings;
pub use tls::{Tls, TlsError};

/// The target of the log's line for each request, at level `DEBUG`: its status, method, target and time, which component answered, and
/// how its instances are made.
pub const REQUESTS: &str = "wharf::request";
