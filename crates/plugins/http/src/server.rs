//! The HTTP server: a listener, a task for each connection, and the routes of all workloads.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
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
use crate::clients::{Clients, Counted};
use crate::connection::{Connection, Streams};
use crate::guest::{Guest, later, plain};
use crate::prompt::Prompt;
use crate::routes::Routes;
use crate::target::{self, Path};
use crate::tls::Tls;

/// How long the listener rests when the system has no more file descriptors: connections end in the meantime.
const REST: Duration = Duration::from_millis(50);

/// How long a connection may take to end once it was told to: an idle one has nothing left to say.
const GOODBYE: Duration = Duration::from_secs(5);

/// How an [`HttpServer`] listens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The address; port 0 takes any free one.
    pub listen: SocketAddr,
    /// TLS; plain text if `None`.
    pub tls: Option<Tls>,
    /// How long a client may take for the TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a client may take to send a request's headers, or to begin the next request.
    pub header_timeout: Duration,
    /// How long a client may take to send the next part of a request's body while the component reads it.
    pub body_timeout: Duration,
    /// How long a client may go without reading any of what is written to it, by connection and by stream of HTTP/2.
    pub write_timeout: Duration,
    /// How many connections are open at once. When there are more, a client with less than its share displaces a
    /// connection of the client that has most; others get 503.
    pub max_connections: usize,
    /// How many requests one connection of HTTP/2 may have under way.
    pub max_streams: u32,
    /// How long connections may take to end when the server shuts down.
    pub drain: Duration,
}

