//! Connections to the servers that a component sends requests to, kept for the next request.
//!
//! Takes requests that `hosts` allows; gives responses. Each component of a workload has connections of its own, so that
//! none is used under grants that it was not opened with, and each goes to an address that was looked up and checked for
//! it. HTTP/2 is spoken where the server offers it.

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

use crate::connect::{Attempt, ConnectError, Connector, Counted, own_tls};
use crate::frame;
use crate::upload::{Held, Timed};

/// How long an idle connection is kept, and how many to one server.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_PER_SERVER: usize = 8;
/// How many idle connections a component may have in all; beyond these, all of them are closed.
const MAX_IDLE: usize = 64;
/// How long connecting, a response's first byte and each of the next may take when the component does not say.
const PATIENCE: Duration = Duration::from_mins(10);
/// What a connection of HTTP/2 may receive before it is read, in bytes: of each stream, and in all.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The least that a connection of HTTP/1.1 may buffer, which fast downloads need.
const MIN_BUFFER: usize = 128 * 1024;

type HttpClient = Client<Connector, WasiBody>;

/// What one component of a workload is connected to.
pub(crate) struct Pool {
    client: OnceLock<ArcSwap<HttpClient>>,
    tls: OnceLock<Arc<ClientConfig>>,
    open: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
}

impl Pool {
    /// A component's pool, which opens nothing before the first request.
    pub(crate) fn new() -> Self {
        Self { client: OnceLock::new(), tls: OnceLock::new(), open: Arc::default(), under_way: Arc::default() }
    }

    fn client(&self, resolver: &Resolver, headers: u64) -> HttpClient {
        let make = || {
            let tls = self.tls.get_or_init(|| Arc::new(own_tls())).clone();
            let connector = Connector { resolver: resolver.clone(), tls, open: self.open.clone() };
            let buffer = usize::try_from(headers).unwrap_or(usize::MAX).saturating_mul(2).max(MIN_BUFFER);
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(IDLE_PER_SERVER)
                .http1_max_buf_size(buffer)
                .http2_initial_stream_window_size(STREAM_WINDOW)
                .http2_initial_connection_window_size(CONNECTION_WINDOW)
                .http2_max_header_list_size(u32::try_from(headers).unwrap_or(u32::MAX))
                .timer(TokioTimer::new())
                .build(connector)
        };
        let client = self.client.get_or_init(|| ArcSwap::from_pointee(make()));
        let idle = self.open.load(Ordering::Relaxed).saturating_sub(self.under_way.load(Ordering::Relaxed));
        if idle > MAX_IDLE {
            // The old one's idle connections close with it; those in use close once they are done.
            client.store(Arc::new(make()));
        }
        HttpClient::clone(&client.load())
    }

