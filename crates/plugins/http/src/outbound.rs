//! `wasi:http` for components: its types, shared by a unit, and requests, held to each component's own `hosts`.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

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
use wharf::limits::Guard;
use wharf::plugin::Provided;
use wharf::wasi::Resolver;
use wharf::workload::manifest::Protocol;
use wharf::{Binding, Ctx, Limit, Limits, Link, Plugin, PluginError, Scope, View};

use crate::client;
use crate::fields;
use crate::pool::Pool;
use crate::size;
use crate::upload::Held;

/// Provides `wasi:http` 0.2 and 0.3. A request goes out when an entry of the component's `hosts` allows its scheme, host
/// and port; else it fails with the interface's own `HTTP-request-denied`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpPlugin;

impl Plugin for HttpPlugin {
    fn name(&self) -> &'static str {
        "http"
    }

    fn interfaces(&self) -> Vec<Provided> {
        vec![
            // Requests, responses and bodies pass between siblings: a middleware hands them on.
            Provided::shared("wasi:http/types@0.2.12"),
            Provided::grant("wasi:http/outgoing-handler@0.2.12"),
            Provided::shared("wasi:http/types@0.3.0"),
            Provided::grant("wasi:http/client@0.3.0"),
        ]
    }

    fn resource_size(&self, resource: &(dyn Any + Send), limits: &Limits) -> usize {
        size::of(resource, limits)
    }

    fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        binding.keep(Arc::new(Pool::new()))
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Http>();
        let second = link.interface().version.as_ref().is_some_and(|version| version.minor == 2);
        if link.is("wasi:http/outgoing-handler") {
            client::link_outgoing(link, get)
        } else if link.is("wasi:http/client") {
            client::link_client(link, get)
        } else if second {
            let options = p2::types::LinkOptions::default();
            p2::types::add_to_linker_instance::<Ctx, WasiHttp>(&mut link.instance()?, &options, get)?;
            fields::link_p2(link, get)
        } else {
            client::link_types(link, get)?;
            fields::link_p3(link, get)
        }
    }
}

/// What `wasi:http` needs of the component that calls.
pub(crate) struct Http;

struct State {
    ctx: WasiHttpCtx,
    hooks: Hooks,
}

impl View for Http {
    type Of = WasiHttp;
    fn view(scope: Scope<'_>) -> WasiHttpCtxView<'_> {
        let Scope { grants, guard, .. } = scope;
        let state = scope.state.get_or_insert_with(|| {
            let mut ctx = WasiHttpCtx::new();
            ctx.set_field_size_limit(usize::try_from(guard.limits().headers).unwrap_or(usize::MAX));
            let resolver = grants.wasi().resolver();
            let pool = grants.find_binding().cloned();
            State { ctx, hooks: Hooks { resolver, pool, guard: guard.clone(), under_way: None } }
        });
        WasiHttpCtxView { hooks: &mut state.hooks, table: scope.table, ctx: &mut state.ctx }
    }
}

struct Hooks {
    resolver: Resolver,
    /// Of every component that imports something of this plugin.
    pool: Option<Arc<Pool>>,
    guard: Arc<Guard>,
    /// As many as there are clones of it, but for this one: the requests that are under way. Made with the first.
    under_way: Option<Arc<()>>,
}

impl Hooks {
    /// Whether a request may go out. Where its host leads is checked when it is looked up.
    fn allow<B>(&self, request: &http::Request<B>) -> Result<(), Error> {
        let uri = request.uri();
        let protocol = if uri.scheme() == Some(&Scheme::HTTPS) { Protocol::Https } else { Protocol::Http };
        let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
        let port = uri.port_u16().or(protocol.default_port()).ok_or(Error::HttpRequestUriInvalid)?;
        if self.resolver.hosts().iter().any(|rule| rule.allows_name(protocol, host, port)) {
            return Ok(());
        }
        tracing::debug!(host, port, "request refused: no entry of `hosts` allows it");
        Err(Error::HttpRequestDenied)
    }

    /// Counts one more request until the last clone of what this returns is dropped.
    fn count(&mut self) -> Result<UnderWay, Error> {
        let under_way = self.under_way.get_or_insert_default();
        let limits = self.guard.limits();
        let most = u64::from(limits.connections).min(limits.memory / size::request(limits));
        if Arc::strong_count(under_way) as u64 > most {
            self.guard.refuse(Limit::Connections);
            return Err(Error::ConnectionLimitReached);
        }
        Ok(Arc::new(under_way.clone()))
    }
}

/// What counts a request, shared by its body and the response's.
type UnderWay = Arc<Arc<()>>;
type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        size::chunk(self.guard.limits())
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        size::chunk(self.guard.limits())
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let allowed = self.allow(&request).and_then(|()| self.count());
        let (resolver, headers) = (self.resolver.clone(), self.guard.limits().headers);
        let pool = self.pool.clone().ok_or(Error::HttpRequestDenied);
        Box::new(async move {
            let under_way = allowed?;
            let (sent, done) = oneshot::channel();
            // Until its body is sent or given up, too: the connection stays open for that.
            let kept = under_way.clone();
            let request = request.map(|body| WasiBody::new(Watched { body, sent: Some(sent), _under_way: kept }));
            let response = pool?.send(&resolver, headers, request, options).await?;
            let response = response.map(|body| WasiBody::new(Held { body, _under_way: under_way }));
            // A server need not read a request to its end to answer it.
            let done = async move { done.await.unwrap_or(Ok(())) };
            Ok((response, Box::new(done) as Box<dyn Future<Output = Result<(), Error>> + Send>))
        })
    }

    // What goes wrong with a request is the component's to know, and how often it does is not the log's to suffer.

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> p2::types::ErrorCode {
        tracing::debug!(%error, "a request failed");
        p2::types::ErrorCode::HttpProtocolError
    }

    fn p3_error_from_hyper(&mut self, error: &hyper::Error) -> p3::types::ErrorCode {
        tracing::debug!(%error, "a request failed");
        p3::types::ErrorCode::HttpProtocolError
    }
}

/// A request's body, and who learns whether it was sent.
struct Watched {
    body: WasiBody,
    sent: Option<oneshot::Sender<Result<(), Error>>>,
    _under_way: UnderWay,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let ended = match polled {
            Poll::Ready(Some(Err(error))) => Err(error),
            Poll::Ready(None) => Ok(()),
            other => return other,
        };
        // The component's own error is its to know; the connection only has to end.
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
