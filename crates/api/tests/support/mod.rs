//! A fake host behind a small HTTP server, on the table of routes that the client uses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use wharf_api::version::{self, Operation};
use wharf_api::workload::Name;
use wharf_api::workload::manifest::Digest;
use wharf_api::{
    API_VERSION, ApiError, CallRequest, CallResponse, Client, ErrorCode, Heartbeat, HostApi, LogPage, State, Workload,
    WorkloadPage, WorkloadStatus, WorkloadSummary,
};

/// A host that keeps names alone. An operation on `errors/<code>` fails with that code.
#[derive(Default)]
pub(crate) struct Fake {
    workloads: Mutex<BTreeMap<String, Option<String>>>,
    /// The bytes that were uploaded, by digest, and how often each was.
    pub(crate) blobs: Mutex<HashMap<String, (Bytes, usize)>>,
}

impl Fake {
    fn status(&self, id: &str, state: State) -> Result<WorkloadStatus, ApiError> {
        if let Some(error) = failing(id) {
            return Err(error);
        }
        let version = self.workloads.lock().unwrap().get(id).cloned().ok_or_else(|| ApiError::no_workload(id))?;
        Ok(WorkloadStatus {
            id: id.to_owned(),
            version,
            state,
            entries: vec![Name::new("web").unwrap()],
            components: 1,
            calls: 0,
            ready: 0,
            shared: 0,
            refusals: BTreeMap::new(),
            uptime_ms: 0,
            services: Vec::new(),
            health: Vec::new(),
            warnings: Vec::new(),
        })
    }
}

/// The error that a workload's name asks for, with all that an error can carry.
pub(crate) fn failing(id: &str) -> Option<ApiError> {
    let code = id.strip_prefix("errors/")?;
    let code: ErrorCode = serde_json::from_value(code.into()).unwrap();
    let diagnostic = wharf_api::Diagnostic::error("a diagnostic").at("components.web").with_hint("a hint");
    let mut error = ApiError::new(code, format!("`{id}` fails")).with_diagnostic(diagnostic);
    error.causes = vec!["a cause".to_owned()];
    Some(error)
}

#[async_trait]
impl HostApi for Fake {
    async fn heartbeat(&self) -> Result<Heartbeat, ApiError> {
        let ids = self.workloads.lock().unwrap().keys().cloned().collect::<Vec<_>>();
        Ok(Heartbeat {
            id: "fake".to_owned(),
            friendly_name: "a fake".to_owned(),
            labels: [("zone".to_owned(), "test".to_owned())].into(),
            version: "0.0.0".to_owned(),
            api_version: API_VERSION,
            uptime_ms: 1,
            workloads: ids
                .into_iter()
                .map(|id| WorkloadSummary { id, state: State::Running, unhealthy: Vec::new() })
                .collect(),
        })
    }

    async fn workload_start(&self, workload: Workload) -> Result<WorkloadStatus, ApiError> {
        let id = workload.id();
        let version = workload.version.as_ref().map(ToString::to_string);
        if self.workloads.lock().unwrap().contains_key(&id) {
            return Err(ApiError::new(ErrorCode::AlreadyRunning, format!("`{id}` is on this host already")));
        }
        self.workloads.lock().unwrap().insert(id.clone(), version);
        self.status(&id, State::Running)
    }

    async fn workload_update(&self, workload: Workload) -> Result<WorkloadStatus, ApiError> {
        let id = workload.id();
        let version = workload.version.as_ref().map(ToString::to_string);
        match self.workloads.lock().unwrap().get_mut(&id) {
            Some(old) => *old = version,
            None => return Err(ApiError::new(ErrorCode::NotRunning, format!("`{id}` is not on this host"))),
        }
        self.status(&id, State::Running)
    }

    async fn workload_stop(&self, id: &str) -> Result<WorkloadStatus, ApiError> {
        let status = self.status(id, State::Stopped)?;
        self.workloads.lock().unwrap().remove(id);
        Ok(status)
    }

    async fn workload_status(&self, id: &str) -> Result<WorkloadStatus, ApiError> {
        self.status(id, State::Running)
    }

