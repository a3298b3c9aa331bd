//! The settings of the HTTP server, with their defaults.

use std::net::SocketAddr;
use std::time::Duration;

use crate::tls::Tls;

/// The settings of an [`HttpServer`](crate::HttpServer).
///
/// ```
/// use std::time::Duration;
/// use wharf_http::Settings;
///
/// let mut settings = Settings::new(([127, 0, 0, 1], 8000).into());
/// settings.header_timeout = Duration::from_secs(10);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The address to listen on; port 0 selects a free port.
    pub listen: SocketAddr,
    /// The certificate and key for TLS; plain text if `None`.
    pub tls: Option<Tls>,
    /// How long a client may take for the TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a client may take to send a request's headers, or to begin the next request.
    pub header_timeout: Duration,
    /// How long a client may take to send the next part of a request body that the component reads.
    pub body_timeout: Duration,
    /// How long a client may read nothing of what the server writes, per connection and per HTTP/2 stream.
    pub write_timeout: Duration,
    /// How many connections may be open at once. Beyond that, a client with less than its share displaces a connection
    /// of the client that has the most; any other client receives 503.
    pub max_connections: usize,
    /// How many requests one HTTP/2 connection may have in flight.
    pub max_streams: u32,
    /// How long connections may take to close when the server shuts down.
    pub drain: Duration,
}

impl Settings {
    /// The defaults: plain text; 10 seconds for a handshake, 60 for the next part of a body, 30 for headers, for writes
    /// and to drain; 10,000 connections, and 100 streams on each.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_secs(30),
            max_connections: 10_000,
            max_streams: 100,
            drain: Duration::from_secs(30),
        }
    }
}
