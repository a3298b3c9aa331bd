//! A request of the host API → the operation on the host → its response.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wharf::Host;
use wharf::api::version::{self, Operation};
use wharf::api::{ApiError, CallRequest, Diagnostic, ErrorCode, HostApi, WorkloadStatus};
use wharf::workload::component::MAX_BYTES;
use wharf::workload::manifest::{Digest, Source};
use wharf::workload::{Name, Workload};

use crate::blobs::Blobs;
use crate::body::{self, invalid};
use crate::metrics::{self, Exposition};
use crate::state::{State, is_from_api};

/// The largest request that is not a component, in bytes.
const MAX_JSON: usize = 16 << 20;

/// The operations of the host API on a host. Clones are the same.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    host: Host,
    blobs: Blobs,
    state: Option<State>,
    metrics: Metrics,
    /// Held while the state follows the host.
    keeping: tokio::sync::Mutex<()>,
}

type Reply = Response<Full<Bytes>>;

/// The metrics and the health of a host: `/metrics`, `/livez` and `/readyz`. Clones are the same.
#[derive(Clone)]
pub struct Metrics {
    host: Host,
    more: Arc<Mutex<Vec<Box<dyn Fn(&mut Exposition) + Send + Sync>>>>,
    ready: Arc<AtomicBool>,
}

impl Metrics {
    /// `None` for a request of something else.
    fn respond(&self, request: &Request<Incoming>) -> Option<Reply> {
        if request.method() != hyper::Method::GET {
            return None;
        }
        let health = |is_good: bool| {
            let mut reply = Response::new(Full::from(if is_good { "ok\n" } else { "not ready\n" }));
            if !is_good {
                *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            reply
        };
        Some(match request.uri().path() {
            "/livez" => health(true),
            "/readyz" => health(self.ready.load(Ordering::Relaxed)),
            "/metrics" => {
                let mut out = Exposition::default();
                metrics::of(&self.host, &mut out);
                self.more.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|more| more(&mut out));
                let mut reply = Response::new(Full::from(out.into_text()));
                reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
                reply
            }
            _ => return None,
        })
    }

    #[allow(clippy::unused_async, reason = "a service is asynchronous")]
    pub(crate) async fn reply(&self, request: Request<Incoming>) -> Reply {
        self.respond(&request).unwrap_or_else(|| {
            let mut reply = Response::new(Full::from("only /metrics, /livez and /readyz are here\n"));
            *reply.status_mut() = StatusCode::NOT_FOUND;
            reply
        })
    }
}

impl Control {
    /// Serves a host whose sources are these blobs. What is started is forgotten with the host.
    pub fn new(host: Host, blobs: Blobs) -> Self {
        Self::with(host, blobs, None)
    }

    /// Serves a host whose sources are these blobs, and keeps what is started in a state folder.
    pub fn with_state(host: Host, blobs: Blobs, state: State) -> Self {
        Self::with(host, blobs, Some(state))
    }

    fn with(host: Host, blobs: Blobs, state: Option<State>) -> Self {
        let metrics = Metrics { host: host.clone(), more: Arc::default(), ready: Arc::default() };
        Self(Arc::new(Inner { host, blobs, state, metrics, keeping: tokio::sync::Mutex::default() }))
    }

    /// Starts the workloads of the state folder. Returns the number that runs, and for each other why it does not.
    pub async fn restore(&self) -> (usize, Vec<ApiError>) {
        let Some(state) = &self.0.state else { return (0, Vec::new()) };
        let (mut started, mut failed) = (0, Vec::new());
        for workload in state.workloads() {
            let workload = match workload {
                Ok(workload) => workload,
                Err(error) => {
                    failed.push(ApiError::of(ErrorCode::Failed, &error));
                    continue;
                }
            };
            let id = workload.id();
            match HostApi::workload_start(&self.0.host, workload).await {
                Ok(_) => started += 1,
                Err(mut error) => {
                    error.message = format!("`{id}` of the state folder does not start: {}", error.message);
                    failed.push(error);
                }
            }
        }
        (started, failed)
    }

