//! HTTP for Wharf: components that answer requests, and components that make them.
//!
//! [`HttpServer`] is a trigger: it serves the routes of every workload (`[[triggers.http]]`) over HTTP/1.1 and HTTP/2,
//! with TLS where it is told to, and calls `wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`. [`HttpPlugin`]
//! is a plugin: it provides the rest of `wasi:http`, and holds each component's requests to its `hosts`.
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
//! // Start workloads here, and then let requests in.
//! server.accept();
//! # Ok(())
//! # }
//! ```

mod connect;
mod pool;
mod size;
mod fields;
mod outbound;
mod client;
mod target;
mod routes;
mod guest;
mod frame;
mod body;
mod upload;
mod tls;
mod prompt;
mod connection;
mod clients;
mod server;

pub use outbound::HttpPlugin;
pub use server::{BindError, HttpServer, Settings};
pub use tls::{Tls, TlsError};
