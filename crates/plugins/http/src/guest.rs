//! Request → a component's instance → response.
//!
//! The instance runs inside the connection's own task: nothing is spawned and nothing changes threads for a request. The
//! [body](crate::body) goes on driving it while the response streams.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt as _;
use futures_util::future::Either;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::bindings::{ProxyPre, http::types::Scheme};
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{WasiBody, WasiHttpCtxView, p3};
use wharf::pool::CallGuard;
use wharf::{Ctx, Entry, View as _};

use crate::body::{self, Driving, ResponseBody};
use crate::outbound::Http;

/// A component that answers requests.
pub(crate) struct Guest {
    entry: Arc<Entry>,
    handler: Handler,
}

enum Handler {
    P2(ProxyPre<Ctx>),
    P3(ServicePre<Ctx>),
}

/// What drives an instance: done when the component is, with an error if it trapped.
pub(crate) type Drive = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send>>;

type Answer = oneshot::Sender<Result<Response<WasiBody>, String>>;

impl Guest {
    /// The handler that an entry exports, the newer one if it has both.
    pub(crate) fn new(entry: Arc<Entry>) -> wasmtime::Result<Self> {
        let handler = match ServicePre::new(entry.pre().clone()) {
            Ok(pre) => Handler::P3(pre),
            Err(_) => Handler::P2(ProxyPre::new(entry.pre().clone())?),
        };
        Ok(Self { entry, handler })
    }

    /// Answers a request. What goes wrong in the component is logged and becomes 502; it never becomes an error of the
    /// connection, unless the response had begun.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>, tls: bool) -> Response<ResponseBody> {
        let under_way = self.entry.call_guard();
        let head = request.method() == http::Method::HEAD;
        let request = request.map(|body| body.map_err(wasmtime_wasi_http::Error::from).boxed_unsync());
        let (answer, answered) = oneshot::channel();
        let drive: Drive = match &self.handler {
            Handler::P2(_) => Box::pin(drive_p2(self.clone(), request, tls, answer)),
            Handler::P3(_) => Box::pin(drive_p3(self.clone(), with_authority(request, tls), answer)),
        };
        let mut answered = pin!(answered.fuse());
        // The component first: it is what makes the answer.
        let (answer, driving) = match futures_util::future::select(drive, &mut answered).await {
            Either::Left((Ok(()), _)) => (answered.now_or_never(), Driving::Done),
            Either::Left((Err(error), _)) => match answered.now_or_never() {
                // It answered, and trapped after that: the answer stands as far as it goes.
                Some(Ok(answer)) => {
                    self.log_trap(&error);
                    (Some(Ok(answer)), Driving::Failed)
                }
                _ => return self.failed(&format!("{error:#}")),
            },
            Either::Right((answer, drive)) => (Some(answer), Driving::On(drive)),
        };
        let response = match answer {
            Some(Ok(Ok(response))) => response,
            Some(Ok(Err(code))) => return self.failed(&format!("it answered with the error {code}")),
            _ => return self.failed("it ended without an answer"),
        };
        self.stream(response, driving, head, under_way).await
    }

    /// Turns the component's response into the connection's. A response that is whole by now goes out in one piece.
    async fn stream(
        self: Arc<Self>,
        response: Response<WasiBody>,
        driving: Driving,
        head: bool,
        under_way: CallGuard,
    ) -> Response<ResponseBody> {
        let (parts, body) = response.into_parts();
        let bodiless = head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = parts.headers.get(http::header::CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse().ok());
        let mut streaming = body::Streaming::new(self, body, driving, length, under_way);
        if bodiless {
            // Nobody reads this body, and the component may still want to write it.
            tokio::spawn(streaming.finish());
            return Response::from_parts(parts, ResponseBody::Empty);
        }
        let whole = poll_fn(|cx| Poll::Ready(streaming.take_whole(cx))).await;
        let body = match whole {
            Some(body) => body,
            None => ResponseBody::Streaming(Box::new(streaming)),
        };
        Response::from_parts(parts, body)
    }

    fn failed(&self, why: &str) -> Response<ResponseBody> {
        self.log(why);
        plain(StatusCode::BAD_GATEWAY, "the component failed to answer\n")
    }

    pub(crate) fn log_trap(&self, error: &wasmtime::Error) {
        self.log(&format!("{error:#}"));
    }

    fn log(&self, why: &str) {
        let grants = self.entry.grants();
        tracing::error!(workload = grants.workload(), component = %grants.component(), "the component failed: {why}");
    }
}

/// A response of the host's own.
pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(text));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// `wasi:http` as the entry sees it.
fn view(ctx: &mut Ctx) -> WasiHttpCtxView<'_> {
    let slot = ctx.entry_slot();
    Http::view(ctx.scope(slot))
}

/// The request with its scheme and authority, which HTTP/1.1 has elsewhere: WASI 0.3 asks its URI for them.
fn with_authority(request: Request<WasiBody>, tls: bool) -> Request<WasiBody> {
    let (mut parts, body) = request.into_parts();
    if parts.uri.authority().is_none()
        && let Some(host) = parts.headers.get(http::header::HOST)
    {
        let mut uri = parts.uri.clone().into_parts();
        uri.scheme = Some(if tls { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP });
        uri.authority = http::uri::Authority::try_from(host.as_bytes()).ok();
        // Without an authority it is no URI, and the component sees what there is.
        if let Ok(uri) = http::Uri::from_parts(uri) {
            parts.uri = uri;
        }
    }
    Request::from_parts(parts, body)
}

async fn drive_p2(guest: Arc<Guest>, request: Request<WasiBody>, tls: bool, answer: Answer) -> wasmtime::Result<()> {
    let Handler::P2(pre) = &guest.handler else { return Ok(()) };
    let mut store = guest.entry.store();
    let scheme = if tls { Scheme::Https } else { Scheme::Http };
    let mut http = view(store.data_mut());
    let request = http.new_incoming_request(scheme, request)?;
    let out = http.new_response_outparam_from_callback(move |response| {
        // The connection may be gone.
        answer.send(response.map_err(|code| format!("{code:?}"))).ok();
    })?;
    let proxy = pre.instantiate_async(&mut store).await?;
    proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
}

async fn drive_p3(guest: Arc<Guest>, request: Request<WasiBody>, answer: Answer) -> wasmtime::Result<()> {
    let Handler::P3(pre) = &guest.handler else { return Ok(()) };
    let mut store = guest.entry.store();
    let service = pre.instantiate_async(&mut store).await?;
    let (request, received) = p3::Request::from_http(view(store.data_mut()).hooks, request);
    let request = view(store.data_mut()).table.push(request)?;
    let ran = store.run_concurrent(async move |accessor| {
        let response = match service.wasi_http_handler().call_handle(accessor, request).await? {
            Ok(response) => response,
            Err(code) => {
                answer.send(Err(format!("{code:?}"))).ok();
                return Ok(());
            }
        };
        let response = accessor.with(|mut store| {
            let response = view(store.get()).table.delete(response)?;
            response.into_http_with_getter(&mut store, received, view)
        })?;
        let (parts, body) = response.into_parts();
        let (body, ended) = body::watch(body);
        answer.send(Ok(Response::from_parts(parts, body))).ok();
        // A body may come from the host, with nobody in the component at work on it: the store stays until it is through.
        ended.await;
        // The component may go on after its answer with what it has to do still.
        poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
        Ok(())
    });
    ran.await?
}