    /// Whether a workload came through the API, and not with a manifest of the host.
    pub fn is_from_api(&self, id: &str) -> bool {
        self.0.host.running(id).is_ok_and(|running| is_from_api(running.workload()))
    }

    /// Adds metrics of a program's own to those of the host.
    #[must_use]
    pub fn metrics(self, more: impl Fn(&mut Exposition) + Send + Sync + 'static) -> Self {
        self.0.metrics.more.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(more));
        self
    }

    /// The metrics and the health of the host, without its API.
    pub fn only_metrics(&self) -> Metrics {
        self.0.metrics.clone()
    }

    /// Whether `/readyz` says that the host takes calls. It does not at first.
    pub fn set_ready(&self, ready: bool) {
        self.0.metrics.ready.store(ready, Ordering::Relaxed);
    }

    pub(crate) async fn respond(&self, request: Request<Incoming>) -> Reply {
        if let Some(reply) = self.0.metrics.respond(&request) {
            return reply;
        }
        let (head, body) = request.into_parts();
        let is_head = head.method == hyper::Method::HEAD;
        match self.operate(&head, body).await {
            Ok(reply) => reply,
            Err(error) => {
                let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut reply = if is_head { Response::default() } else { json(&error) };
                *reply.status_mut() = status;
                reply
            }
        }
    }

    async fn operate(&self, head: &Parts, body: Incoming) -> Result<Reply, ApiError> {
        let (operation, values) = version::find(head.method.as_str(), head.uri.path())?;
        let id = values.join("/");
        let host = &self.0.host;
        Ok(match operation {
            Operation::Heartbeat => json(&HostApi::heartbeat(host).await?),
            Operation::WorkloadList => {
                let (after, limit) = (query(head, "after"), number(head, "limit")?);
                json(&HostApi::workload_list(host, after, limit).await?)
            }
            Operation::WorkloadStatus => json(&HostApi::workload_status(host, &id).await?),
            Operation::WorkloadLogs => {
                let wait = Duration::from_millis(number(head, "wait_ms")?.unwrap_or_default());
                let from = number(head, "from")?.unwrap_or_default();
                json(&HostApi::workload_logs(host, &id, from, wait).await?)
            }
            Operation::WorkloadStart => {
                let workload = workload(body).await?;
                let id = workload.id();
                self.change(&id, move |host| async move { HostApi::workload_start(&host, workload).await }).await?
            }
            Operation::WorkloadUpdate => {
                let workload = workload(body).await?;
                if workload.id() != id {
                    return Err(invalid(format!("the workload's id is `{}`, and the path's `{id}`", workload.id())));
                }
                self.change(&id, move |host| async move { HostApi::workload_update(&host, workload).await }).await?
            }
            Operation::WorkloadStop => {
                let stopped = id.clone();
                self.change(&id, move |host| async move { HostApi::workload_stop(&host, &stopped).await }).await?
            }
            Operation::Call => {
                let request: CallRequest = read(body).await?;
                json(&HostApi::call(host, &id, request).await?)
            }
            Operation::BlobHead => self.has_blob(digest(&id)?).await?,
            Operation::BlobPut => self.put_blob(digest(&id)?, body).await?,
            _ => return Err(ApiError::new(ErrorCode::NotFound, "this host does not have this operation")),
        })
    }

    async fn has_blob(&self, digest: Digest) -> Result<Reply, ApiError> {
        let blobs = self.0.blobs.clone();
        if blocking(move || Ok(blobs.has(digest))).await? {
            return Ok(Response::default());
        }
        Err(ApiError::new(ErrorCode::NotFound, format!("no blob `{digest}`")))
    }

    async fn put_blob(&self, digest: Digest, body: Incoming) -> Result<Reply, ApiError> {
        let blobs = self.0.blobs.clone();
        let bytes = body::read(body, MAX_BYTES).await?;
        blocking(move || {
            let found = Digest::of(&bytes);
            if found != digest {
                return Err(invalid(format!("the bytes have the digest `{found}`, not `{digest}`")));
            }
            let put = blobs.put(digest, &bytes);
            put.map_err(|error| ApiError::new(ErrorCode::Failed, format!("cannot keep the component: {error}")))
        })
        .await?;
        let mut reply = Reply::default();
        *reply.status_mut() = StatusCode::NO_CONTENT;
        Ok(reply)
    }

    /// Changes a workload, and then the state. A client that goes away in the middle stops neither.
    async fn change<F>(&self, id: &str, operation: impl FnOnce(Host) -> F) -> Result<Reply, ApiError>
    where
        F: Future<Output = Result<WorkloadStatus, ApiError>> + Send + 'static,
    {
        let (control, id, operation) = (self.clone(), id.to_owned(), operation(self.0.host.clone()));
        let changing = tokio::spawn(async move {
            let status = operation.await?;
            control.keep(&id).await?;
            Ok(json(&status))
        });
        changing.await.unwrap_or_else(|error| Err(ApiError::new(ErrorCode::Failed, error.to_string())))
    }

    /// Brings the state of a workload to what the host has of it.
    async fn keep(&self, id: &str) -> Result<(), ApiError> {
        let _held = self.0.keeping.lock().await;
        let (control, id) = (self.clone(), id.to_owned());
        blocking(move || {
            let Inner { host, blobs, state, .. } = &*control.0;
            if let Some(state) = state {
                let running = host.running(&id).ok().filter(|running| is_from_api(running.workload()));
                let kept = match &running {
                    Some(running) => state.save(running.workload()),
                    None => state.remove(&id),
                };
                kept.map_err(|error| {
                    let message = format!("`{id}` has changed, and a restart will not know of it");
                    let mut failed = ApiError::of(ErrorCode::Failed, &error);
                    failed.causes.insert(0, std::mem::replace(&mut failed.message, message));
                    failed
                })?;
            }
            let ids = host.workload_ids();
            let running = ids.iter().filter_map(|id| host.running(id).ok());
            let used: HashSet<_> = running.flat_map(|running| digests(running.workload())).collect();
            blobs.retain(&used);
            Ok(())
        })
        .await
    }
}

