//! Request → a component's instance → response.
//!
//! The instance runs inside the connection's own task: nothing is spawned and nothing changes threads for a request that
//! is soon done. One whose answer streams goes on in a task of its own, and the [body](crate::body) reads what it writes.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::Either;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::oneshot::{self, error::TryRecvError};
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyIndices, http::types::Scheme};
use wasmtime_wasi_http::p3::bindings::{Service, ServiceIndices};
use wasmtime_wasi_http::{WasiBody, WasiHttpCtxView, p3};
use wharf::meter::Meter;
use wharf::policy::Policy;
use wharf::pool::shared::{Bindings, Done, Job};
use wharf::pool::{Busy, CallGuard};
use wharf::{Ctx, Driven, Ended, Entry, Limit, View as _};

use crate::body::{self, Driving, ResponseBody, Whole};
use crate::frame::{self, Content};
use crate::outbound::Http;
use crate::upload::Upload;

/// A component that answers requests.
pub(crate) struct Guest {
    entry: Arc<Entry>,
    handler: Handler,
}

enum Handler {
    P2(ProxyIndices),
    P3(ServiceIndices),
}

/// What drives an instance: done when the component is, with an error if it was ended.
pub(crate) type Drive = Driven<()>;

/// What a component answers, or why it did not.
type Answered = Result<Response<WasiBody>, String>;

impl Guest {
    /// The handler that an entry exports, the newer one if it has both.
    pub(crate) fn new(entry: Arc<Entry>) -> wasmtime::Result<Self> {
        let handler = match ServiceIndices::new(entry.pre()) {
            Ok(indices) => Handler::P3(indices),
            Err(_) => Handler::P2(ProxyIndices::new(entry.pre())?),
        };
        Ok(Self { entry, handler })
    }

    /// Lets a request in.
    pub(crate) async fn admit(&self) -> Result<CallGuard, Busy> {
        self.entry.admit().await
    }

