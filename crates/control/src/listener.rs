//! Listens on a Unix socket or TCP, and serves each connection in a task of its own.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::service::{Control, Metrics};
use crate::tls::MutualTls;

/// How long a client may take for the head of a request, and for the handshake of TLS.
const HEAD: Duration = Duration::from_secs(10);
/// The most connections that are open at once.
const MAX_CONNECTIONS: usize = 4096;
/// How long the listener waits after an error such as a lack of file descriptors.
const BACKOFF: Duration = Duration::from_millis(50);
/// How long a connection may go on after the server began to stop.
const CLOSE: Duration = Duration::from_secs(5);

/// The server cannot listen on its address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}`: {error}")]
#[non_exhaustive]
pub struct BindError {
    /// The address.
    pub address: String,
    /// The error of the operating system.
    #[source]
    pub error: io::Error,
}

/// A listener for clients of the host API. They wait until [`serve`](Self::serve) is called.
#[derive(Debug)]
pub struct ControlServer {
    listener: Listener,
    stop: CancellationToken,
}

/// A server that accepts connections.
#[derive(Debug)]
pub struct Serving {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Serving {
    /// Takes no more connections, and removes a Unix socket. Connections that are open have 5 seconds to end.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.ok();
    }
}

#[derive(Debug)]
enum Listener {
    Unix(UnixListener, SocketFile),
    /// Without TLS for metrics alone.
    Tcp(TcpListener, Option<MutualTls>),
}

/// What a listener serves.
#[derive(Clone)]
enum Service {
    Control(Control),
    Metrics(Metrics),
}

/// A socket in the file system, which is removed with its server.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

impl ControlServer {
    /// Listens on a Unix socket that only its owner can connect to. A socket that a dead server left is replaced.
    ///
    /// # Errors
    /// [`BindError`] when the system refuses it, or a server listens there already.
    ///
    /// # Panics
    /// When called outside a Tokio runtime.
    pub fn bind_unix(path: impl AsRef<Path>) -> Result<Self, BindError> {
        let path = path.as_ref();
        let listener = bind_unix(path).map_err(|error| BindError { address: path.display().to_string(), error })?;
        Ok(Self { listener: Listener::Unix(listener, SocketFile(path.to_owned())), stop: CancellationToken::new() })
    }

    /// Listens on TCP, for clients whose certificates an authority of ours signed.
    ///
    /// # Errors
    /// [`BindError`] when the system refuses it.
    pub async fn bind_tcp(address: SocketAddr, tls: MutualTls) -> Result<Self, BindError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| BindError { address: address.to_string(), error })?;
        Ok(Self { listener: Listener::Tcp(listener, Some(tls)), stop: CancellationToken::new() })
    }

    /// Where it listens: `unix:PATH`, or `tcp:ADDRESS:PORT` with the port that the system selected for port 0.
    pub fn address(&self) -> String {
        match &self.listener {
            Listener::Unix(_, file) => format!("unix:{}", file.0.display()),
            Listener::Tcp(listener, _) => {
                listener.local_addr().map_or_else(|_| "tcp:unknown".to_owned(), |address| format!("tcp:{address}"))
            }
        }
    }

    /// Serves a host until [`Serving::stop`].
    ///
    /// # Panics
    /// When called outside a Tokio runtime.
    pub fn serve(self, control: Control) -> Serving {
        self.serve_service(Service::Control(control))
    }

    /// Serves the metrics and the health of a host alone, until [`Serving::stop`].
    ///
    /// # Panics
    /// When called outside a Tokio runtime.
    pub fn serve_metrics(self, metrics: Metrics) -> Serving {
        self.serve_service(Service::Metrics(metrics))
    }

    fn serve_service(self, service: Service) -> Serving {
        Serving { stop: self.stop.clone(), task: tokio::spawn(self.accept(service)) }
    }

    /// Listens on TCP without TLS, for [`serve_metrics`](Self::serve_metrics): whoever can connect can read them.
    ///
    /// # Errors
    /// [`BindError`] when the system refuses it.
    pub async fn bind_metrics(address: SocketAddr) -> Result<Self, BindError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| BindError { address: address.to_string(), error })?;
        Ok(Self { listener: Listener::Tcp(listener, None), stop: CancellationToken::new() })
    }

    async fn accept(self, service: Service) {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            let connection = match accepted {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of the control socket");
                    tokio::time::sleep(BACKOFF).await;
                    continue;
                }
            };
            let (service, stop) = (service.clone(), self.stop.clone());
            let permit = connections.clone().try_acquire_owned();
            tokio::spawn(async move {
                let served = match (permit, connection) {
                    (Ok(_permit), Connection::Unix(stream)) => serve(stream, service, stop).await,
                    (Ok(_permit), Connection::Tcp(stream)) => serve(stream, service, stop).await,
                    (Ok(_permit), Connection::Tls(stream, tls)) => {
                        let handshake = TlsAcceptor::from(tls.0).accept(stream);
                        match tokio::time::timeout(HEAD, handshake).await {
                            Ok(Ok(stream)) => serve(stream, service, stop).await,
                            Ok(Err(error)) => Err(error.into()),
                            Err(_) => Err("the TLS handshake timed out".into()),
                        }
                    }
                    (Err(_), Connection::Unix(mut stream)) => Ok(stream.write_all(TOO_MANY).await?),
                    (Err(_), _) => Ok(()),
                };
                served.inspect_err(|error| tracing::debug!(error, "a connection of the control socket failed"))
            });
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-type: application/json\r\n\
    content-length: 71\r\n\r\n{\"code\":\"busy\",\"message\":\"too many connections; try again in a moment\"}";

enum Connection {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
    Tls(tokio::net::TcpStream, MutualTls),
}

impl Listener {
    async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Unix(listener, _) => Ok(Connection::Unix(listener.accept().await?.0)),
            Self::Tcp(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true).ok();
                Ok(match tls {
                    Some(tls) => Connection::Tls(stream, tls.clone()),
                    None => Connection::Tcp(stream),
                })
            }
        }
    }
}

async fn serve<S>(stream: S, service: Service, stop: CancellationToken) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let service = service.clone();
        async move {
            Ok::<_, Infallible>(match &service {
                Service::Control(control) => control.respond(request).await,
                Service::Metrics(metrics) => metrics.reply(request).await,
            })
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        served = connection.as_mut() => return Ok(served?),
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    Ok(tokio::time::timeout(CLOSE, connection).await??)
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another host listens there"));
        }
        std::fs::remove_file(path)?;
    }
    // Bound beside its place and moved there, so that nobody can connect before its mode is set.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = tempfile::Builder::new().prefix(".w-").tempdir_in(folder)?;
    let place = scratch.path().join("s");
    let listener = UnixListener::bind(&place)?;
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o600))?;
    std::fs::hard_link(&place, path)?;
    Ok(listener)
}
