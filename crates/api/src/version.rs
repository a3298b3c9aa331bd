//! The version of the API, and its operations as HTTP requests: one table for the client and the server.
//!
//! | request | body | response | operation |
//! |---|---|---|---|
//! | `GET /v1/heartbeat` | | [`Heartbeat`](crate::Heartbeat) | [`heartbeat`](crate::HostApi::heartbeat) |
//! | `GET /v1/workloads?after={id}&limit={n}` | | [`WorkloadPage`](crate::WorkloadPage) | [`workload_list`](crate::HostApi::workload_list) |
//! | `POST /v1/workloads` | [`Workload`](crate::Workload) | [`WorkloadStatus`](crate::WorkloadStatus) | [`workload_start`](crate::HostApi::workload_start) |
//! | `PUT /v1/workloads/{namespace}/{name}` | [`Workload`](crate::Workload) | [`WorkloadStatus`](crate::WorkloadStatus) | [`workload_update`](crate::HostApi::workload_update) |
//! | `DELETE /v1/workloads/{namespace}/{name}` | | [`WorkloadStatus`](crate::WorkloadStatus) | [`workload_stop`](crate::HostApi::workload_stop) |
//! | `GET /v1/workloads/{namespace}/{name}` | | [`WorkloadStatus`](crate::WorkloadStatus) | [`workload_status`](crate::HostApi::workload_status) |
//! | `GET /v1/workloads/{namespace}/{name}/logs?from={n}&wait_ms={n}` | | [`LogPage`](crate::LogPage) | [`workload_logs`](crate::HostApi::workload_logs) |
//! | `POST /v1/workloads/{namespace}/{name}/call` | [`CallRequest`](crate::CallRequest) | [`CallResponse`](crate::CallResponse) | [`call`](crate::HostApi::call) |
//! | `HEAD /v1/blobs/{digest}` | | 200 or 404 | |
//! | `PUT /v1/blobs/{digest}` | the bytes | 204 | |
//!
//! Bodies are JSON, but for a blob's. A response with another status than 2xx has an [`ApiError`] as its body; a response
//! to `HEAD` has none.
//!
//! # How a component's bytes travel
//!
//! A workload's sources are digests on the wire (`sha256:…`), and the bytes go first: before a client sends a workload, it
//! asks with `HEAD /v1/blobs/{digest}` for each component, and sends the bytes with `PUT /v1/blobs/{digest}` where the
//! answer is 404. So a component crosses the network once, however many workloads and restarts use it. The server computes
//! the digest of what it receives, and refuses bytes of another digest as [`ErrorCode::Invalid`].
//!
//! # Versions
//!
//! [`API_VERSION`] is the first segment of every path. It grows when an old client would misread a new host. A host
//! answers a version that it does not support with [`ErrorCode::UnsupportedVersion`].

use std::fmt::{self, Display, Write as _};

use crate::error::{ApiError, ErrorCode};

/// The version of the API in this crate: the `1` of `/v1/`.
pub const API_VERSION: u32 = 1;

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`HostApi::heartbeat`](crate::HostApi::heartbeat).
    Heartbeat,
    /// [`HostApi::workload_start`](crate::HostApi::workload_start).
    WorkloadStart,
    /// [`HostApi::workload_update`](crate::HostApi::workload_update).
    WorkloadUpdate,
    /// [`HostApi::workload_stop`](crate::HostApi::workload_stop).
    WorkloadStop,
    /// [`HostApi::workload_status`](crate::HostApi::workload_status).
    WorkloadStatus,
    /// [`HostApi::call`](crate::HostApi::call).
    Call,
    /// [`HostApi::workload_list`](crate::HostApi::workload_list).
    WorkloadList,
    /// [`HostApi::workload_logs`](crate::HostApi::workload_logs).
    WorkloadLogs,
    /// Asks whether the host has the bytes of a digest.
    BlobHead,
    /// Gives the host the bytes of a digest.
    BlobPut,
}

/// The HTTP methods that the API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
}

impl Method {
    /// The method's name, as HTTP spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

impl Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An operation as an HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The operation.
    pub operation: Operation,
    /// The method.
    pub method: Method,
    /// The path, with parameters in braces.
    pub path: &'static str,
}

/// Every operation, each once.
pub const ROUTES: &[Route] = &[
    route(Operation::Heartbeat, Method::Get, "/v1/heartbeat"),
    route(Operation::WorkloadStart, Method::Post, "/v1/workloads"),
    route(Operation::WorkloadUpdate, Method::Put, "/v1/workloads/{namespace}/{name}"),
    route(Operation::WorkloadStop, Method::Delete, "/v1/workloads/{namespace}/{name}"),
    route(Operation::WorkloadStatus, Method::Get, "/v1/workloads/{namespace}/{name}"),
    route(Operation::Call, Method::Post, "/v1/workloads/{namespace}/{name}/call"),
    route(Operation::WorkloadList, Method::Get, "/v1/workloads"),
    route(Operation::WorkloadLogs, Method::Get, "/v1/workloads/{namespace}/{name}/logs"),
    route(Operation::BlobHead, Method::Head, "/v1/blobs/{digest}"),
    route(Operation::BlobPut, Method::Put, "/v1/blobs/{digest}"),
];

