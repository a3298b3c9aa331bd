//! The HTTP server: a listener, a task for each connection, and the routes of all workloads.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use wharf::host::Running;
use wharf::pool::Busy;
use wharf::shutdown::{Shutdown, Signal};
use wharf::workload::Name;
use wharf::{Trigger, TriggerError};

use crate::body::ResponseBody;
use crate::client;
use crate::guest::{Guest, later, plain};
use crate::prompt::Prompt;
use crate::routes::Routes;
use crate::tls::Tls;

/// How long the listener rests when the system has no more file descriptors: connections end in the meantime.
const REST: Duration = Duration::from_millis(50);

/// How an [`HttpServer`] listens.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address; port 0 takes any free one.
    pub listen: SocketAddr,
    /// TLS; plain text if `None`.
    pub tls: Option<Tls>,
    /// How long a client may take for the TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a client may take to send a request's headers, or to begin the next request.
    pub header_timeout: Duration,
    /// How long a client may go without reading any of what is written to it.
    pub write_timeout: Duration,
    /// How long connections may take to end when the server shuts down.
    pub drain: Duration,
}

impl Settings {
    /// Plain text on this address; 10 seconds for a handshake, 30 for headers, for reading and to drain.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(30),
        }
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    pub error: std::io::Error,
}

/// A trigger that serves the HTTP routes of workloads. Cheap to clone; clones are the same server.
#[derive(Clone)]
pub struct HttpServer(Arc<Inner>);

struct Inner {
    settings: Settings,
    address: SocketAddr,
    /// Taken when connections are let in.
    listener: Mutex<Option<TcpListener>>,
    routes: ArcSwap<Routes>,
    /// Held while the routes are changed, so that two changes do not lose one another.
    changing: Mutex<()>,
    shutdown: Mutex<Option<Shutdown>>,
}

impl HttpServer {
    /// Listens on an address. Connections wait until [`accept`](Self::accept) lets them in.
    ///
    /// # Errors
    /// [`BindError`] when the address cannot be listened on.
    pub async fn bind(settings: Settings) -> Result<Self, BindError> {
        let refuse = |error| BindError { address: settings.listen, error };
        let listener = TcpListener::bind(settings.listen).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        Ok(Self(Arc::new(Inner {
            settings,
            address,
            listener: Mutex::new(Some(listener)),
            routes: ArcSwap::default(),
            changing: Mutex::default(),
            shutdown: Mutex::new(Some(Shutdown::default())),
        })))
    }

    /// The address that it listens on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.address
    }

    /// Where it serves, as a URL: `http://127.0.0.1:8000/`.
    pub fn url(&self) -> String {
        let scheme = if self.0.settings.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/", self.0.address)
    }

    /// Lets connections in. To be called in a Tokio runtime, once; later calls do nothing.
    pub fn accept(&self) {
        let listener = self.0.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let signal = self.0.shutdown.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Shutdown::signal);
        if let (Some(listener), Some(signal)) = (listener, signal) {
            tokio::spawn(accept_loop(self.0.clone(), listener, signal));
        }
    }

    /// Takes away the routes of one workload and adds those of another, in one step.
    fn change(&self, old: Option<&Arc<Running>>, new: Option<&Arc<Running>>) -> Result<(), TriggerError> {
        let guests = new.map_or_else(|| Ok(HashMap::new()), guests)?;
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut routes = Routes::clone(&self.0.routes.load());
        if let Some(old) = old {
            routes.remove(&old.workload().id(), &old.workload().triggers.http);
        }
        if let Some(new) = new {
            let workload = new.workload();
            let added = routes.add(&workload.id(), &workload.triggers.http, |name| guests.get(name).cloned());
            added.map_err(TriggerError)?;
        }
        self.0.routes.store(Arc::new(routes));
        Ok(())
    }
}

