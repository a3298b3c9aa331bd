//! Connects to a server that a component may reach: TCP to an address that was resolved and checked against its grants,
//! and TLS for `https`.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower_service::Service;
use wasmtime_wasi_http::Error;
use wharf::wasi::Resolver;
use wharf::workload::manifest::Protocol;

/// How many TLS sessions are kept per component for resumption.
const MAX_TLS_SESSIONS: usize = 64;

tokio::task_local! {
    /// The attempt that the current task sends. hyper's client passes nothing but a URI to its connector.
    static ATTEMPT: Arc<Attempt>;
}

/// The attempt to send one request, which may have to connect first.
pub(crate) struct Attempt {
    timeout: Duration,
    /// How many connections are being opened for it.
    connecting: AtomicUsize,
}

impl Attempt {
    /// `timeout` is how long connecting may take.
    pub(crate) fn new(timeout: Duration) -> Arc<Self> {
        Arc::new(Self { timeout, connecting: AtomicUsize::new(0) })
    }

    /// Runs `send` as this attempt, so that [`Connector`] finds it.
    pub(crate) fn scope<F: Future>(self: &Arc<Self>, send: F) -> impl Future<Output = F::Output> {
        ATTEMPT.scope(self.clone(), send)
    }

    /// Whether a connection is being opened, so that the time-out for the first byte does not run yet.
    pub(crate) fn is_connecting(&self) -> bool {
        self.connecting.load(Ordering::Relaxed) > 0
    }
}

/// Increments a counter until this is dropped.
pub(crate) struct CountGuard(Arc<AtomicUsize>);

impl CountGuard {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a connection failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the connection timed out")]
    Timeout,
    #[error("the host name does not resolve")]
    Name,
    #[error("the host name resolves to no address that `hosts` allows")]
    Prohibited,
    #[error("the connection failed: {0}")]
    Io(io::ErrorKind),
    #[error("the TLS handshake failed")]
    Tls,
}

impl ConnectError {
    /// The error as `wasi:http` reports it.
    pub(crate) fn wasi_error(self) -> Error {
        match self {
            Self::Timeout | Self::Io(io::ErrorKind::TimedOut) => Error::ConnectionTimeout,
            Self::Name => Error::DnsError { rcode: None, info_code: None },
            Self::Prohibited => Error::DestinationIpProhibited,
            Self::Io(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                Error::DestinationIpUnroutable
            }
            Self::Io(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => Error::ConnectionTerminated,
            Self::Io(_) => Error::ConnectionRefused,
            Self::Tls => Error::TlsProtocolError,
        }
    }
}

/// Opens connections for one component, to addresses that its grants allow.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) resolver: Resolver,
    pub(crate) tls: Arc<ClientConfig>,
    /// How many connections are open.
    pub(crate) open: Arc<AtomicUsize>,
}

/// TLS with Mozilla's root certificates.
static TLS: LazyLock<ClientConfig> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(rustls::DEFAULT_VERSIONS);
    #[allow(clippy::expect_used)]
    let builder = builder.expect("the ring provider supports the default versions of rustls");
    builder.with_root_certificates(roots).with_no_client_auth()
});

/// The TLS settings for one component, with a session store that no other component shares.
pub(crate) fn component_tls() -> ClientConfig {
    let mut tls = TLS.clone();
    tls.resumption = Resumption::in_memory_sessions(MAX_TLS_SESSIONS);
    tls
}

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connecting = Pin<Box<dyn Future<Output = Result<OpenConnection, ConnectError>> + Send>>;

impl Service<Uri> for Connector {
    type Response = OpenConnection;
    type Error = ConnectError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let Self { resolver, tls, open } = self.clone();
        // hyper connects for a request only, inside its attempt.
        let Ok(attempt) = ATTEMPT.try_with(Arc::clone) else {
            return Box::pin(std::future::ready(Err(ConnectError::Prohibited)));
        };
        let count = CountGuard::new(&open);
        Box::pin(async move {
            let _connecting = ConnectingGuard::new(&attempt);
            let protocol =
                if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { Protocol::Https } else { Protocol::Http };
            let port = uri.port_u16().or(protocol.default_port()).unwrap_or(0);
            let mut tcp = HttpConnector::new_with_resolver(CheckedResolver { resolver, protocol, port });
            tcp.enforce_http(false);
            tcp.set_nodelay(true);
            let mut connector: HttpsConnector<_> = hyper_rustls::HttpsConnectorBuilder::new()
                .with_tls_config(ClientConfig::clone(&tls))
                .https_or_http()
                .enable_all_versions()
                .wrap_connector(tcp);
            match tokio::time::timeout(attempt.timeout, connector.call(uri)).await {
                Ok(Ok(stream)) => Ok(OpenConnection { stream, _count: count }),
                Ok(Err(error)) => Err(connect_error(&*error)),
                Err(_) => Err(ConnectError::Timeout),
            }
        })
    }
}

/// Marks an attempt as connecting until this is dropped.
struct ConnectingGuard(Arc<Attempt>);

impl ConnectingGuard {
    fn new(attempt: &Arc<Attempt>) -> Self {
        attempt.connecting.fetch_add(1, Ordering::Relaxed);
        Self(attempt.clone())
    }
}

impl Drop for ConnectingGuard {
    fn drop(&mut self) {
        self.0.connecting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Finds the first known cause in a connector's chain of errors.
fn connect_error(error: &(dyn std::error::Error + 'static)) -> ConnectError {
    let mut cause = Some(error);
    let mut io_kind = io::ErrorKind::Other;
    while let Some(error) = cause {
        if let Some(known) = error.downcast_ref::<ConnectError>() {
            return *known;
        }
        if error.is::<rustls::Error>() {
            return ConnectError::Tls;
        }
        // `io::Error::source` skips the error that it wraps.
        let inner = error.downcast_ref::<io::Error>().map(|io| {
            io_kind = io.kind();
            io.get_ref()
        });
        cause = match inner {
            Some(Some(inner)) => Some(inner),
            _ => error.source(),
        };
    }
    ConnectError::Io(io_kind)
}

/// Resolves a name to addresses that the grants allow, so that the connection goes to an address that was checked.
#[derive(Clone)]
struct CheckedResolver {
    resolver: Resolver,
    protocol: Protocol,
    port: u16,
}

impl Service<Name> for CheckedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { resolver, protocol, port } = self.clone();
        Box::pin(async move {
            let found = resolver.resolve(protocol, name.as_str(), port).await;
            let found = found.map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => ConnectError::Prohibited,
                _ => ConnectError::Name,
            })?;
            Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect::<Vec<_>>().into_iter())
        })
    }
}

/// An open connection, counted until it is dropped.
pub(crate) struct OpenConnection {
    stream: Stream,
    _count: CountGuard,
}

impl Connection for OpenConnection {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for OpenConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl Write for OpenConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }
}
