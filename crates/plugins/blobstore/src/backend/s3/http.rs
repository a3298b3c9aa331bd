//! HTTP for `object_store`: hyper, and rustls with ring.
//!
//! Takes signed requests; gives responses. Every request ends in bounded time. Never follows a redirect, and never
//! sends plain HTTP unless the store's settings allow it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use rustls::{ClientConfig, RootCertStore};

use super::allowance;

/// How long an idle connection stays open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many idle connections to the server stay open.
const MAX_IDLE: usize = 8;

/// Makes the HTTP client of a store.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) timeout: Duration,
    pub(super) allow_http: bool,
}

#[derive(Debug)]
struct Service {
    client: Client<HttpsConnector<TcpConnector>, HttpRequestBody>,
    timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("no response within {0:?}")]
struct NoResponse(Duration);

fn tls() -> Result<ClientConfig, rustls::Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let tls = tls().map_err(|source| object_store::Error::Generic { store: "S3", source: Box::new(source) })?;
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(self.timeout));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls);
        let https = if self.allow_http { https.https_or_http() } else { https.https_only() };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(https.enable_http1().wrap_connector(tcp));
        Ok(HttpClient::new(Service { client, timeout: self.timeout }))
    }
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let timeout = if request.method() == "POST" && request.uri().query().is_some_and(is_completion) {
            self.timeout * super::COMPLETION
        } else {
            allowance(self.timeout, request.body().content_length() as u64)
        };
        let response = tokio::time::timeout(timeout, self.client.request(request)).await;
        let response = response.map_err(|_| HttpError::new(HttpErrorKind::Timeout, NoResponse(timeout)))?;
        let response = response.map_err(|error| {
            let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted };
            HttpError::new(kind, error)
        })?;
        let interrupted = |error| HttpError::new(HttpErrorKind::Interrupted, error);
        Ok(response.map(|body| HttpResponseBody::new(body.map_err(interrupted))))
    }
}

/// Whether a POST completes an upload, for which the server may need long.
fn is_completion(query: &str) -> bool {
    query.contains("uploadId=")
}