    /// Sends a request that the component's `hosts` allow.
    ///
    /// # Errors
    /// What the component gets, in the interface's own terms.
    pub(crate) async fn send(
        &self,
        resolver: &Resolver,
        headers: u64,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<Response<WasiBody>, Error> {
        let options = options.unwrap_or_default();
        // The authority says the same, and one of the two is enough.
        request.headers_mut().remove(http::header::HOST);
        let (client, under_way) = (self.client(resolver, headers), Arc::new(Counted::new(&self.under_way)));
        // The connection is in use until the request is sent, whether or not its response has ended.
        let kept = under_way.clone();
        let request = request.map(|body| WasiBody::new(Held { body, _under_way: kept }));
        let attempt = Attempt::new(options.connect_timeout.unwrap_or(PATIENCE));
        let response = wait(&attempt, client.request(request), options.first_byte_timeout.unwrap_or(PATIENCE)).await?;
        if frame::size(response.headers()) > headers {
            return Err(Error::HttpResponseHeaderSectionSize(None));
        }
        let between = options.between_bytes_timeout.unwrap_or(PATIENCE);
        let timed = |body: Incoming| {
            let body = Timed::new(body.map_err(Error::from), between);
            WasiBody::new(Held { body, _under_way: under_way })
        };
        Ok(response.map(timed))
    }
}

/// Waits for a response: as long as connecting takes, and then for its first byte.
async fn wait(
    attempt: &Arc<Attempt>,
    send: impl Future<Output = Result<Response<Incoming>, ClientError>>,
    first_byte: Duration,
) -> Result<Response<Incoming>, Error> {
    let mut response = std::pin::pin!(attempt.of(send));
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

/// An error of the client in the terms of the interface.
fn wasi_error(error: &ClientError) -> Error {
    use std::error::Error as _;
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(refused) = inner.downcast_ref::<ConnectError>() {
            return refused.wasi_error();
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

    use super::{IDLE, MAX_IDLE, Pool};

    fn resolver() -> Resolver {
        Resolver::new(vec!["*".parse().unwrap()])
    }

    fn request(url: &str) -> Request<WasiBody> {
        Request::get(url).body(WasiBody::default()).unwrap()
    }

    async fn ask(pool: &Pool, url: &str) -> Result<Version, Error> {
        let response = pool.send(&resolver(), 65_536, request(url), None).await?;
        let version = response.version();
        response.into_body().collect().await?;
        Ok(version)
    }

    /// A server of either version; gives its port and how many connections it has.
    async fn serve(tls: Option<Arc<ServerConfig>>) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, open) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let counted = open.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, open) = (tls.clone(), counted.clone());
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
    async fn http_2_is_spoken_where_it_is_offered() {
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
            let pool = Pool::new();
            pool.tls.set(Arc::new(client)).unwrap();
            let url = format!("https://localhost:{port}/");
            for _ in 0..3 {
                assert_eq!(ask(&pool, &url).await.unwrap(), version);
            }
            assert_eq!(open.load(Ordering::SeqCst), 1, "{offered}");
            let stranger = ask(&Pool::new(), &url).await.unwrap_err();
            assert!(matches!(stranger, Error::TlsProtocolError), "no authority signed it: {stranger:?}");
        }
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed() {
        let (port, open) = serve(None).await;
        let pool = Pool::new();
        ask(&pool, &format!("http://127.0.0.1:{port}/")).await.unwrap();
        assert_eq!(open.load(Ordering::SeqCst), 1);
        tokio::time::pause();
        for _ in 0..3 {
            tokio::time::advance(IDLE).await;
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
    async fn idle_connections_are_bounded() {
        let pool = Pool::new();
        let mut servers = Vec::new();
        for _ in 0..2 * MAX_IDLE {
            let (port, open) = serve(None).await;
            ask(&pool, &format!("http://127.0.0.1:{port}/")).await.unwrap();
            servers.push(open);
            let idle: usize = servers.iter().map(|open| open.load(Ordering::SeqCst)).sum();
            assert!(idle <= MAX_IDLE + 16, "{idle} idle connections");
            // What was given up takes a moment to close.
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn errors_are_those_of_the_interface() {
        let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let refused = ask(&Pool::new(), &format!("http://127.0.0.1:{unused}/")).await.unwrap_err();
        assert!(matches!(refused, Error::ConnectionRefused), "{refused:?}");
        let unknown = ask(&Pool::new(), "http://no-such-name.invalid/").await.unwrap_err();
        assert!(matches!(unknown, Error::DnsError { .. }), "{unknown:?}");
        let wild = Resolver::new(vec!["*.localhost".parse().unwrap()]);
        let prohibited = Pool::new().send(&wild, 65_536, request("http://a.localhost/"), None).await.unwrap_err();
        // Resolvers differ in what they know below `localhost`.
        assert!(matches!(prohibited, Error::DestinationIpProhibited | Error::DnsError { .. }), "{prohibited:?}");
        // A server that says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = wasmtime_wasi_http::RequestOptions {
            first_byte_timeout: Some(std::time::Duration::from_millis(50)),
            ..Default::default()
        };
        let url = format!("http://127.0.0.1:{}/", silent.local_addr().unwrap().port());
        let late = Pool::new().send(&resolver(), 65_536, request(&url), Some(options)).await.unwrap_err();
        assert!(matches!(late, Error::ConnectionReadTimeout), "{late:?}");
    }
}
