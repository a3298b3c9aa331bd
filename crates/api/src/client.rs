//! A remote host: [`HostApi`] over HTTP/1.1, on a Unix socket or TCP.
//!
//! Takes an address; gives what the host responds, and an [`ApiError`] of code [`ErrorCode::Transport`] when there is no
//! response that can be read. Each operation opens a connection of its own and closes it: no request can fail on a
//! connection that went stale, and dropping an operation's future closes its connection. Never repeats a request, follows
//! no redirect, and knows no proxy.
//!
//! [`ErrorCode::Transport`]: crate::ErrorCode::Transport

mod connection;
mod failure;
mod tls;
mod upload;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use workload::{Name, Workload};

use crate::error::ApiError;
use crate::host::HostApi;
use crate::types::{CallRequest, CallResponse, Heartbeat, LogPage, WorkloadPage, WorkloadStatus};
use crate::version::{Operation, Route};
use connection::{Address, Content, Response};
use failure::Failure;

pub use tls::{MutualTls, MutualTlsError};

/// The default of [`Client::with_connect_timeout`].
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The default of [`Client::with_timeout`]: above a host's default drain time, which a stop can take.
pub const TIMEOUT: Duration = Duration::from_mins(2);
/// The default of [`Client::with_max_response`]: 16 MiB.
pub const MAX_RESPONSE: usize = 16 << 20;

/// A host in another process, or on another machine.
///
/// It connects when an operation needs it, so that it can be made before its host. A clone is cheap and independent.
///
/// The sources of a workload's components are read and uploaded by the client: paths are those of the client's machine,
/// as they are for a host in process. The host paths of volumes are those of the host's machine.
///
/// ```no_run
/// use std::time::Duration;
///
/// use wharf_api::{ApiError, CallRequest, Client, HostApi};
///
/// # async fn example() -> Result<(), ApiError> {
/// let host = Client::unix("/run/wharf/api.sock").with_timeout(Duration::from_secs(30));
/// for workload in host.heartbeat().await?.workloads {
///     println!("{}: {:?}", workload.id, workload.state);
/// }
/// let request = CallRequest::new("greeter", r#"greet("you")"#);
/// println!("{}", host.call("default/greeter", request).await?.results.join(", "));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
    connect_timeout: Duration,
    timeout: Duration,
    max_response: usize,
}

impl Client {
    /// A host that listens on a Unix socket. The socket's permissions say which users can reach it.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(Address::Unix(path.into()))
    }

    /// A host that listens on TCP, as `host:port`: `127.0.0.1:7000` or `wharf.internal:7000`.
    ///
    /// The connection is plain: without encryption, and without a proof of who is at either end. Use it in tests, and
    /// through tunnels that give both; `wharf up --control tcp:…` speaks mutual TLS alone ([`mutual_tls`](Self::mutual_tls)).
    pub fn tcp(address: impl Into<String>) -> Self {
        Self::new(Address::Tcp(address.into()))
    }

    /// A host that listens on TCP with mutual TLS, as `host:port`. The host's certificate has to be for `host`.
    pub fn mutual_tls(address: impl Into<String>, tls: MutualTls) -> Self {
        Self::new(Address::Tls(address.into(), tls))
    }

    fn new(address: Address) -> Self {
        Self { address, connect_timeout: CONNECT_TIMEOUT, timeout: TIMEOUT, max_response: MAX_RESPONSE }
    }

    /// The same with another limit on the time to connect. The default is [`CONNECT_TIMEOUT`].
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The same with another limit on the time of a request, from the connection to the last byte of the response. The
    /// default is [`TIMEOUT`]. Starting a workload is one request for each component that is uploaded, and one more.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same with another limit on the body of a response, in bytes. The default is [`MAX_RESPONSE`].
    #[must_use]
    pub fn with_max_response(mut self, bytes: usize) -> Self {
        self.max_response = bytes;
        self
    }

    /// Sends one request and reads the whole response, whatever its status.
    async fn send(&self, route: &Route, path: String, content: Content) -> Result<Response, Failure> {
        let exchange = self.exchange(route, path, content);
        let response = tokio::time::timeout(self.timeout, exchange).await;
        response.map_err(|_| Failure::Timeout { address: self.address.to_string(), after: self.timeout })?
    }

    async fn exchange(&self, route: &Route, path: String, content: Content) -> Result<Response, Failure> {
        let address = || self.address.to_string();
        let connecting = tokio::time::timeout(self.connect_timeout, self.address.connect()).await;
        let stream = connecting
            .map_err(|_| Failure::ConnectTimeout { address: address(), after: self.connect_timeout })?
            .map_err(|source| Failure::Connect { address: address(), source })?;
        let request = connection::request(&self.address, route.method, &path, content)
            .map_err(|source| Failure::Request { address: address(), source })?;
        connection::exchange(stream, request, self.max_response).await.map_err(|error| match error {
            connection::ExchangeError::Http(source) => Failure::Exchange { address: address(), source },
            connection::ExchangeError::TooLarge => Failure::TooLarge { limit: self.max_response },
        })
    }

    /// Sends one request and reads the response as JSON: a `T`, or the host's error.
    async fn ask<T: DeserializeOwned>(&self, route: &Route, path: String, content: Content) -> Result<T, ApiError> {
        let response = self.send(route, path, content).await?;
        if !response.status.is_success() {
            return Err(refusal(&response));
        }
        let read = serde_json::from_slice(&response.body);
        Ok(read.map_err(|source| Failure::Body { status: response.status.as_u16(), source })?)
    }

    /// An operation on one workload.
    async fn ask_workload<T: DeserializeOwned>(
        &self,
        operation: Operation,
        id: &str,
        content: Content,
    ) -> Result<T, ApiError> {
        // What is no id cannot be the id of a workload on any host; nothing else goes into a path.
        let (namespace, name) = split(id).ok_or_else(|| ApiError::no_workload(id))?;
        let route = Route::of(operation);
        self.ask(route, route.path_with(&[namespace, name]), content).await
    }
}

