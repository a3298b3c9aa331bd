//! The HTTP server: accepts connections, serves each in a task of its own, and routes requests to the workloads'
//! components.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use wharf::host::Running;
use wharf::run::admission::AdmissionError;
use wharf::shutdown::{Shutdown, Signal};
use wharf::workload::Name;
use wharf::workload::manifest::HttpTrigger;
use wharf::{Trigger, TriggerError};

use crate::admission::{Clients, ConnectionPermit};
use crate::body::ResponseBody;
use crate::client;
use crate::connection::{ConnectionState, StreamExecutor};
use crate::handler::{ProxyHandler, refusal, text_response, unavailable};
use crate::metrics::RequestMetrics;
use crate::routes::Routes;
use crate::settings::Settings;
use crate::target::{self, Path};
use crate::timeout::TimeoutStream;
use crate::tls::Tls;

/// How long the listener waits after an error such as a lack of file descriptors, so that connections can close.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// What a connection in memory buffers in each direction, in bytes.
const IN_MEMORY: usize = 64 * 1024;

/// How long a connection may take to close after a graceful shutdown of it began.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The server cannot listen on its address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}`: {error}")]
#[non_exhaustive]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The error of the operating system.
    pub error: std::io::Error,
}

/// A trigger that serves the HTTP routes of workloads. It is cheap to clone, and all clones refer to the same server.
#[derive(Clone)]
pub struct HttpServer(Arc<Inner>);

struct Inner {
    settings: Settings,
    address: SocketAddr,
    /// The authority of HTTP/1.0 requests without a Host header.
    authority: HeaderValue,
    clients: Arc<Clients>,
    /// The certificate and key of new connections; `None` without TLS.
    tls: Option<ArcSwap<ServerConfig>>,
    /// Present until [`accept`](HttpServer::accept) takes it.
    listener: Mutex<Option<TcpListener>>,
    routes: ArcSwap<Routes>,
    /// Held while the routes change, so that concurrent changes do not overwrite each other.
    route_changes: Mutex<()>,
    shutdown: Mutex<Option<Shutdown>>,
}

impl HttpServer {
    /// Listens on the address of `settings`. The system queues connections until [`accept`](Self::accept) is called.
    ///
    /// # Errors
    /// [`BindError`] when the server cannot listen on the address.
    pub async fn bind(mut settings: Settings) -> Result<Self, BindError> {
        let bind_error = |error| BindError { address: settings.listen, error };
        let listener = TcpListener::bind(settings.listen).await.map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        settings.listen = address;
        Ok(Self::new(settings, Some(listener)))
    }

    /// A server that listens nowhere: its connections are those of [`connect`](Self::connect). The address of `settings` is that of
    /// requests without a Host header.
    pub fn without_listener(settings: Settings) -> Self {
        Self::new(settings, None)
    }

    fn new(mut settings: Settings, listener: Option<TcpListener>) -> Self {
        let address = settings.listen;
        // The text of an address is always a valid header value, so the default is never used.
        let authority = HeaderValue::try_from(address.to_string()).unwrap_or(HeaderValue::from_static("localhost"));
        Self(Arc::new(Inner {
            authority,
            clients: Clients::new(settings.max_connections),
            tls: settings.tls.take().map(|tls| ArcSwap::new(tls.0)),
            settings,
            address,
            listener: Mutex::new(listener),
            routes: ArcSwap::default(),
            route_changes: Mutex::default(),
            shutdown: Mutex::new(Some(Shutdown::default())),
        }))
    }

    /// Opens a connection in memory, without TLS, as a client on the loopback address. `None` when the server has stopped, or has too many
    /// connections.
    ///
    /// # Panics
    /// When called outside a Tokio runtime.
    pub fn connect(&self) -> Option<DuplexStream> {
        let signal = self.signal()?;
        let permit = self.0.clients.admit(IpAddr::from([127, 0, 0, 1]))?;
        let (client, server) = tokio::io::duplex(IN_MEMORY);
        let inner = self.0.clone();
        tokio::spawn(async move { serve_connection(&inner, server, &permit, signal, false).await });
        Some(client)
    }

