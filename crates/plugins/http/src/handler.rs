//! Calls a component's HTTP handler: a request in, a response out.
//!
//! The instance runs inside the connection's own task: a request that completes soon spawns no task and changes no
//! thread. A component that streams its response continues in a task of its own, and the [body](crate::body) reads what
//! it writes.

mod call;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::Either;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::oneshot::{self, error::TryRecvError};
use wasmtime::component::Instance;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::p2::bindings::ProxyIndices;
use wasmtime_wasi_http::p3::bindings::{Service, ServiceIndices};
use wharf::run::admission::{AdmissionError, CallPermit};
use wharf::run::meter::Meter;
use wharf::run::policy::Policy;
use wharf::run::shared::Job;
use wharf::{Entry, Execution, Limit, Termination};

use crate::body::{Buffered, HandlerState, ResponseBody, StreamingBody};
use crate::frame::{self, Content};
use crate::incoming::RequestBody;
use crate::metrics::Requests;
use call::{Disconnect, HandleP2, HandleP3, handle_in_service, handle_p3};

/// A component that exports an HTTP handler: `wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`.
pub(crate) struct ProxyHandler {
    entry: Arc<Entry>,
    indices: Indices,
    requests: Requests,
}

/// Where the handler is among the component's exports.
enum Indices {
    P2(ProxyIndices),
    P3(ServiceIndices),
}

/// A component's response, or the error code that it returned instead.
type HandlerResult = Result<Response<WasiBody>, String>;

impl ProxyHandler {
    /// The requests that it answered.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Finds the handler that an entry exports, that of WASI 0.3 if it exports both.
    pub(crate) fn new(entry: Arc<Entry>) -> wasmtime::Result<Self> {
        let Some(pre) = entry.pre() else { wasmtime::bail!("a program of WASI 0.1 exports no HTTP handler") };
        let indices = match ServiceIndices::new(pre) {
            Ok(indices) => Indices::P3(indices),
            Err(_) => Indices::P2(ProxyIndices::new(pre)?),
        };
        Ok(Self { entry, indices, requests: Requests::default() })
    }

    /// Counts a request against `concurrency`, and waits for a free place if there is none.
    ///
    /// # Errors
    /// [`AdmissionError`] when too many requests wait already, or the workload has stopped.
    pub(crate) async fn admit(&self) -> Result<CallPermit, AdmissionError> {
        self.entry.admit().await
    }