impl Settings {
    /// Plain text on this address; 10 seconds for a handshake, 60 for the next part of a body, 30 for headers, for
    /// reading and to drain; 10,000 connections, and 100 streams on each.
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
    /// What a client of HTTP/1.0 that names no host is taken to ask for.
    authority: HeaderValue,
    clients: Arc<Clients>,
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
        // An address and a port are characters of a header.
        let authority = HeaderValue::try_from(address.to_string()).unwrap_or(HeaderValue::from_static("localhost"));
        Ok(Self(Arc::new(Inner {
            authority,
            clients: Clients::new(settings.max_connections),
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
            Ok((stream, peer)) => match server.clients.admit(peer.ip()) {
                Some(counted) => {
                    tokio::spawn(connection(server.clone(), stream, counted, connection_signal.clone()));
                }
                None => refuse(&server, &stream),
            },
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

/// Refuses a connection in as much as a socket takes at once: this must cost nothing.
fn refuse(server: &Inner, stream: &TcpStream) {
    tracing::debug!(most = server.settings.max_connections, "connection refused: too many are open");
    // Over TLS there is nothing to say before the handshake.
    if server.settings.tls.is_none() {
        stream.try_write(BUSY).ok();
    }
}

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n\r\ntoo many connections\n";

async fn connection(server: Arc<Inner>, stream: TcpStream, counted: Counted, signal: Signal) {
    // Answers are written whole, so waiting to fill a packet only costs time.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let Some(tls) = &server.settings.tls else { return serve(&server, stream, &counted, signal, false).await };
    let handshake = TlsAcceptor::from(tls.0.clone()).accept(stream);
    let handshake = tokio::time::timeout(server.settings.handshake_timeout, handshake);
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        _ = counted.connection().ended() => return,
    };
    match shaken {
        Ok(Ok(stream)) => serve(&server, stream, &counted, signal, true).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// Why a connection ends that its client would keep.
enum End {
    /// The server shuts down, and waits for what is under way.
    Drain,
    /// There was no request for long, or another client's connection takes its place.
    Goodbye,
    /// The client resets what it asks for.
    Abuse,
}

async fn serve<S>(server: &Arc<Inner>, stream: S, counted: &Counted, mut signal: Signal, tls: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = &server.settings;
    let state = counted.connection();
    let service = service_fn(|request| {
        let (server, exchange) = (server.clone(), state.clone());
        async move { Ok::<_, Infallible>(exchanged(&server, request, tls, &exchange).await) }
    });
    let builder = protocols(server, Streams::new(state.clone(), settings.write_timeout));
    let stream = Prompt::new(stream, state.clone(), settings.header_timeout, settings.write_timeout);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let end = tokio::select! {
        biased;
        served = connection.as_mut() => return closed(served),
        () = signal.stopped() => End::Drain,
        () = state.idle(settings.header_timeout) => End::Goodbye,
        abusive = state.ended() => if abusive { End::Abuse } else { End::Goodbye },
    };
    if matches!(end, End::Abuse) {
        return tracing::debug!("connection closed: the client resets more requests than it lets be answered");
    }
    connection.as_mut().graceful_shutdown();
    let patience = async {
        if matches!(end, End::Drain) {
            state.drain();
            state.idle(GOODBYE).await;
        } else {
            tokio::time::sleep(GOODBYE).await;
        }
    };
    tokio::select! {
        served = connection => closed(served),
        () = patience => tracing::debug!("connection closed: its client did not end it"),
    }
}

fn closed<E: std::fmt::Display>(served: Result<(), E>) {
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// HTTP/1.1 and HTTP/2 with the server's limits. hyper rejects what is far larger than any workload takes; each workload's
/// own limit is checked when it is known whose request this is.
fn protocols(server: &Inner, streams: Streams) -> Builder<Streams> {
    let settings = &server.settings;
    let headers = server.routes.load().largest_headers();
    let mut builder = Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(usize::try_from(headers).unwrap_or(usize::MAX).saturating_mul(2).max(MIN_BUFFER));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(settings.header_timeout)
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(u32::try_from(headers).unwrap_or(u32::MAX).saturating_mul(2));
    builder
}

/// How many headers a request of HTTP/1.1 may have, whatever their size.
const MAX_HEADERS: usize = 1024;
/// The least that a connection of HTTP/1.1 may buffer, which a fast upload needs.
const MIN_BUFFER: usize = 400 * 1024;

async fn exchanged(
    server: &Inner,
    request: Request<Incoming>,
    tls: bool,
    connection: &Arc<Connection>,
) -> Response<ResponseBody> {
    if connection.is_draining() {
        return later("the server is shutting down\n");
    }
    let exchange = connection.begin();
    let head = request.method() == Method::HEAD;
    let response = answer(server, request, tls).await;
    exchange.answered();
    // hyper withholds a body here from HTTP/1.1 alone.
    response.map(|body| if head { ResponseBody::empty() } else { body }.answering(exchange))
}

async fn answer(server: &Inner, mut request: Request<Incoming>, tls: bool) -> Response<ResponseBody> {
    let odd = match address(server, &mut request) {
        Ok(odd) => odd,
        Err((status, text)) => return plain(status, text),
    };
    let find = |request: &Request<Incoming>| {
        let path = odd.as_deref().unwrap_or(request.uri().path());
        server.routes.load().find(host(request), path).cloned()
    };
    let mut found = find(&request);
    while let Some(guest) = found {
        match guest.admit().await {
            Ok(under_way) => return guest.answer(request, tls, under_way, server.settings.body_timeout).await,
            Err(Busy::TooMany) => return later("too many requests at once\n"),
            Err(Busy::Stopped) => {
                // Another version may have come in its place since it was found.
                found = find(&request);
                if found.as_ref().is_some_and(|again| Arc::ptr_eq(again, &guest)) {
                    return later("the workload was stopped\n");
                }
            }
        }
    }
    plain(StatusCode::NOT_FOUND, "nothing is served here\n")
}

type Refusal = (StatusCode, &'static str);

const fn bad(text: &'static str) -> Refusal {
    (StatusCode::BAD_REQUEST, text)
}

/// The authority that a request names: in its target, else in its Host header.
fn authority(request: &Request<Incoming>) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(HOST)?.to_str().ok(),
    }
}

/// The host that routes are matched against.
fn host(request: &Request<Incoming>) -> Option<&str> {
    authority(request).and_then(target::host_of)
}

/// Checks what a request is addressed to, and writes it down as the component is handed it. Gives what routes are matched
/// against where that is not the path itself.
fn address(server: &Inner, request: &mut Request<Incoming>) -> Result<Option<String>, Refusal> {
    if request.method() == Method::CONNECT {
        return Err((StatusCode::NOT_IMPLEMENTED, "CONNECT is not supported\n"));
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(bad("more than one Host header\n")),
        // HTTP/2 names the authority in the target, and may repeat it.
        (Some(host), None) if request.version() == Version::HTTP_2 => {
            let same = |authority: &Authority| authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes());
            if request.uri().authority().is_some_and(|authority| !same(authority)) {
                return Err(bad("the Host header is not the request's authority\n"));
            }
        }
        (None, None) if request.version() == Version::HTTP_11 => return Err(bad("missing Host header\n")),
        (None, None) if request.uri().authority().is_none() => {
            request.headers_mut().insert(HOST, server.authority.clone());
        }
        _ => {}
    }
    if host(request).is_none() {
        return Err(bad("invalid authority: it takes a host and a port\n"));
    }
    // A URI without a path is one of the root (RFC 9110, section 4.2.3).
    let written = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    if !written.starts_with('/') && written != "*" {
        if request.uri().scheme().is_none() && request.uri().authority().is_some() {
            return Err(bad("invalid target: it takes a path\n"));
        }
        *request.uri_mut() = with_path(request.uri(), "/".to_owned()).ok_or(bad("invalid path\n"))?;
    }
    let path = request.uri().path();
    if client::is_marked(path) {
        return Err(bad("invalid character in the path\n"));
    }
    let path = Path::new(path);
    let Some(lenient) = path.lenient else { return Ok(None) };
    let routes = server.routes.load();
    let find = |path: &str| routes.find(host(request), path).map(Arc::as_ptr);
    let found = find(&path.key);
    if lenient.iter().any(|reading| find(reading) != found) {
        return Err(bad("ambiguous path: it can be read as the path of another component\n"));
    }
    let key = path.key.into_owned();
    if let Some(normal) = path.normal {
        *request.uri_mut() = with_path(request.uri(), normal).ok_or(bad("invalid path\n"))?;
    }
    Ok(Some(key))
}

/// A URI with another path.
fn with_path(uri: &Uri, mut path: String) -> Option<Uri> {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
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