/// The components that a workload's routes lead to.
fn guests(running: &Arc<Running>) -> Result<HashMap<Name, Arc<Guest>>, TriggerError> {
    let mut guests = HashMap::new();
    for trigger in &running.workload().triggers.http {
        let Some(entry) = running.entry(trigger.component.as_str()) else { continue };
        if guests.contains_key(&trigger.component) {
            continue;
        }
        let guest = Guest::new(entry.clone())
            .map_err(|error| TriggerError(format!("`{}` cannot answer HTTP requests: {error:#}", trigger.component)))?;
        guests.insert(trigger.component.clone(), Arc::new(guest));
    }
    Ok(guests)
}

/// Accepts until it is told to stop. Nothing that a client does and no error of the system ends it.
async fn accept_loop(server: Arc<Inner>, listener: TcpListener, mut signal: Signal) {
    let connection_signal = signal.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = signal.stopped() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(server.clone(), stream, connection_signal.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                if !is_of_connection(&error) {
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }
}

/// Whether an error of `accept` is about one connection, and the next can be accepted at once.
fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn connection(server: Arc<Inner>, stream: TcpStream, signal: Signal) {
    // Answers are written whole, so waiting to fill a packet only costs time.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let Some(tls) = &server.settings.tls else { return serve(&server, stream, signal, false).await };
    let handshake = TlsAcceptor::from(tls.0.clone()).accept(stream);
    match tokio::time::timeout(server.settings.handshake_timeout, handshake).await {
        Ok(Ok(stream)) => serve(&server, stream, signal, true).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn serve<S>(server: &Arc<Inner>, stream: S, mut signal: Signal, tls: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(answer(&server, request, tls).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(server.settings.header_timeout);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(server.settings.header_timeout);
    let stream = Prompt::new(stream, server.settings.header_timeout, server.settings.write_timeout);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = signal.stopped() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(error = %error, "a connection ended with an error");
    }
}

async fn answer(server: &Inner, request: Request<Incoming>, tls: bool) -> Response<ResponseBody> {
    let authority = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok()),
    };
    let Some(authority) = authority else {
        return plain(StatusCode::BAD_REQUEST, "a request needs a Host header\n");
    };
    if request.headers().get_all(http::header::HOST).iter().nth(1).is_some() {
        return plain(StatusCode::BAD_REQUEST, "a request has one Host header\n");
    }
    if client::is_marked(request.uri().path()) {
        return plain(StatusCode::BAD_REQUEST, "the path has a character in it that nobody writes\n");
    }
    let find = || server.routes.load().find(Some(host_of(authority)), request.uri().path()).cloned();
    let mut found = find();
    while let Some(guest) = found {
        match guest.admit().await {
            Ok(under_way) => return guest.answer(request, tls, under_way).await,
            Err(Busy::TooMany) => return later("too many requests at once\n"),
            Err(Busy::Stopped) => {
                // Another version may have come in its place since it was found.
                found = find();
                if found.as_ref().is_some_and(|again| Arc::ptr_eq(again, &guest)) {
                    return later("the workload was stopped\n");
                }
            }
        }
    }
    plain(StatusCode::NOT_FOUND, "nothing is served here\n")
}

/// The host of an authority, without user and port: `[::1]:80` is `[::1]`.
fn host_of(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

#[async_trait]
impl Trigger for HttpServer {
    fn name(&self) -> &'static str {
        "http"
    }

    async fn attach(&self, running: &Arc<Running>) -> Result<(), TriggerError> {
        self.change(None, Some(running))
    }

    async fn replace(&self, old: &Arc<Running>, new: &Arc<Running>) -> Result<(), TriggerError> {
        self.change(Some(old), Some(new))
    }

    async fn detach(&self, running: &Arc<Running>) {
        // Taking away is never refused.
        self.change(Some(running), None).ok();
    }

    async fn shutdown(&self) {
        let shutdown = self.0.shutdown.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A listener that never let anybody in has nothing to end, and its address is free again.
        drop(self.0.listener.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(mut shutdown) = shutdown
            && !shutdown.drain(self.0.settings.drain).await
        {
            tracing::warn!("connections were still open when the time was up");
        }
    }
}