    /// Handles an admitted request. A failure of the component is logged and becomes 502, or 504 at a time limit. It
    /// breaks the connection only if the response has begun.
    pub(crate) async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        tls: bool,
        call: CallPermit,
        body_timeout: Duration,
    ) -> Response<ResponseBody> {
        if let Some(rejection) = self.reject_oversized(&request) {
            return rejection;
        }
        let method = request.method().clone();
        let request = request.map(|body| self.request_body(body, body_timeout));
        let (response_tx, response_rx) = oneshot::channel();
        match (&self.indices, self.entry.policy()) {
            (Indices::P3(_), Policy::Reuse { .. } | Policy::Service) => {
                self.handle_shared(with_authority(request, tls), response_tx, response_rx, method, call).await
            }
            (Indices::P3(_), _) => {
                let meter = self.entry.meter();
                let request = with_authority(request, tls);
                let execution = self.entry.start(&meter, HandleP3 { handler: self.clone(), request, response_tx });
                self.handle_exclusive(execution, meter, response_rx, method, call).await
            }
            (Indices::P2(_), _) => {
                let meter = self.entry.meter();
                let execution = self.entry.start(&meter, HandleP2 { handler: self.clone(), request, tls, response_tx });
                self.handle_exclusive(execution, meter, response_rx, method, call).await
            }
        }
    }

    /// Handles a request with an instance that serves this request alone.
    async fn handle_exclusive(
        self: Arc<Self>,
        mut execution: Execution<()>,
        meter: Arc<Meter>,
        mut response_rx: oneshot::Receiver<HandlerResult>,
        method: Method,
        call: CallPermit,
    ) -> Response<ResponseBody> {
        let first = poll_fn(|cx| Poll::Ready(execution.poll_untimed(cx))).await;
        let (done, result) = match (first, response_rx.try_recv()) {
            (Poll::Ready(done), result) => (Some(done), result.ok()),
            (Poll::Pending, Ok(result)) => (None, Some(result)),
            // The component has dropped its response sender. The reason is known when it has ended.
            (Poll::Pending, Err(TryRecvError::Closed)) => (Some((&mut execution).await), None),
            // Poll the component first: its progress is what produces the response.
            (Poll::Pending, Err(TryRecvError::Empty)) => {
                match futures_util::future::select(&mut execution, &mut response_rx).await {
                    Either::Left((done, _)) => (Some(done), response_rx.try_recv().ok()),
                    Either::Right((Ok(result), _)) => (None, Some(result)),
                    Either::Right((Err(_), _)) => (Some((&mut execution).await), None),
                }
            }
        };
        let state = match (done, &result) {
            (None, _) => HandlerState::Running(execution, meter),
            (Some(Ok(())), _) => HandlerState::Done,
            // The component trapped after it returned a response: the response is sent as far as it was written.
            (Some(Err(ended)), Some(Ok(_))) => {
                self.log(&ended.to_string());
                HandlerState::Failed
            }
            (Some(Err(ended)), _) => return self.end_response(&ended),
        };
        match result {
            Some(Ok(response)) => self.respond(response, state, &method, Arc::new(call)).await,
            Some(Err(code)) => self.bad_gateway(&format!("the handler returned the error `{code}`")),
            None => self.bad_gateway("the handler returned without a response"),
        }
    }

    /// Handles a request with an instance that may serve others at the same time. This task drives the instance until
    /// it first waits.
    async fn handle_shared(
        self: Arc<Self>,
        request: Request<WasiBody>,
        response_tx: oneshot::Sender<HandlerResult>,
        mut response_rx: oneshot::Receiver<HandlerResult>,
        method: Method,
        call: CallPermit,
    ) -> Response<ResponseBody> {
        let (handler, call) = (self.clone(), Arc::new(call));
        let held = call.clone();
        let job: Job = Box::new(move |accessor, bindings| {
            Box::pin(async move {
                let load = |instance: &Instance| {
                    let Indices::P3(indices) = &handler.indices else { wasmtime::bail!("not a handler of WASI 0.3") };
                    accessor.with(|mut store| indices.load(&mut store, instance))
                };
                let service = bindings.get_or_load::<Service>(load)?;
                if handler.entry.policy() == Policy::Service {
                    let after_response = handler.entry.limits().after_response;
                    return handle_in_service(accessor, service, request, response_tx, after_response, held).await;
                }
                handle_p3(accessor, &service, request, response_tx, Disconnect::Abandon).await
            })
        });
        let (mut execution, shared) = match self.entry.submit(job, call).await {
            Ok(submitted) => submitted,
            Err(error) => return unavailable(refusal(error)),
        };
        if let Some(first) = &mut execution {
            match poll_fn(|cx| Poll::Ready(first.poll_untimed(cx))).await {
                Poll::Ready(Err(ended)) => return self.end_response(&ended),
                Poll::Ready(Ok(())) => execution = None,
                // It may wait for its response body to be read, which happens below.
                Poll::Pending => {}
            }
        }
        let received = match response_rx.try_recv() {
            Err(TryRecvError::Empty) => {
                drop(execution.take());
                response_rx.await
            }
            Ok(result) => Ok(result),
            Err(TryRecvError::Closed) => return self.bad_gateway("the handler returned without a response"),
        };
        match received {
            Ok(Ok(response)) => {
                let call = shared.permit().clone();
                self.respond(response, HandlerState::Shared(execution, shared), &method, call).await
            }
            Ok(Err(code)) => self.bad_gateway(&format!("the handler returned the error `{code}`")),
            // The task that drove the instance has logged why it ended.
            Err(_) => response_for_ended(shared.interruption().as_ref()),
        }
    }

    /// Turns the component's response into the connection's. A response whose body is complete is sent in one piece.
    async fn respond(
        self: Arc<Self>,
        response: Response<WasiBody>,
        state: HandlerState,
        method: &Method,
        call: Arc<CallPermit>,
    ) -> Response<ResponseBody> {
        let (mut parts, body) = response.into_parts();
        let limits = self.entry.limits();
        if frame::header_list_size(&parts.headers) > limits.headers {
            self.entry.tracker().refuse(Limit::Headers);
            return self.bad_gateway("limit reached: the response headers are larger than `headers`");
        }
        let content = match frame::response_content(method, &mut parts) {
            Ok(content) => content,
            Err(malformed) => return self.bad_gateway(&malformed.to_string()),
        };
        if matches!(content, Content::Sized(length) if length > limits.response_body) {
            self.entry.tracker().refuse(Limit::ResponseBody);
            return self.bad_gateway("limit reached: the response body is larger than `response-body`");
        }
        let mut streaming = StreamingBody::new(self, body, state, content, call);
        if content == Content::None {
            // The client receives none of this body, but a component that writes one must be able to finish.
            streaming.mark_delivered();
            tokio::spawn(streaming.spawn_handler().discard());
            return Response::from_parts(parts, ResponseBody::empty());
        }
        let buffered = poll_fn(|cx| Poll::Ready(streaming.buffer(cx))).await;
        let body = match buffered {
            Buffered::Complete(body) => body,
            Buffered::Incomplete => ResponseBody::streaming(streaming.spawn_handler()),
            // The head is not sent yet, so the client receives a status.
            Buffered::Failed => return text_response(StatusCode::BAD_GATEWAY, "the component failed\n"),
        };
        Response::from_parts(parts, body)
    }

    /// A rejection if the headers, or the declared length of the body, exceed the limits.
    fn reject_oversized(&self, request: &Request<Incoming>) -> Option<Response<ResponseBody>> {
        let limits = self.entry.limits();
        let (limit, status, text) = if frame::header_list_size(request.headers()) > limits.headers {
            (Limit::Headers, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "request headers too large\n")
        } else if request.body().size_hint().lower() > limits.request_body {
            (Limit::RequestBody, StatusCode::PAYLOAD_TOO_LARGE, "request body too large\n")
        } else {
            return None;
        };
        self.entry.tracker().refuse(limit);
        Some(text_response(status, text))
    }

    /// The request's body as the component reads it.
    fn request_body(&self, body: Incoming, timeout: Duration) -> WasiBody {
        let body = body.map_err(wasmtime_wasi_http::Error::from);
        if body.is_end_stream() {
            return body.boxed_unsync();
        }
        WasiBody::new(RequestBody::new(body, self.entry.tracker().clone(), timeout))
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    pub(crate) fn tracker(&self) -> &Arc<wharf::limits::LimitTracker> {
        self.entry.tracker()
    }

    /// Logs why the host ended the component, and returns the response that says so.
    fn end_response(&self, ended: &Termination) -> Response<ResponseBody> {
        self.log(&ended.to_string());
        response_for_ended(Some(ended))
    }

    /// Logs a failure of the component, and returns 502.
    fn bad_gateway(&self, why: &str) -> Response<ResponseBody> {
        self.log(why);
        text_response(StatusCode::BAD_GATEWAY, "the component failed\n")
    }

    pub(crate) fn log(&self, why: &str) {
        self.entry.tracker().log_failure(why);
    }
}

