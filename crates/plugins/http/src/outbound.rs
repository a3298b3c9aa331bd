//! The plugin for `wasi:http`: its types, which a unit's components share, and outgoing requests, limited to each
//! component's own `hosts`.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderName;
use http::uri::Scheme;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::bindings::http as p2;
use wasmtime_wasi_http::p3::bindings::http as p3;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
};
use wharf::limits::LimitTracker;
use wharf::plugin::Provided;
use wharf::wasi::{Grants, Resolver};
use wharf::workload::manifest::Protocol;
use wharf::{Binding, Limit, Limits, Link, Plugin, PluginError, Scope, StoreData, View};
use wharf_tls::ComponentTls;

use crate::client;
use crate::fields;
use crate::incoming::GuardedBody;
use crate::pool::ConnectionPool;
use crate::size;

/// Provides [`wasi:http`] 0.2 and 0.3.
///
/// A component may send a request if an entry of its `hosts` allows the scheme, host and port. Any other request fails
/// with the error code `HTTP-request-denied`. Where the host has a [`TlsPlugin`](wharf_tls::TlsPlugin), a component's requests use its
/// own roots and its client certificate.
///
/// ```
/// use wharf::{Engine, Host};
/// use wharf_http::HttpPlugin;
///
/// let engine = Engine::builder().pooling(false).build().unwrap();
/// let host = Host::builder(engine).plugin(HttpPlugin).build().unwrap();
/// assert!(host.interfaces().iter().any(|i| i.name.unversioned() == "wasi:http/client"));
/// ```
///
/// [`wasi:http`]: https://github.com/WebAssembly/WASI/tree/main/proposals/http
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpPlugin;

#[async_trait]
impl Plugin for HttpPlugin {
    fn name(&self) -> &'static str {
        "http"
    }

    fn interfaces(&self) -> Vec<Provided> {
        vec![
            // Shared, because a middleware passes requests, responses and bodies to its siblings.
            Provided::shared("wasi:http/types@0.2.12"),
            Provided::grant("wasi:http/outgoing-handler@0.2.12"),
            Provided::shared("wasi:http/types@0.3.0"),
            Provided::grant("wasi:http/client@0.3.0"),
        ]
    }

    fn resource_size(&self, resource: &(dyn Any + Send), limits: &Limits) -> usize {
        size::of_resource(resource, limits)
    }

    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        binding.insert(Arc::new(ConnectionPool::new()));
        Ok(())
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Http>();
        let is_p2 = link.interface().version.as_ref().is_some_and(|version| version.minor == 2);
        if link.is("wasi:http/outgoing-handler") {
            client::link_outgoing(link, get)
        } else if link.is("wasi:http/client") {
            client::link_client(link, get)
        } else if is_p2 {
            let options = p2::types::LinkOptions::default();
            p2::types::add_to_linker_instance::<StoreData, WasiHttp>(&mut link.instance()?, &options, get)?;
            fields::link_p2(link, get)
        } else {
            client::link_types(link, get)?;
            fields::link_p3(link, get)
        }
    }
}

/// The view through which the bindings reach the calling component's state.
pub(crate) struct Http;

/// What the plugin keeps per component and instance.
struct State {
    ctx: WasiHttpCtx,
    hooks: Hooks,
}