const fn route(operation: Operation, method: Method, path: &'static str) -> Route {
    Route { operation, method, path }
}

impl Route {
    /// The route of an operation.
    pub fn of(operation: Operation) -> &'static Self {
        // An operation is its own place in the table, which a test checks.
        &ROUTES[operation as usize]
    }

    /// The path with these values for its parameters, in order. Values are names and digests: they stand as they are.
    ///
    /// ```
    /// use wharf_api::version::{Operation, Route};
    ///
    /// let path = Route::of(Operation::Call).path_with(&["default", "guestbook"]);
    /// assert_eq!(path, "/v1/workloads/default/guestbook/call");
    /// ```
    pub fn path_with<V: Display>(&self, values: &[V]) -> String {
        let mut path = String::new();
        let mut values = values.iter();
        for segment in self.path.split('/').skip(1) {
            // Writing to a `String` cannot fail.
            match parameter(segment).and_then(|_| values.next()) {
                Some(value) => write!(path, "/{value}").ok(),
                None => write!(path, "/{segment}").ok(),
            };
        }
        path
    }

    /// The values of the path's parameters, in order, when `path` has this route's form.
    fn values<'a>(&self, path: &'a str) -> Option<Vec<&'a str>> {
        let mut values = Vec::new();
        let mut segments = path.split('/');
        for expected in self.path.split('/') {
            let segment = segments.next()?;
            match parameter(expected) {
                Some(_) if segment.is_empty() => return None,
                Some(_) => values.push(segment),
                None if segment != expected => return None,
                None => {}
            }
        }
        segments.next().is_none().then_some(values)
    }
}

/// The name of a parameter: of `{digest}`, `digest`.
fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// The operation that a request asks for, and the values of its path's parameters, in order.
///
/// `path` is the request's path without its query. The values are text from the network: check them as names or digests.
///
/// ```
/// use wharf_api::ErrorCode;
/// use wharf_api::version::{Operation, find};
///
/// let (operation, values) = find("DELETE", "/v1/workloads/default/guestbook")?;
/// assert_eq!((operation, values), (Operation::WorkloadStop, vec!["default", "guestbook"]));
/// assert_eq!(find("GET", "/v2/heartbeat").unwrap_err().code, ErrorCode::UnsupportedVersion);
/// # Ok::<(), wharf_api::ApiError>(())
/// ```
///
/// # Errors
/// [`ErrorCode::UnsupportedVersion`] when the path is one of another version; [`ErrorCode::NotFound`] when there is no
/// such operation.
pub fn find<'a>(method: &str, path: &'a str) -> Result<(Operation, Vec<&'a str>), ApiError> {
    let found = ROUTES.iter().filter(|route| route.method.as_str() == method);
    let mut found = found.filter_map(|route| Some((route.operation, route.values(path)?)));
    if let Some(found) = found.next() {
        return Ok(found);
    }
    let version = path.split('/').nth(1).and_then(|segment| segment.strip_prefix('v'));
    let version = version.filter(|version| version.parse() != Ok(API_VERSION) && is_number(version));
    Err(match version {
        Some(version) => {
            let message = format!(
                "version `{version}` of the API is not supported: this host supports version {API_VERSION}; use a \
                 client of the host's release"
            );
            ApiError::new(ErrorCode::UnsupportedVersion, message)
        }
        None => ApiError::new(ErrorCode::NotFound, format!("the API has no operation `{method} {path}`")),
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_is_found_by_its_method_and_path() {
        for (i, route) in ROUTES.iter().enumerate() {
            assert_eq!(route.operation as usize, i);
            assert!(route.path.starts_with(&format!("/v{API_VERSION}/")));
            let count = route.path.matches('{').count();
            let values = &["one", "two"][..count];
            let path = route.path_with(values);
            assert_eq!(find(route.method.as_str(), &path).unwrap(), (route.operation, values.to_vec()));
        }
    }

    #[test]
    fn other_paths_and_methods_are_not_found() {
        let paths = ["", "/", "/v1", "/v1/", "/v1/workloads/", "/v1/workloads/a", "/v1/workloads//a", "/v1/blobs/a/b"];
        for path in paths.into_iter().chain(["/vX/heartbeat", "/v/heartbeat", "heartbeat"]) {
            assert_eq!(find("GET", path).unwrap_err().code, ErrorCode::NotFound, "{path}");
        }
        assert_eq!(find("PATCH", "/v1/heartbeat").unwrap_err().code, ErrorCode::NotFound);
    }

    #[test]
    fn other_versions_are_not_supported() {
        for path in ["/v2/heartbeat", "/v0/workloads", "/v99999999999999999999/blobs/a"] {
            assert_eq!(find("GET", path).unwrap_err().code, ErrorCode::UnsupportedVersion, "{path}");
        }
    }
}