    async fn workload_list(&self, after: Option<&str>, limit: Option<u32>) -> Result<WorkloadPage, ApiError> {
        let ids: Vec<_> = self.workloads.lock().unwrap().keys().cloned().collect();
        let ids = ids.into_iter().filter(|id| after.is_none_or(|after| id.as_str() > after));
        let workloads = ids.map(|id| self.status(&id, State::Running)).collect::<Result<_, _>>()?;
        Ok(WorkloadPage { workloads, next: limit.map(|limit| format!("limit/{limit}")) })
    }

    async fn workload_logs(&self, id: &str, from: u64, wait: Duration) -> Result<LogPage, ApiError> {
        self.status(id, State::Running)?;
        Ok(LogPage { lines: Vec::new(), next: from, dropped: wait.as_millis().try_into().unwrap() })
    }

    async fn call(&self, id: &str, request: CallRequest) -> Result<CallResponse, ApiError> {
        self.status(id, State::Running)?;
        Ok(CallResponse { results: vec![request.component.unwrap(), request.call] })
    }
}

/// Serves the fake on a Unix socket in `folder`.
pub(crate) fn unix(host: Arc<Fake>, folder: &tempfile::TempDir) -> Client {
    let path = folder.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(host.clone(), stream));
        }
    });
    Client::unix(path)
}

/// Serves the fake on TCP.
pub(crate) async fn tcp(host: Arc<Fake>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(host.clone(), stream));
        }
    });
    Client::tcp(address.to_string())
}

async fn serve(host: Arc<Fake>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(move |request| {
        let host = host.clone();
        async move { Ok::<_, Infallible>(answer(&host, request).await.unwrap_or_else(|error| refuse(&error))) }
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

fn refuse(error: &ApiError) -> Response<Full<Bytes>> {
    let body = Full::from(serde_json::to_vec(error).unwrap());
    Response::builder().status(error.code.status()).body(body).unwrap()
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    Response::new(Full::from(serde_json::to_vec(value).unwrap()))
}

async fn answer(host: &Fake, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, ApiError> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (operation, values) = version::find(head.method.as_str(), head.uri.path())?;
    let id = values.join("/");
    Ok(match operation {
        Operation::Heartbeat => json(&host.heartbeat().await?),
        Operation::WorkloadStart => json(&host.workload_start(workload(&body)).await?),
        Operation::WorkloadUpdate => {
            assert_eq!(workload(&body).id(), id);
            json(&host.workload_update(workload(&body)).await?)
        }
        Operation::WorkloadStop => json(&host.workload_stop(&id).await?),
        Operation::WorkloadStatus => json(&host.workload_status(&id).await?),
        Operation::Call => json(&host.call(&id, serde_json::from_slice(&body).unwrap()).await?),
        Operation::WorkloadList => {
            let after = query(&head.uri, "after");
            let limit = query(&head.uri, "limit").map(|limit| limit.parse().unwrap());
            json(&host.workload_list(after.as_deref(), limit).await?)
        }
        Operation::WorkloadLogs => {
            let number = |name| query(&head.uri, name).unwrap().parse().unwrap();
            json(&host.workload_logs(&id, number("from"), Duration::from_millis(number("wait_ms"))).await?)
        }
        Operation::BlobHead if host.blobs.lock().unwrap().contains_key(&id) => Response::default(),
        Operation::BlobHead => refuse(&ApiError::new(ErrorCode::NotFound, "no such blob")),
        Operation::BlobPut => {
            if Digest::of(&body).to_string() != id {
                return Err(ApiError::new(ErrorCode::Invalid, "the bytes have another digest"));
            }
            host.blobs.lock().unwrap().entry(id).or_insert((body, 0)).1 += 1;
            Response::builder().status(204).body(Full::default()).unwrap()
        }
        operation => panic!("{operation:?}"),
    })
}

fn query(uri: &hyper::Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// The workload in a request, whose sources are digests of blobs that were uploaded before.
fn workload(body: &[u8]) -> Workload {
    serde_json::from_slice(body).unwrap()
}