/// A plain-text response that the host itself writes.
pub(crate) fn text_response(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// The text of a response to a request that was not admitted.
pub(crate) fn refusal(error: AdmissionError) -> &'static str {
    match error {
        AdmissionError::Stopped => "the workload has stopped\n",
        AdmissionError::ServiceStarting => "the service has not started yet\n",
        AdmissionError::ServiceEnded => "the service has ended\n",
        _ => "too many concurrent requests\n",
    }
}

/// 503 with `retry-after`.
pub(crate) fn unavailable(text: &'static str) -> Response<ResponseBody> {
    let mut response = text_response(StatusCode::SERVICE_UNAVAILABLE, text);
    response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The response for a component that ended without one.
fn response_for_ended(ended: Option<&Termination>) -> Response<ResponseBody> {
    match ended {
        Some(Termination::Time(_) | Termination::Cpu(_)) => {
            text_response(StatusCode::GATEWAY_TIMEOUT, "the component exceeded its time limit\n")
        }
        Some(Termination::NoInstance) => unavailable("no instance is available\n"),
        Some(Termination::Stopped) => unavailable("the workload has stopped\n"),
        _ => text_response(StatusCode::BAD_GATEWAY, "the component failed\n"),
    }
}

/// Puts the scheme and authority into the request's URI, where WASI 0.3 reads them. A request of HTTP/1.1 has its
/// authority in the Host header.
fn with_authority(request: Request<WasiBody>, tls: bool) -> Request<WasiBody> {
    let (mut parts, body) = request.into_parts();
    if parts.uri.authority().is_none()
        && let Some(host) = parts.headers.get(http::header::HOST)
    {
        let mut uri = parts.uri.clone().into_parts();
        uri.scheme = Some(if tls { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP });
        uri.authority = http::uri::Authority::try_from(host.as_bytes()).ok();
        // With an invalid authority there is no URI to build, and the component receives the request's own.
        if let Ok(uri) = http::Uri::from_parts(uri) {
            parts.uri = uri;
        }
    }
    Request::from_parts(parts, body)
}
