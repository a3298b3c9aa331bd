//! The calls of a component's handler: one of WASI 0.2, one of WASI 0.3 in an instance of its own, and one in the instance of a
//! service.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;
use http::{Request, Response};
use tokio::sync::oneshot;
use wasmtime::component::{Accessor, AccessorTask};
use wasmtime_wasi_http::p2::bindings::{Proxy, http::types::Scheme};
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{WasiBody, WasiHttpCtxView, p3};
use wharf::run::admission::CallPermit;
use wharf::run::policy::Policy;
use wharf::run::shared::JobOutcome;
use wharf::{Call, Instantiated, StoreData, View as _};

use super::{HandlerResult, Indices, ProxyHandler};
use crate::incoming::DrainedBody;
use crate::notify::notify_end;
use crate::outbound::Http;

fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The entry component's view of `wasi:http`.
fn view(data: &mut StoreData) -> WasiHttpCtxView<'_> {
    let slot = data.entry_slot();
    Http::view(data.scope(slot))
}

/// A call of `wasi:http/incoming-handler@0.2`.
pub(super) struct HandleP2 {
    pub(super) handler: Arc<ProxyHandler>,
    pub(super) request: Request<WasiBody>,
    pub(super) tls: bool,
    pub(super) response_tx: oneshot::Sender<HandlerResult>,
}

impl Call for HandleP2 {
    type Output = ();

    async fn call(self, instance: &mut Instantiated) -> wasmtime::Result<()> {
        let Self { handler, request, tls, response_tx } = self;
        let Indices::P2(indices) = &handler.indices else { return Ok(()) };
        let scheme = if tls { Scheme::Https } else { Scheme::Http };
        let mut http = view(instance.store.data_mut());
        let request = http.new_incoming_request(scheme, request)?;
        let out = http.new_response_outparam_from_callback(move |response| {
            // The receiver is gone if the client has disconnected.
            response_tx.send(response.map_err(|code| format!("{code:?}"))).ok();
        })?;
        if matches!(handler.entry.policy(), Policy::Reuse { .. }) {
            let proxy = instance.bindings::<Proxy>(|store, component| indices.load(store, component))?;
            return proxy.wasi_http_incoming_handler().call_handle(&mut instance.store, request, out).await;
        }
        // An instance that serves one request keeps no bindings.
        let component = instance.component()?;
        let proxy = indices.load(&mut instance.store, &component)?;
        proxy.wasi_http_incoming_handler().call_handle(&mut instance.store, request, out).await
    }
}

/// A call of `wasi:http/handler@0.3` in an instance that serves this request alone.
pub(super) struct HandleP3 {
    pub(super) handler: Arc<ProxyHandler>,
    pub(super) request: Request<WasiBody>,
    pub(super) response_tx: oneshot::Sender<HandlerResult>,
}

impl Call for HandleP3 {
    type Output = ();

    async fn call(self, instance: &mut Instantiated) -> wasmtime::Result<()> {
        let Self { handler, request, response_tx } = self;
        let Indices::P3(indices) = &handler.indices else { return Ok(()) };
        let component = instance.component()?;
        let service = indices.load(&mut instance.store, &component)?;
        let run = instance.store.run_concurrent(async move |accessor| {
            handle_p3(accessor, &service, request, response_tx, Disconnect::Abandon).await?;
            // The component may continue with work of its own after its response.
            poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            Ok(())
        });
        run.await.flatten()
    }
}

/// Handles one request in the instance of a service, until the last byte of its response has been read. When the caller is
/// gone, or its time is over, the component goes on by itself: the engine ends an instance whose call is dropped before it
/// starts, and with it the service.
pub(super) async fn handle_in_service(
    accessor: &Accessor<StoreData>,
    service: Arc<Service>,
    request: Request<WasiBody>,
    response_tx: oneshot::Sender<HandlerResult>,
    after_response: Duration,
    permit: Arc<CallPermit>,
) -> wasmtime::Result<JobOutcome> {
    let (result_tx, result_rx) = oneshot::channel();
    let (done_tx, done_rx) = oneshot::channel();
    accessor.spawn(Handling { service, request, result_tx, after_response, _done_tx: done_tx, _permit: permit })?;
    // Dropped with this job, the sender says that the call has ended.
    if let Ok(result) = result_rx.await {
        response_tx.send(result).ok();
    }
    // The sender is dropped at the end of the task.
    done_rx.await.ok();
    Ok(JobOutcome::Completed)
}

/// What to do with a call whose client disconnects before the response.
#[derive(Clone, Copy)]
pub(super) enum Disconnect {
    /// The call ends.
    Abandon,
    /// The call goes on. Its response is read to its end, as long as this, because a component that writes to a stream that
    /// was dropped may trap, and end its instance with all calls.
    Continue(Duration),
}

/// A request that a service handles.
struct Handling {
    service: Arc<Service>,
    request: Request<WasiBody>,
    result_tx: oneshot::Sender<HandlerResult>,
    after_response: Duration,
    _done_tx: oneshot::Sender<()>,
    /// It counts against `concurrency` until the component has ended it.
    _permit: Arc<CallPermit>,
}

impl AccessorTask<StoreData> for Handling {
    async fn run(self, accessor: &Accessor<StoreData>) -> wasmtime::Result<()> {
        let Self { service, request, result_tx, after_response, _done_tx, _permit } = self;
        handle_p3(accessor, &service, request, result_tx, Disconnect::Continue(after_response)).await?;
        Ok(())
    }
}

/// Handles one request, until the last byte of its response has been read.
pub(super) async fn handle_p3(
    accessor: &Accessor<StoreData>,
    service: &Service,
    request: Request<WasiBody>,
    mut response_tx: oneshot::Sender<HandlerResult>,
    on_disconnect: Disconnect,
) -> wasmtime::Result<JobOutcome> {
    // These hooks only decide which headers are forbidden; they grant nothing to the component.
    let hooks = wasmtime_wasi_http::default_hooks();
    let (request, received) = p3::Request::from_http(hooks, request);
    let request = accessor.with(|mut store| view(store.get()).table.push(request))?;
    let call = pin!(service.wasi_http_handler().call_handle(accessor, request));
    let disconnected = async {
        match on_disconnect {
            Disconnect::Abandon => response_tx.closed().await,
            Disconnect::Continue(_) => std::future::pending().await,
        }
    };
    let response = match futures_util::future::select(call, pin!(disconnected)).await {
        Either::Left((response, _)) => response?,
        Either::Right(_) => return Ok(JobOutcome::Abandoned),
    };
    let response = match response {
        Ok(response) => response,
        Err(code) => {
            response_tx.send(Err(format!("{code:?}"))).ok();
            return Ok(JobOutcome::Completed);
        }
    };
    let response = accessor.with(|mut store| {
        let response = view(store.get()).table.delete(response)?;
        response.into_http_with_getter(&mut store, received, view)
    })?;
    let (parts, body) = response.into_parts();
    let (body, ended) = notify_end(body, content_length(&parts.headers));
    let body = match on_disconnect {
        Disconnect::Abandon => body,
        Disconnect::Continue(limit) => WasiBody::new(DrainedBody::new(body, limit)),
    };
    response_tx.send(Ok(Response::from_parts(parts, body))).ok();
    // The component may have returned a body that the host produces, and then has no task at work. The store must live
    // until that body ends.
    Ok(if ended.await { JobOutcome::Completed } else { JobOutcome::Abandoned })
}
