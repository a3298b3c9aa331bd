//! One connection to a server that a component may reach: TCP to an address that was looked up and checked for it, and TLS
//! where the scheme says so.

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

/// How many TLS sessions a component may have to resume.
const SESSIONS: usize = 64;

tokio::task_local! {
    /// The request that is being sent: the client gives its connector nothing but an address.
    static ATTEMPT: Arc<Attempt>;
}

/// A request's way to its server.
pub(crate) struct Attempt {
    timeout: Duration,
    /// How many connections are being made for it.
    connecting: AtomicUsize,
}

impl Attempt {
    /// Connecting may take so long.
    pub(crate) fn new(timeout: Duration) -> Arc<Self> {
        Arc::new(Self { timeout, connecting: AtomicUsize::new(0) })
    }

    /// Sends a request, for which a connector may have to connect.
    pub(crate) fn of<F: Future>(self: &Arc<Self>, send: F) -> impl Future<Output = F::Output> {
        ATTEMPT.scope(self.clone(), send)
    }

    /// Whether a connection is being made, so that the server is not waited for yet.
    pub(crate) fn is_connecting(&self) -> bool {
        self.connecting.load(Ordering::Relaxed) > 0
    }
}

/// Counts one more until it is dropped.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why no connection was made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the connection took too long")]
    Timeout,
    #[error("the name does not resolve")]
    Name,
    #[error("the name leads where its wildcard does not")]
    Prohibited,
    #[error("the connection failed: {0}")]
    Io(io::ErrorKind),
    #[error("the TLS handshake failed")]
    Tls,
}

impl ConnectError {
    /// The error in the terms of the interface.
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

/// Connects for one component, to addresses that its grants allow.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) resolver: Resolver,
    pub(crate) tls: Arc<ClientConfig>,
    /// How many connections are open.
    pub(crate) open: Arc<AtomicUsize>,
}

/// TLS with the roots that browsers trust.
static TLS: LazyLock<ClientConfig> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(rustls::DEFAULT_VERSIONS);
    #[allow(clippy::expect_used)]
    let builder = builder.expect("the provider has the versions that rustls has by default");
    builder.with_root_certificates(roots).with_no_client_auth()
});

/// The same for one component, whose sessions are no other's to resume.
pub(crate) fn own_tls() -> ClientConfig {
    let mut tls = TLS.clone();
    tls.resumption = Resumption::in_memory_sessions(SESSIONS);
    tls
}

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connecting = Pin<Box<dyn Future<Output = Result<Open, ConnectError>> + Send>>;

impl Service<Uri> for Connector {
    type Response = Open;
    type Error = ConnectError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let Self { resolver, tls, open } = self.clone();
        // Without a request there is nothing to connect for.
        let Ok(attempt) = ATTEMPT.try_with(Arc::clone) else {
            return Box::pin(std::future::ready(Err(ConnectError::Prohibited)));
        };
        let counted = Counted::new(&open);
        Box::pin(async move {
            let _connecting = AtConnecting::new(&attempt);
            let protocol =
                if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { Protocol::Https } else { Protocol::Http };
            let port = uri.port_u16().or(protocol.default_port()).unwrap_or(0);
            let mut tcp = HttpConnector::new_with_resolver(Names { resolver, protocol, port });
            tcp.enforce_http(false);
            tcp.set_nodelay(true);
            let mut connector: HttpsConnector<_> = hyper_rustls::HttpsConnectorBuilder::new()
                .with_tls_config(ClientConfig::clone(&tls))
                .https_or_http()
                .enable_all_versions()
                .wrap_connector(tcp);
            match tokio::time::timeout(attempt.timeout, connector.call(uri)).await {
                Ok(Ok(stream)) => Ok(Open { stream, _counted: counted }),
                Ok(Err(error)) => Err(why(&*error)),
                Err(_) => Err(ConnectError::Timeout),
            }
        })
    }
}

/// Says that a request's connection is being made, until this is dropped.
struct AtConnecting(Arc<Attempt>);

impl AtConnecting {
    fn new(attempt: &Arc<Attempt>) -> Self {
        attempt.connecting.fetch_add(1, Ordering::Relaxed);
        Self(attempt.clone())
    }
}

impl Drop for AtConnecting {
    fn drop(&mut self) {
        self.0.connecting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a connector failed, by the first of its reasons that is known.
fn why(error: &(dyn std::error::Error + 'static)) -> ConnectError {
    let mut reason = Some(error);
    let mut io_kind = io::ErrorKind::Other;
    while let Some(error) = reason {
        if let Some(known) = error.downcast_ref::<ConnectError>() {
            return *known;
        }
        if error.is::<rustls::Error>() {
            return ConnectError::Tls;
        }
        // What an error of the system was made of is not its source.
        let inner = error.downcast_ref::<io::Error>().map(|io| {
            io_kind = io.kind();
            io.get_ref()
        });
        reason = match inner {
            Some(Some(inner)) => Some(inner),
            _ => error.source(),
        };
    }
    ConnectError::Io(io_kind)
}

/// The addresses of a name that may be connected to, so that what was checked is what is connected to.
#[derive(Clone)]
struct Names {
    resolver: Resolver,
    protocol: Protocol,
    port: u16,
}

impl Service<Name> for Names {
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

/// An open connection.
pub(crate) struct Open {
    stream: Stream,
    _counted: Counted,
}

impl Connection for Open {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for Open {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl Write for Open {
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