impl View for Http {
    type Of = WasiHttp;
    fn view(scope: Scope<'_>) -> WasiHttpCtxView<'_> {
        let Scope { component, tracker, state, table, .. } = scope;
        let state = state.get_or_insert_with(|| {
            let mut ctx = WasiHttpCtx::new();
            ctx.set_field_size_limit(usize::try_from(tracker.limits().headers).unwrap_or(usize::MAX));
            let resolver = Grants::of(component).resolver();
            let pool: Option<Arc<ConnectionPool>> = component.binding().cloned();
            if let (Some(pool), Some(tls)) = (&pool, component.binding().and_then(ComponentTls::own)) {
                pool.set_tls(tls);
            }
            State { ctx, hooks: Hooks { resolver, pool, tracker: tracker.clone(), in_flight: None } }
        });
        WasiHttpCtxView { hooks: &mut state.hooks, table, ctx: &mut state.ctx }
    }
}

/// Decides which requests a component may send, and sends them.
struct Hooks {
    resolver: Resolver,
    /// Present if the component imports an interface of this plugin.
    pool: Option<Arc<ConnectionPool>>,
    tracker: Arc<LimitTracker>,
    /// Counts the requests in flight: one for each clone of this `Arc`. Allocated with the first request.
    in_flight: Option<Arc<()>>,
}

impl Hooks {
    /// Checks a request against `hosts`. The addresses of its host are checked when they are resolved.
    ///
    /// # Errors
    /// `HTTP-request-denied`, or `HTTP-request-URI-invalid` for a URI without a host or a port.
    fn allow<B>(&self, request: &http::Request<B>) -> Result<(), Error> {
        let uri = request.uri();
        let protocol = if uri.scheme() == Some(&Scheme::HTTPS) { Protocol::Https } else { Protocol::Http };
        let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
        let port = uri.port_u16().or(protocol.default_port()).ok_or(Error::HttpRequestUriInvalid)?;
        if self.resolver.hosts().iter().any(|rule| rule.allows_name(protocol, host, port)) {
            return Ok(());
        }
        let scheme = if protocol == Protocol::Https { "https" } else { "http" };
        let port = uri.port_u16().map_or_else(String::new, |port| format!(":{port}"));
        self.resolver.log_denied(&format!("{scheme}://{host}{port}"));
        Err(Error::HttpRequestDenied)
    }

    /// Counts a request until the last clone of the returned guard is dropped.
    ///
    /// # Errors
    /// `connection-limit-reached` when too many requests are in flight.
    fn count_request(&mut self) -> Result<InFlight, Error> {
        let in_flight = self.in_flight.get_or_insert_default();
        let limits = self.tracker.limits();
        let max_requests = u64::from(limits.connections).min(limits.memory / size::of_request(limits));
        if Arc::strong_count(in_flight) as u64 > max_requests {
            self.tracker.refuse(Limit::Connections);
            return Err(Error::ConnectionLimitReached);
        }
        Ok(Arc::new(in_flight.clone()))
    }
}

/// Counts one request in flight. The bodies of the request and of the response share it.
type InFlight = Arc<Arc<()>>;
type SendOutput = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        size::body_chunk(self.tracker.limits())
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        size::body_chunk(self.tracker.limits())
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<SendOutput, Error>> + Send> {
        let allowed = self.allow(&request).and_then(|()| self.count_request());
        let (resolver, headers) = (self.resolver.clone(), self.tracker.limits().headers);
        let pool = self.pool.clone().ok_or(Error::HttpRequestDenied);
        Box::new(async move {
            let in_flight = allowed?;
            let (sent, done) = oneshot::channel();
            // The request body also counts, because the connection stays open until it is sent or dropped.
            let guard = in_flight.clone();
            let request = request.map(|body| WasiBody::new(NotifyOnSent { body, sent: Some(sent), _guard: guard }));
            let response = pool?.send(&resolver, headers, request, options).await?;
            let response = response.map(|body| WasiBody::new(GuardedBody { body, _guard: in_flight }));
            // A server may respond without reading the whole request, so a dropped body is no error.
            let done = async move { done.await.unwrap_or(Ok(())) };
            Ok((response, Box::new(done) as Box<dyn Future<Output = Result<(), Error>> + Send>))
        })
    }

    // The component receives these errors. They are logged at debug level, so that a component cannot flood the log.

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> p2::types::ErrorCode {
        tracing::debug!(%error, "an outgoing request failed");
        p2::types::ErrorCode::HttpProtocolError
    }

    fn p3_error_from_hyper(&mut self, error: &hyper::Error) -> p3::types::ErrorCode {
        tracing::debug!(%error, "an outgoing request failed");
        p3::types::ErrorCode::HttpProtocolError
    }
}

/// A request body that sends a notification when it was sent or failed.
struct NotifyOnSent {
    body: WasiBody,
    sent: Option<oneshot::Sender<Result<(), Error>>>,
    _guard: InFlight,
}

impl Body for NotifyOnSent {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let ended = match polled {
            Poll::Ready(Some(Err(error))) => Err(error),
            Poll::Ready(None) => Ok(()),
            other => return other,
        };
        // The component receives its own error; hyper receives a plain one, which closes the connection.
        let frame = ended.is_err().then_some(Err(Error::HttpProtocolError));
        if let Some(sent) = self.sent.take() {
            sent.send(ended).ok();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