    fn signal(&self) -> Option<Signal> {
        self.0.shutdown.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Shutdown::subscribe)
    }

    /// The address that the server listens on, with the port that the system selected for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.address
    }

    /// The server's URL, such as `http://127.0.0.1:8000/`.
    pub fn url(&self) -> String {
        let scheme = if self.0.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/", self.0.address)
    }

    /// Replaces the certificate and key. Connections from now on use them; those that are open keep theirs. A server that was
    /// bound without TLS stays without.
    pub fn set_tls(&self, tls: Tls) {
        if let Some(current) = &self.0.tls {
            current.store(tls.0);
        }
    }

    /// Starts to accept connections. Further calls do nothing.
    ///
    /// # Panics
    /// When called outside a Tokio runtime.
    pub fn accept(&self) {
        let listener = self.0.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(listener), Some(signal)) = (listener, self.signal()) {
            tokio::spawn(accept_loop(self.0.clone(), listener, signal));
        }
    }

    /// The requests that components of running workloads answered. A new version of a workload begins anew.
    pub fn requests(&self) -> Vec<RequestMetrics> {
        let routes = self.0.routes.load();
        let mut seen = HashSet::new();
        let handlers = routes.handlers().filter(|handler| seen.insert(Arc::as_ptr(handler)));
        let of = |handler: &Arc<ProxyHandler>| {
            let context = handler.entry().context();
            RequestMetrics::of(context.workload(), handler.entry().name().as_str(), handler.requests())
        };
        handlers.flat_map(of).collect()
    }

    /// Removes the routes of one workload and adds those of another, in one step.
    fn update_routes(&self, old: Option<&Arc<Running>>, new: Option<&Arc<Running>>) -> Result<(), TriggerError> {
        let handlers = new.map_or_else(|| Ok(HashMap::new()), handlers)?;
        let _lock = self.0.route_changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut routes = Routes::clone(&self.0.routes.load());
        if let Some(old) = old {
            routes.remove(&old.workload().id(), &declared(old)?);
        }
        if let Some(new) = new {
            routes.add(&new.workload().id(), &declared(new)?, |name| handlers.get(name).cloned())?;
        }
        self.0.routes.store(Arc::new(routes));
        Ok(())
    }
}

/// The routes that a workload declares.
fn declared(running: &Running) -> Result<Vec<HttpTrigger>, TriggerError> {
    let declared = running.workload().triggers.of::<HttpTrigger>();
    declared.map_err(|error| TriggerError::from(error).below("triggers.http"))
}

/// The handlers of the components that a workload's routes select.
fn handlers(running: &Arc<Running>) -> Result<HashMap<Name, Arc<ProxyHandler>>, TriggerError> {
    let mut handlers = HashMap::new();
    for trigger in declared(running)? {
        let Some(entry) = running.entry(trigger.component.as_str()) else { continue };
        if handlers.contains_key(&trigger.component) {
            continue;
        }
        let handler = ProxyHandler::new(entry.clone()).map_err(|error| {
            TriggerError::new(format!("component `{}` cannot handle HTTP requests: {error:#}", trigger.component))
        })?;
        handlers.insert(trigger.component.clone(), Arc::new(handler));
    }
    Ok(handlers)
}

