//! Pooled connections to the servers that a component sends requests to.
//!
//! Takes requests that `hosts` allows; gives responses. Each component of a workload has connections of its own, so
//! that none is used under grants that it was not opened with, and each goes to an address that was resolved and
//! checked for it. Over TLS, the server chooses between HTTP/2 and HTTP/1.1.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};
use wharf::wasi::Resolver;

use crate::connect::{Attempt, ConnectError, Connector, CountGuard, component_tls};
use crate::frame;
use crate::incoming::{GuardedBody, TimeoutBody};

/// How long an idle connection stays open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many idle connections to one server stay open.
const MAX_IDLE_PER_HOST: usize = 8;
/// How many idle connections a component may have in total. When it has more, all of them close.
const MAX_IDLE: usize = 64;
/// The time-out for connecting, for a response's first byte and between bytes, when the component sets none.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);
/// How many bytes an HTTP/2 stream may receive before the component reads them.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;
/// How many bytes an HTTP/2 connection may receive before the component reads them.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The smallest limit, in bytes, on the buffer of an HTTP/1.1 connection. Fast downloads need it.
const MIN_BUFFER: usize = 128 * 1024;

type HttpClient = Client<Connector, WasiBody>;

/// The outgoing connections of one component of a workload.
pub(crate) struct ConnectionPool {
    client: OnceLock<ArcSwap<HttpClient>>,
    tls: OnceLock<Arc<ClientConfig>>,
    open: Arc<AtomicUsize>,
    in_flight: Arc<AtomicUsize>,
}

impl ConnectionPool {
    /// An empty pool. It opens no connection before the first request.
    pub(crate) fn new() -> Self {
        Self { client: OnceLock::new(), tls: OnceLock::new(), open: Arc::default(), in_flight: Arc::default() }
    }

    /// Connects with these TLS settings from now on, unless the pool has connected before.
    pub(crate) fn set_tls(&self, tls: &Arc<ClientConfig>) {
        self.tls.get_or_init(|| tls.clone());
    }

    fn client(&self, resolver: &Resolver, headers: u64) -> HttpClient {
        let make = || {
            let tls = self.tls.get_or_init(|| Arc::new(component_tls())).clone();
            let connector = Connector { resolver: resolver.clone(), tls, open: self.open.clone() };
            let buffer = usize::try_from(headers).unwrap_or(usize::MAX).saturating_mul(2).max(MIN_BUFFER);
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
                .http1_max_buf_size(buffer)
                .http2_initial_stream_window_size(STREAM_WINDOW)
                .http2_initial_connection_window_size(CONNECTION_WINDOW)
                .http2_max_header_list_size(u32::try_from(headers).unwrap_or(u32::MAX))
                .timer(TokioTimer::new())
                .build(connector)
        };
        let client = self.client.get_or_init(|| ArcSwap::from_pointee(make()));
        let idle = self.open.load(Ordering::Relaxed).saturating_sub(self.in_flight.load(Ordering::Relaxed));
        if idle > MAX_IDLE {
            // Replacing the client closes its idle connections now, and those in use after their request.
            client.store(Arc::new(make()));
        }
        HttpClient::clone(&client.load())
    }

    /// Sends a request that the component's `hosts` allow.
    ///
    /// # Errors
    /// The error that the component receives.
    pub(crate) async fn send(
        &self,
        resolver: &Resolver,
        headers: u64,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<Response<WasiBody>, Error> {
        let options = options.unwrap_or_default();
        // hyper derives the header from the URI's authority.
        request.headers_mut().remove(http::header::HOST);
        let (client, in_flight) = (self.client(resolver, headers), Arc::new(CountGuard::new(&self.in_flight)));
        // The connection is in use until the request body is sent, even if the response has ended before that.
        let guard = in_flight.clone();
        let request = request.map(|body| WasiBody::new(GuardedBody { body, _guard: guard }));
        let attempt = Attempt::new(options.connect_timeout.unwrap_or(DEFAULT_TIMEOUT));
        let response =
            wait_for_response(&attempt, client.request(request), options.first_byte_timeout.unwrap_or(DEFAULT_TIMEOUT))
                .await?;
        if frame::header_list_size(response.headers()) > headers {
            return Err(Error::HttpResponseHeaderSectionSize(None));
        }
        let between = options.between_bytes_timeout.unwrap_or(DEFAULT_TIMEOUT);
        let with_timeout = |body: Incoming| {
            let body = TimeoutBody::new(body.map_err(Error::from), between);
            WasiBody::new(GuardedBody { body, _guard: in_flight })
        };
        Ok(response.map(with_timeout))
    }
}

/// Waits for a response. The time-out for its first byte starts when the connection is open.
async fn wait_for_response(
    attempt: &Arc<Attempt>,
    send: impl Future<Output = Result<Response<Incoming>, ClientError>>,
    first_byte: Duration,
) -> Result<Response<Incoming>, Error> {
    let mut response = std::pin::pin!(attempt.scope(send));
    let mut timeout = None;
    poll_fn(|cx| {
        if let Poll::Ready(response) = response.as_mut().poll(cx) {
            return Poll::Ready(response.map_err(|error| wasi_error(&error)));
        }
        if attempt.is_connecting() {
            return Poll::Pending;
        }
        let timeout = timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep(first_byte)));
        timeout.as_mut().poll(cx).map(|()| Err(Error::ConnectionReadTimeout))
    })
    .await
}