fn digests(workload: &Workload) -> Vec<Digest> {
    let sources = workload.components.values().map(|component| &component.source);
    sources.filter_map(|source| if let Source::Digest(digest) = source { Some(*digest) } else { None }).collect()
}

/// Work on files, away from the threads that serve.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ApiError::new(ErrorCode::Failed, error.to_string())))
}

fn json(value: &impl Serialize) -> Reply {
    // The types of the API always have a form in JSON.
    let mut reply = Response::new(Full::from(serde_json::to_vec(value).unwrap_or_default()));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, ApiError> {
    let body = body::read(body, MAX_JSON).await?;
    serde_json::from_slice(&body).map_err(|error| invalid(format!("the request does not parse: {error}")))
}

/// A workload whose components are blobs: the files of this machine are not for its clients to read.
async fn workload(body: Incoming) -> Result<Workload, ApiError> {
    let workload: Workload = read(body).await?;
    let is_file = |(_, component): &(&Name, &wharf::workload::manifest::Component)| {
        !matches!(component.source, Source::Digest(_))
    };
    let files: Vec<_> = workload.components.iter().filter(is_file).collect();
    if files.is_empty() {
        return Ok(workload);
    }
    let diagnostics = files.into_iter().map(|(name, component)| {
        Diagnostic::error(format!("the source of `{name}` is a file: `{}`", component.source))
            .at(format!("components.{name}.source"))
            .with_hint("upload the component, and name it by its digest (`sha256:…`); `wharf start` does")
    });
    Err(invalid(format!("the workload `{}` is not valid", workload.id())).with_diagnostics(diagnostics))
}

fn digest(text: &str) -> Result<Digest, ApiError> {
    Digest::from_str(text).map_err(|error| invalid(format!("`{text}`: {error}")))
}

fn query<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    let mut pairs = head.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn number<T: FromStr>(head: &Parts, name: &str) -> Result<Option<T>, ApiError> {
    let Some(text) = query(head, name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| invalid(format!("`{name}={text}`: expected a number")))
}