/// Accepts connections until `signal` stops it. No client and no error of the system ends the loop.
async fn accept_loop(server: Arc<Inner>, listener: TcpListener, mut signal: Signal) {
    let connection_signal = signal.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = signal.stopped() => return,
        };
        match accepted {
            Ok((stream, peer)) => match server.clients.admit(peer.ip()) {
                Some(permit) => {
                    tokio::spawn(handle_connection(server.clone(), stream, permit, connection_signal.clone()));
                }
                None => reject(&server, &stream),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                if !is_connection_error(&error) {
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}

/// Whether an error of `accept` concerns one connection only, so that the next can be accepted at once.
fn is_connection_error(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Rejects a connection with a response that is written without waiting, so that a rejection costs no task.
fn reject(server: &Inner, stream: &TcpStream) {
    tracing::debug!(max_connections = server.settings.max_connections, "connection rejected: too many are open");
    // Over TLS, a response would require a handshake first.
    if server.tls.is_none() {
        stream.try_write(TOO_MANY_CONNECTIONS).ok();
    }
}

const TOO_MANY_CONNECTIONS: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n\r\ntoo many connections\n";

/// Completes the TLS handshake, if there is one, and serves the connection.
async fn handle_connection(server: Arc<Inner>, stream: TcpStream, permit: ConnectionPermit, signal: Signal) {
    // hyper writes whole responses, so Nagle's algorithm would only add latency.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let Some(tls) = &server.tls else {
        return serve_connection(&server, stream, &permit, signal, false).await;
    };
    let handshake = TlsAcceptor::from(tls.load_full()).accept(stream);
    let handshake = tokio::time::timeout(server.settings.handshake_timeout, handshake);
    let accepted = tokio::select! {
        accepted = handshake => accepted,
        _ = permit.state().wait_for_close() => return,
    };
    match accepted {
        Ok(Ok(stream)) => serve_connection(&server, stream, &permit, signal, true).await,
        Ok(Err(error)) => tracing::debug!(%error, "the TLS handshake failed"),
        Err(_) => tracing::debug!("the TLS handshake timed out"),
    }
}

/// Why the server closes a connection.
enum CloseReason {
    /// The server shuts down, and waits for the requests in flight.
    Drain,
    /// The connection had no request for too long, or another client's connection displaces it.
    IdleOrDisplaced,
    /// The client resets too many requests.
    Abusive,
}

/// Serves a connection until its client or the server closes it.
async fn serve_connection<S>(server: &Arc<Inner>, stream: S, permit: &ConnectionPermit, mut signal: Signal, tls: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = &server.settings;
    let state = permit.state();
    let service = service_fn(|request| {
        let (server, exchange) = (server.clone(), state.clone());
        async move { Ok::<_, Infallible>(handle_request(&server, request, tls, &exchange).await) }
    });
    let builder = connection_builder(server, StreamExecutor::new(state.clone(), settings.write_timeout));
    let stream = TimeoutStream::new(stream, state.clone(), settings.header_timeout, settings.write_timeout);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let reason = tokio::select! {
        biased;
        served = connection.as_mut() => return log_connection_end(served),
        () = signal.stopped() => CloseReason::Drain,
        () = state.wait_until_idle(settings.header_timeout) => CloseReason::IdleOrDisplaced,
        abusive = state.wait_for_close() => if abusive { CloseReason::Abusive } else { CloseReason::IdleOrDisplaced },
    };
    if matches!(reason, CloseReason::Abusive) {
        return tracing::debug!("connection closed: the client resets too many requests");
    }
    connection.as_mut().graceful_shutdown();
    let close_timeout = async {
        if matches!(reason, CloseReason::Drain) {
            state.drain();
            state.wait_until_idle(CLOSE_TIMEOUT).await;
        } else {
            tokio::time::sleep(CLOSE_TIMEOUT).await;
        }
    };
    tokio::select! {
        served = connection => log_connection_end(served),
        () = close_timeout => tracing::debug!("connection closed: the client did not close it in time"),
    }
}

fn log_connection_end<E: std::fmt::Display>(served: Result<(), E>) {
    if let Err(error) = served {
        tracing::debug!(%error, "connection failed");
    }
}

/// Configures hyper for HTTP/1.1 and HTTP/2 with the server's limits. hyper rejects headers that are far larger than
/// any workload accepts; the handler checks its workload's own limit.
fn connection_builder(server: &Inner, streams: StreamExecutor) -> Builder<StreamExecutor> {
    let settings = &server.settings;
    let headers = server.routes.load().max_header_size();
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

/// How many headers an HTTP/1.1 request may have, independent of their size.
const MAX_HEADERS: usize = 1024;
/// The smallest limit, in bytes, on the buffer of an HTTP/1.1 connection. Fast uploads need it.
const MIN_BUFFER: usize = 400 * 1024;

/// Handles one request, counted on its connection until the response has been written.
async fn handle_request(
    server: &Inner,
    request: Request<Incoming>,
    tls: bool,
    connection: &Arc<ConnectionState>,
) -> Response<ResponseBody> {
    if connection.is_draining() {
        return unavailable("the server is shutting down\n");
    }
    let exchange = connection.begin_exchange();
    let is_head = request.method() == Method::HEAD;
    let (begun, logged) = (Instant::now(), RequestLog::begin(&request));
    let (response, handler) = route(server, request, tls).await;
    exchange.record_response();
    if let Some(handler) = &handler {
        handler.requests().record(response.status().as_u16(), begun.elapsed());
    }
    if let Some(logged) = logged {
        logged.end(begun.elapsed(), response.status(), handler.as_deref());
    }
    // hyper discards a body in response to HEAD for HTTP/1.1 only.
    response.map(|body| if is_head { ResponseBody::empty() } else { body }.with_exchange(exchange))
}

/// A request as the log shows it, until the head of its response.
struct RequestLog {
    method: Method,
    target: String,
}

impl RequestLog {
    /// `None` if the log does not show requests.
    fn begin(request: &Request<Incoming>) -> Option<Self> {
        let begin = || Self {
            method: request.method().clone(),
            target: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
        };
        tracing::enabled!(target: crate::REQUESTS, tracing::Level::DEBUG).then(begin)
    }

    fn end(self, took: Duration, status: StatusCode, handler: Option<&ProxyHandler>) {
        let Self { method, target } = self;
        let took = format!("{:.1} ms", took.as_secs_f64() * 1e3);
        let status = status.as_u16();
        let Some(entry) = handler.map(ProxyHandler::entry) else {
            tracing::debug!(target: crate::REQUESTS, "{status} {method} {target} {took}");
            return;
        };
        let (component, instance) = (entry.name(), entry.policy().name());
        tracing::debug!(target: crate::REQUESTS, %component, instance, "{status} {method} {target} {took}");
    }
}

/// Passes a request to the component that its target selects.
async fn route(
    server: &Inner,
    mut request: Request<Incoming>,
    tls: bool,
) -> (Response<ResponseBody>, Option<Arc<ProxyHandler>>) {
    let route_path = match check_target(server, &mut request) {
        Ok(route_path) => route_path,
        Err((status, text)) => return (text_response(status, text), None),
    };
    let find = |request: &Request<Incoming>| {
        let path = route_path.as_deref().unwrap_or(request.uri().path());
        server.routes.load().find(host(request), path).cloned()
    };
    let mut found = find(&request);
    while let Some(handler) = found {
        match handler.admit().await {
            Ok(call) => {
                let response = handler.clone().handle(request, tls, call, server.settings.body_timeout).await;
                return (response, Some(handler));
            }
            Err(AdmissionError::Stopped) => {
                // An update of the workload may have replaced the handler since the lookup.
                found = find(&request);
                if found.as_ref().is_some_and(|current| Arc::ptr_eq(current, &handler)) {
                    return (unavailable(refusal(AdmissionError::Stopped)), Some(handler));
                }
            }
            Err(error) => return (unavailable(refusal(error)), Some(handler)),
        }
    }
    (text_response(StatusCode::NOT_FOUND, "no route for this host and path\n"), None)
}

/// The status and text of a response to an invalid request.
type Rejection = (StatusCode, &'static str);

const fn bad_request(text: &'static str) -> Rejection {
    (StatusCode::BAD_REQUEST, text)
}

/// A request's authority: that of its target, else that of its Host header.
fn authority(request: &Request<Incoming>) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(HOST)?.to_str().ok(),
    }
}

/// The host that routes match.
fn host(request: &Request<Incoming>) -> Option<&str> {
    authority(request).and_then(target::host_of)
}

/// Validates a request's target, and rewrites it into the form that the component receives. Returns the path that
/// routes match, if that differs from the request's own.
///
/// # Errors
/// A response for an invalid or ambiguous target.
fn check_target(server: &Inner, request: &mut Request<Incoming>) -> Result<Option<String>, Rejection> {
    if request.method() == Method::CONNECT {
        return Err((StatusCode::NOT_IMPLEMENTED, "CONNECT is not supported\n"));
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(bad_request("duplicate Host header\n")),
        // HTTP/2 has the authority in the target, and may repeat it in the header.
        (Some(host), None) if request.version() == Version::HTTP_2 => {
            let same = |authority: &Authority| authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes());
            if request.uri().authority().is_some_and(|authority| !same(authority)) {
                return Err(bad_request("the Host header differs from the request's authority\n"));
            }
        }
        (None, None) if request.version() == Version::HTTP_11 => return Err(bad_request("missing Host header\n")),
        (None, None) if request.uri().authority().is_none() => {
            request.headers_mut().insert(HOST, server.authority.clone());
        }
        _ => {}
    }
    if host(request).is_none() {
        return Err(bad_request("invalid authority: expected a host and an optional port\n"));
    }
    // An empty path means the root (RFC 9110, section 4.2.3).
    let path = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    if !path.starts_with('/') && path != "*" {
        if request.uri().scheme().is_none() && request.uri().authority().is_some() {
            return Err(bad_request("invalid request target: expected a path\n"));
        }
        *request.uri_mut() = with_path(request.uri(), "/".to_owned()).ok_or(bad_request("invalid request path\n"))?;
    }
    let path = request.uri().path();
    if client::has_relative_marker(path) {
        return Err(bad_request("invalid character in the request path\n"));
    }
    let path = Path::new(path);
    let Some(lenient) = path.lenient else { return Ok(None) };
    let routes = server.routes.load();
    let find = |path: &str| routes.find(host(request), path).map(Arc::as_ptr);
    let selected = find(&path.key);
    if lenient.iter().any(|reading| find(reading) != selected) {
        return Err(bad_request("ambiguous path: other parsers could route it to another component\n"));
    }
    let key = path.key.into_owned();
    if let Some(normal) = path.normal {
        *request.uri_mut() = with_path(request.uri(), normal).ok_or(bad_request("invalid request path\n"))?;
    }
    Ok(Some(key))
}

/// Replaces the path of a URI, and keeps its query.
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
        self.update_routes(None, Some(running))
    }

    async fn replace(&self, old: &Arc<Running>, new: &Arc<Running>) -> Result<(), TriggerError> {
        self.update_routes(Some(old), Some(new))
    }

    async fn detach(&self, running: &Arc<Running>) {
        // Removing routes cannot fail.
        self.update_routes(Some(running), None).ok();
    }

    async fn shutdown(&self) {
        let shutdown = self.0.shutdown.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A server that never accepted only has to release its address.
        drop(self.0.listener.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(mut shutdown) = shutdown
            && !shutdown.drain(self.0.settings.drain).await
        {
            tracing::warn!("shutdown: connections are still open after the `drain` time");
        }
    }
}