/// An error of hyper's client as `wasi:http` reports it.
fn wasi_error(error: &ClientError) -> Error {
    use std::error::Error as _;
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<ConnectError>() {
            return error.wasi_error();
        }
        source = inner.source();
    }
    if error.is_connect() { Error::ConnectionRefused } else { Error::HttpProtocolError }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response, Version};
    use http_body_util::{BodyExt as _, Full};
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio::net::TcpListener;
    use wasmtime_wasi_http::{Error, WasiBody};
    use wharf::wasi::Resolver;

    use super::{ConnectionPool, IDLE_TIMEOUT, MAX_IDLE};

    fn resolver() -> Resolver {
        Resolver::new(vec!["*".parse().unwrap()])
    }

    fn request(url: &str) -> Request<WasiBody> {
        Request::get(url).body(WasiBody::default()).unwrap()
    }

    async fn get(pool: &ConnectionPool, url: &str) -> Result<Version, Error> {
        let response = pool.send(&resolver(), 65_536, request(url), None).await?;
        let version = response.version();
        response.into_body().collect().await?;
        Ok(version)
    }

    /// Starts a server of HTTP/1.1 and HTTP/2. Returns its port and its count of open connections.
    async fn serve(tls: Option<Arc<ServerConfig>>) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, open) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let accepted = open.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, open) = (tls.clone(), accepted.clone());
                open.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let answer =
                        service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::from("ok"))));
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    match tls {
                        None => builder.serve_connection(TokioIo::new(stream), answer).await.ok(),
                        Some(tls) => match tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
                            Ok(stream) => builder.serve_connection(TokioIo::new(stream), answer).await.ok(),
                            Err(_) => None,
                        },
                    };
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        (port, open)
    }

    #[tokio::test]
    async fn uses_http_2_where_the_server_offers_it() {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (certified.cert.der().clone(), certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(key).unwrap();
        let mut server = server.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        for (offered, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
            server.alpn_protocols = vec![offered.as_bytes().to_vec()];
            let (port, open) = serve(Some(Arc::new(server.clone()))).await;
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone()).unwrap();
            let client = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
            let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
            let pool = ConnectionPool::new();
            pool.tls.set(Arc::new(client)).unwrap();
            let url = format!("https://localhost:{port}/");
            for _ in 0..3 {
                assert_eq!(get(&pool, &url).await.unwrap(), version);
            }
            assert_eq!(open.load(Ordering::SeqCst), 1, "{offered}");
            let untrusted = get(&ConnectionPool::new(), &url).await.unwrap_err();
            assert!(matches!(untrusted, Error::TlsProtocolError), "the certificate is self-signed: {untrusted:?}");
        }
    }

    #[tokio::test]
    async fn closes_idle_connections() {
        let (port, open) = serve(None).await;
        let pool = ConnectionPool::new();
        get(&pool, &format!("http://127.0.0.1:{port}/")).await.unwrap();
        assert_eq!(open.load(Ordering::SeqCst), 1);
        tokio::time::pause();
        for _ in 0..3 {
            tokio::time::advance(IDLE_TIMEOUT).await;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        tokio::time::resume();
        while open.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn bounds_the_number_of_idle_connections() {
        let pool = ConnectionPool::new();
        let mut servers = Vec::new();
        for _ in 0..2 * MAX_IDLE {
            let (port, open) = serve(None).await;
            get(&pool, &format!("http://127.0.0.1:{port}/")).await.unwrap();
            servers.push(open);
            let idle: usize = servers.iter().map(|open| open.load(Ordering::SeqCst)).sum();
            assert!(idle <= MAX_IDLE + 16, "{idle} idle connections");
            // A connection that the pool drops closes a moment later.
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn reports_errors_as_wasi_http_error_codes() {
        let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let refused = get(&ConnectionPool::new(), &format!("http://127.0.0.1:{unused}/")).await.unwrap_err();
        assert!(matches!(refused, Error::ConnectionRefused), "{refused:?}");
        let unknown = get(&ConnectionPool::new(), "http://no-such-name.invalid/").await.unwrap_err();
        assert!(matches!(unknown, Error::DnsError { .. }), "{unknown:?}");
        let wild = Resolver::new(vec!["*.localhost".parse().unwrap()]);
        let prohibited =
            ConnectionPool::new().send(&wild, 65_536, request("http://a.localhost/"), None).await.unwrap_err();
        // Some resolvers know names below `localhost`, and others do not.
        assert!(matches!(prohibited, Error::DestinationIpProhibited | Error::DnsError { .. }), "{prohibited:?}");
        // A server that never responds.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = wasmtime_wasi_http::RequestOptions {
            first_byte_timeout: Some(std::time::Duration::from_millis(50)),
            ..Default::default()
        };
        let url = format!("http://127.0.0.1:{}/", silent.local_addr().unwrap().port());
        let late = ConnectionPool::new().send(&resolver(), 65_536, request(&url), Some(options)).await.unwrap_err();
        assert!(matches!(late, Error::ConnectionReadTimeout), "{late:?}");
    }
}