#[async_trait]
impl HostApi for Client {
    async fn heartbeat(&self) -> Result<Heartbeat, ApiError> {
        let route = Route::of(Operation::Heartbeat);
        self.ask(route, route.path.to_owned(), Content::Empty).await
    }

    async fn workload_start(&self, workload: Workload) -> Result<WorkloadStatus, ApiError> {
        let workload = upload::components(self, workload).await?;
        let route = Route::of(Operation::WorkloadStart);
        self.ask(route, route.path.to_owned(), json(&workload)?).await
    }

    async fn workload_update(&self, workload: Workload) -> Result<WorkloadStatus, ApiError> {
        let workload = upload::components(self, workload).await?;
        self.ask_workload(Operation::WorkloadUpdate, &workload.id(), json(&workload)?).await
    }

    async fn workload_stop(&self, id: &str) -> Result<WorkloadStatus, ApiError> {
        self.ask_workload(Operation::WorkloadStop, id, Content::Empty).await
    }

    async fn workload_status(&self, id: &str) -> Result<WorkloadStatus, ApiError> {
        self.ask_workload(Operation::WorkloadStatus, id, Content::Empty).await
    }

    async fn workload_list(&self, after: Option<&str>, limit: Option<u32>) -> Result<WorkloadPage, ApiError> {
        let route = Route::of(Operation::WorkloadList);
        // What is no id is after or before others only by accident; nothing else goes into a query.
        let after = after.map(|id| split(id).ok_or_else(|| ApiError::no_workload(id))).transpose()?;
        let after = after.map(|(namespace, name)| format!("after={namespace}/{name}"));
        let limit = limit.map(|limit| format!("limit={limit}"));
        let query: Vec<_> = after.into_iter().chain(limit).collect();
        let path = if query.is_empty() { route.path.to_owned() } else { format!("{}?{}", route.path, query.join("&")) };
        self.ask(route, path, Content::Empty).await
    }

    async fn workload_logs(&self, id: &str, from: u64, wait: Duration) -> Result<LogPage, ApiError> {
        let (namespace, name) = split(id).ok_or_else(|| ApiError::no_workload(id))?;
        let route = Route::of(Operation::WorkloadLogs);
        let path = route.path_with(&[namespace, name]);
        self.ask(route, format!("{path}?from={from}&wait_ms={}", wait.as_millis()), Content::Empty).await
    }

    async fn call(&self, id: &str, request: CallRequest) -> Result<CallResponse, ApiError> {
        self.ask_workload(Operation::Call, id, json(&request)?).await
    }
}

/// The host's error, or a failure when the response is not from the API, such as a proxy's.
fn refusal(response: &Response) -> ApiError {
    let status = response.status.as_u16();
    serde_json::from_slice(&response.body).unwrap_or_else(|source| Failure::Body { status, source }.into())
}

fn json(body: &impl Serialize) -> Result<Content, Failure> {
    Ok(Content::Json(Bytes::from(serde_json::to_vec(body).map_err(Failure::Encode)?)))
}

fn split(id: &str) -> Option<(Name, Name)> {
    let (namespace, name) = id.split_once('/')?;
    Some((Name::new(namespace).ok()?, Name::new(name).ok()?))
}