    /// Answers a request that was let in. What goes wrong in the component is logged and becomes 502, or 504 when its time
    /// was up; it never becomes an error of the connection, unless the response had begun.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        tls: bool,
        under_way: CallGuard,
        body_timeout: Duration,
    ) -> Response<ResponseBody> {
        if let Some(refused) = self.too_large(&request) {
            return refused;
        }
        let method = request.method().clone();
        let request = request.map(|body| self.incoming(body, body_timeout));
        let (answer, answered) = oneshot::channel();
        match (&self.handler, self.entry.policy()) {
            (Handler::P3(_), Policy::Reuse { .. }) => {
                self.answer_shared(with_authority(request, tls), answer, answered, method, under_way).await
            }
            (Handler::P3(_), _) => {
                let meter = self.entry.meter();
                let work = drive_p3(self.clone(), meter.clone(), with_authority(request, tls), answer);
                let drive = self.entry.drive(meter.clone(), work);
                self.answer_driven(drive, meter, answered, method, under_way).await
            }
            (Handler::P2(_), _) => {
                let meter = self.entry.meter();
                let work = drive_p2(self.clone(), meter.clone(), request, tls, answer);
                let drive = self.entry.drive(meter.clone(), work);
                self.answer_driven(drive, meter, answered, method, under_way).await
            }
        }
    }

    /// Answers with an instance that is this request's alone.
    async fn answer_driven(
        self: Arc<Self>,
        mut drive: Drive,
        meter: Arc<Meter>,
        mut answered: oneshot::Receiver<Answered>,
        method: Method,
        under_way: CallGuard,
    ) -> Response<ResponseBody> {
        let first = poll_fn(|cx| Poll::Ready(drive.poll_now(cx))).await;
        let (done, answer) = match (first, answered.try_recv()) {
            (Poll::Ready(done), answer) => (Some(done), answer.ok()),
            (Poll::Pending, Ok(answer)) => (None, Some(answer)),
            // Nothing will be answered any more; why not is known when it has ended.
            (Poll::Pending, Err(TryRecvError::Closed)) => (Some((&mut drive).await), None),
            // The component first: it is what makes the answer.
            (Poll::Pending, Err(TryRecvError::Empty)) => {
                match futures_util::future::select(&mut drive, &mut answered).await {
                    Either::Left((done, _)) => (Some(done), answered.try_recv().ok()),
                    Either::Right((Ok(answer), _)) => (None, Some(answer)),
                    Either::Right((Err(_), _)) => (Some((&mut drive).await), None),
                }
            }
        };
        let driving = match (done, &answer) {
            (None, _) => Driving::On(drive, meter),
            (Some(Ok(())), _) => Driving::Done,
            // It answered, and trapped after that: the answer stands as far as it goes.
            (Some(Err(ended)), Some(Ok(_))) => {
                self.log(&ended.to_string());
                Driving::Failed
            }
            (Some(Err(ended)), _) => return self.ended(&ended),
        };
        match answer {
            Some(Ok(response)) => self.stream(response, driving, &method, Arc::new(under_way)).await,
            Some(Err(code)) => self.failed(&format!("it answered with the error {code}")),
            None => self.failed("it ended without an answer"),
        }
    }

    /// Answers with an instance that may serve others at the same time. It is driven here while that needs no waiting.
    async fn answer_shared(
        self: Arc<Self>,
        request: Request<WasiBody>,
        answer: oneshot::Sender<Answered>,
        mut answered: oneshot::Receiver<Answered>,
        method: Method,
        under_way: CallGuard,
    ) -> Response<ResponseBody> {
        let job: Job = Box::new(move |accessor, bindings| Box::pin(shared_p3(accessor, bindings, request, answer)));
        let guest = self.clone();
        let load = move |store: &mut wasmtime::Store<Ctx>, instance: &wasmtime::component::Instance| {
            let Handler::P3(indices) = &guest.handler else { wasmtime::bail!("not a handler of WASI 0.3") };
            Ok(Arc::new(indices.load(store, instance)?) as Bindings)
        };
        let (mut lead, submitted) = self.entry.submit(load, job, under_way);
        if let Some(first) = &mut lead {
            match poll_fn(|cx| Poll::Ready(first.poll_now(cx))).await {
                Poll::Ready(Err(ended)) => return self.ended(&ended),
                Poll::Ready(Ok(())) => lead = None,
                // Its body is what it waits for, perhaps.
                Poll::Pending => {}
            }
        }
        let answered = match answered.try_recv() {
            Err(TryRecvError::Empty) => {
                drop(lead.take());
                answered.await
            }
            Ok(answer) => Ok(answer),
            Err(TryRecvError::Closed) => return self.failed("it ended without an answer"),
        };
        match answered {
            Ok(Ok(response)) => {
                let call = submitted.call().clone();
                self.stream(response, Driving::Shared(lead, submitted), &method, call).await
            }
            Ok(Err(code)) => self.failed(&format!("it answered with the error {code}")),
            // Why the instance ended is logged where it was driven.
            Err(_) => refusal(submitted.ended().as_ref()),
        }
    }

    /// Turns the component's response into the connection's. A response that is whole by now goes out in one piece.
    async fn stream(
        self: Arc<Self>,
        response: Response<WasiBody>,
        driving: Driving,
        method: &Method,
        under_way: Arc<CallGuard>,
    ) -> Response<ResponseBody> {
        let (mut parts, body) = response.into_parts();
        let limits = self.entry.limits();
        if frame::size(&parts.headers) > limits.headers {
            self.entry.guard().refuse(Limit::Headers);
            return self.failed("the headers of its response are larger than its `headers`");
        }
        let content = match frame::content(method, &mut parts) {
            Ok(content) => content,
            Err(malformed) => return self.failed(&malformed.to_string()),
        };
        if matches!(content, Content::Sized(length) if length > limits.response_body) {
            self.entry.guard().refuse(Limit::ResponseBody);
            return self.failed("the body of its response is larger than its `response-body`");
        }
        let mut streaming = body::Streaming::new(self, body, driving, content, under_way);
        if content == Content::None {
            // The client gets none of this body, and the component may still want to write it.
            streaming.delivered();
            tokio::spawn(streaming.on_its_own().finish());
            return Response::from_parts(parts, ResponseBody::empty());
        }
        let whole = poll_fn(|cx| Poll::Ready(streaming.take_whole(cx))).await;
        let body = match whole {
            Whole::Yes(body) => body,
            Whole::NotYet => ResponseBody::streaming(streaming.on_its_own()),
            // Nothing of the answer is out yet, so the client can be told.
            Whole::Never => return plain(StatusCode::BAD_GATEWAY, "the component failed to answer\n"),
        };
        Response::from_parts(parts, body)
    }

    /// A refusal, if the request is larger than the limits allow as far as can be seen.
    fn too_large(&self, request: &Request<Incoming>) -> Option<Response<ResponseBody>> {
        let limits = self.entry.limits();
        let (limit, status, text) = if frame::size(request.headers()) > limits.headers {
            (Limit::Headers, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too large\n")
        } else if request.body().size_hint().lower() > limits.request_body {
            (Limit::RequestBody, StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n")
        } else {
            return None;
        };
        self.entry.guard().refuse(limit);
        Some(plain(status, text))
    }

    /// The request's body as the component reads it.
    fn incoming(&self, body: Incoming, timeout: Duration) -> WasiBody {
        let body = body.map_err(wasmtime_wasi_http::Error::from);
        if body.is_end_stream() {
            return body.boxed_unsync();
        }
        WasiBody::new(Upload::new(body, self.entry.guard().clone(), timeout))
    }

    pub(crate) fn guard(&self) -> &Arc<wharf::limits::Guard> {
        self.entry.guard()
    }

    fn ended(&self, ended: &Ended) -> Response<ResponseBody> {
        self.log(&ended.to_string());
        refusal(Some(ended))
    }

    fn failed(&self, why: &str) -> Response<ResponseBody> {
        self.log(why);
        plain(StatusCode::BAD_GATEWAY, "the component failed to answer\n")
    }

    pub(crate) fn log(&self, why: &str) {
        self.entry.guard().failed(why);
    }
}

/// A response of the host's own.
pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// A refusal for now.
pub(crate) fn later(text: &'static str) -> Response<ResponseBody> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, text);
    response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// What the client is told of a component that ended without an answer.
fn refusal(ended: Option<&Ended>) -> Response<ResponseBody> {
    match ended {
        Some(Ended::Time(_) | Ended::Cpu(_)) => plain(StatusCode::GATEWAY_TIMEOUT, "the component took too long\n"),
        Some(Ended::NoInstance) => later("the host has no more instances for now\n"),
        Some(Ended::Stopped) => later("the workload was stopped\n"),
        Some(Ended::Trap(_) | Ended::Memory(_) | Ended::AfterResponse(_)) | None => {
            plain(StatusCode::BAD_GATEWAY, "the component failed to answer\n")
        }
    }
}

fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
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

async fn drive_p2(
    guest: Arc<Guest>,
    meter: Arc<Meter>,
    request: Request<WasiBody>,
    tls: bool,
    answer: oneshot::Sender<Answered>,
) -> wasmtime::Result<()> {
    let Handler::P2(indices) = &guest.handler else { return Ok(()) };
    let mut made = guest.entry.instance(&meter).await?;
    let scheme = if tls { Scheme::Https } else { Scheme::Http };
    let mut http = view(made.store.data_mut());
    let request = http.new_incoming_request(scheme, request)?;
    let out = http.new_response_outparam_from_callback(move |response| {
        // The connection may be gone.
        answer.send(response.map_err(|code| format!("{code:?}"))).ok();
    })?;
    if !matches!(guest.entry.policy(), Policy::Reuse { .. }) {
        let proxy = indices.load(&mut made.store, &made.instance)?;
        let ran = proxy.wasi_http_incoming_handler().call_handle(&mut made.store, request, out).await;
        return guest.entry.dumped(&mut made.store, ran);
    }
    let kept = match &made.kept {
        Some(kept) => kept.clone(),
        None => made.kept.insert(Arc::new(indices.load(&mut made.store, &made.instance)?)).clone(),
    };
    let Some(proxy) = kept.downcast_ref::<Proxy>() else { wasmtime::bail!("the instance belongs to another caller") };
    let ran = proxy.wasi_http_incoming_handler().call_handle(&mut made.store, request, out).await;
    guest.entry.dumped(&mut made.store, ran)?;
    guest.entry.give_back(made);
    Ok(())
}

async fn drive_p3(
    guest: Arc<Guest>,
    meter: Arc<Meter>,
    request: Request<WasiBody>,
    answer: oneshot::Sender<Answered>,
) -> wasmtime::Result<()> {
    let Handler::P3(indices) = &guest.handler else { return Ok(()) };
    let mut made = guest.entry.instance(&meter).await?;
    let service = indices.load(&mut made.store, &made.instance)?;
    let ran = made.store.run_concurrent(async move |accessor| {
        handle_p3(accessor, &service, request, answer).await?;
        // The component may go on after its answer with what it has to do still.
        poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
        Ok(())
    });
    let ran = ran.await.flatten();
    guest.entry.dumped(&mut made.store, ran)
}

async fn shared_p3(
    accessor: &Accessor<Ctx>,
    bindings: &Bindings,
    request: Request<WasiBody>,
    answer: oneshot::Sender<Answered>,
) -> wasmtime::Result<Done> {
    let Some(service) = bindings.downcast_ref::<Service>() else {
        wasmtime::bail!("the instance belongs to another caller")
    };
    handle_p3(accessor, service, request, answer).await
}

/// One request, until the last byte of its answer was read.
async fn handle_p3(
    accessor: &Accessor<Ctx>,
    service: &Service,
    request: Request<WasiBody>,
    mut answer: oneshot::Sender<Answered>,
) -> wasmtime::Result<Done> {
    // Asked which headers are forbidden, and for nothing that the component is granted.
    let hooks = wasmtime_wasi_http::default_hooks();
    let (request, received) = p3::Request::from_http(hooks, request);
    let request = accessor.with(|mut store| view(store.get()).table.push(request))?;
    let call = pin!(service.wasi_http_handler().call_handle(accessor, request));
    let response = match futures_util::future::select(call, pin!(answer.closed())).await {
        Either::Left((response, _)) => response?,
        Either::Right(_) => return Ok(Done::Abandoned),
    };
    let response = match response {
        Ok(response) => response,
        Err(code) => {
            answer.send(Err(format!("{code:?}"))).ok();
            return Ok(Done::Well);
        }
    };
    let response = accessor.with(|mut store| {
        let response = view(store.get()).table.delete(response)?;
        response.into_http_with_getter(&mut store, received, view)
    })?;
    let (parts, body) = response.into_parts();
    let (body, ended) = body::watch(body, content_length(&parts.headers));
    answer.send(Ok(Response::from_parts(parts, body))).ok();
    // A body may come from the host, with nobody in the component at work on it: the store stays until it is through.
    Ok(if ended.await { Done::Well } else { Done::Abandoned })
}
