//! `wasi:http` for components: its types, shared by a unit, and requests, held to each component's own `hosts`.

use std::sync::Arc;

use http::uri::Scheme;
use wasmtime_wasi_http::p2::bindings::http as p2;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks};
use wharf::limits::Guard;
use wharf::plugin::Provided;
use wharf::workload::manifest::{HostPattern, HostRule, Protocol};
use wharf::{Ctx, Limit, Link, Plugin, Scope, View};

use crate::client;

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

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Http>();
        let second = link.interface().version.as_ref().is_some_and(|version| version.minor == 2);
        if link.is("wasi:http/outgoing-handler") {
            client::link_outgoing(link, get)
        } else if link.is("wasi:http/client") {
            client::link_client(link, get)
        } else if second {
            let options = p2::types::LinkOptions::default();
            p2::types::add_to_linker_instance::<Ctx, WasiHttp>(&mut link.instance()?, &options, get)
        } else {
            client::link_types(link, get)
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
            State { ctx, hooks: Hooks { hosts: grants.wasi().hosts().clone(), guard: guard.clone(), open: None } }
        });
        WasiHttpCtxView { hooks: &mut state.hooks, table: scope.table, ctx: &mut state.ctx }
    }
}

struct Hooks {
    hosts: Arc<[HostRule]>,
    guard: Arc<Guard>,
    /// As many as there are clones of it, but for this one: the connections that are open. Made with the first.
    open: Option<Arc<()>>,
}

impl Hooks {
    /// Whether a request may go out; a host that it is only if it does not lead where wildcards may not.
    fn allow<B>(&self, request: &http::Request<B>) -> Result<Option<Wild>, Error> {
        let uri = request.uri();
        let protocol = if uri.scheme() == Some(&Scheme::HTTPS) { Protocol::Https } else { Protocol::Http };
        let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
        let port = uri.port_u16().or(protocol.default_port()).ok_or(Error::HttpRequestUriInvalid)?;
        let mut rules = self.hosts.iter().filter(|rule| rule.allows_name(protocol, host, port)).peekable();
        if rules.peek().is_some() {
            let wild = rules.all(|rule| matches!(rule.host, HostPattern::Suffix(_)));
            return Ok(wild.then(|| Wild { protocol, host: host.to_owned(), port, hosts: self.hosts.clone() }));
        }
        tracing::debug!(host, port, "request refused: no entry of `hosts` allows it");
        Err(Error::HttpRequestDenied)
    }
}

/// A host that nothing but wildcards allow.
struct Wild {
    protocol: Protocol,
    host: String,
    port: u16,
    hosts: Arc<[HostRule]>,
}

impl Wild {
    /// Refuses a host that leads where wildcards may not. It is looked up once more to connect, and could lead elsewhere then.
    async fn check(self) -> Result<(), Error> {
        let Self { protocol, host, port, hosts } = self;
        let mut found = tokio::net::lookup_host((host.as_str(), port)).await.map_err(Error::Connect)?;
        let may =
            |address| hosts.iter().any(|rule| rule.allows_name(protocol, &host, port) && rule.may_lead_to(address));
        if found.all(|address| may(address.ip())) { Ok(()) } else { Err(Error::DestinationIpProhibited) }
    }
}

impl Hooks {
    /// Counts one more connection until what this returns is dropped.
    fn open(&mut self) -> Result<Arc<()>, Error> {
        let open = self.open.get_or_insert_default();
        if Arc::strong_count(open) > self.guard.limits().connections as usize {
            self.guard.refuse(Limit::Connections);
            return Err(Error::ConnectionLimitReached);
        }
        Ok(open.clone())
    }
}

type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let open = self.allow(&request).and_then(|wild| Ok((wild, self.open()?)));
        Box::new(async move {
            let (wild, open) = open?;
            if let Some(wild) = wild {
                wild.check().await?;
            }
            let (response, io) = wasmtime_wasi_http::default_send_request(request, options).await?;
            let io: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(async move {
                let done = io.await;
                drop(open);
                done
            });
            Ok((response.map(http_body_util::BodyExt::boxed_unsync), io))
        })
    }
}
