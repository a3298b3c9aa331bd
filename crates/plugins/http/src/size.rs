//! How much the host keeps for the resources of `wasi:http`: headers that a component put together, and bodies that wait to
//! be read.

use std::any::Any;

use http::HeaderMap;
use wasmtime_wasi_http::p2::bindings::http::types::{Method, Scheme};
use wasmtime_wasi_http::p2::body::HostFutureTrailers;
use wasmtime_wasi_http::p2::types::{HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::{FieldMap, p3};
use wharf::Limits;

use crate::pool::STREAM_WINDOW;

/// How many bytes a component writes to a body at a time, at most: the more, the less often it has to wait, and what waits counts
/// in its memory.
const MIN_CHUNK: usize = 64 * 1024;
const MAX_CHUNK: usize = 256 * 1024;
/// How many chunks there is memory for at least.
const CHUNKS_IN_MEMORY: u64 = 64;

/// The size of a chunk where there is so much memory, in bytes.
pub(crate) fn chunk(limits: &Limits) -> usize {
    usize::try_from(limits.memory / CHUNKS_IN_MEMORY).unwrap_or(MAX_CHUNK).clamp(MIN_CHUNK, MAX_CHUNK)
}

/// How many of those wait in a body that is not read: one that is taken, and one more.
const CHUNKS: usize = 2;
/// What the host keeps at most of a request that is under way, in bytes: what the component wrote of its body, and what came
/// of the response.
pub(crate) fn request(limits: &Limits) -> u64 {
    (CHUNKS * chunk(limits)) as u64 + u64::from(STREAM_WINDOW)
}

/// What a header takes beyond its name and value, in bytes.
const HEADER: usize = 64;

/// The bytes behind a resource, or 0 if it is none of these.
pub(crate) fn of(resource: &(dyn Any + Send), limits: &Limits) -> usize {
    let body = |is_open: bool| if is_open { CHUNKS * chunk(limits) } else { 0 };
    if let Some(fields) = resource.downcast_ref::<FieldMap>() {
        headers(fields)
    } else if let Some(response) = resource.downcast_ref::<HostOutgoingResponse>() {
        headers(&response.headers) + body(response.body.is_some())
    } else if let Some(request) = resource.downcast_ref::<HostOutgoingRequest>() {
        let authority = request.authority.as_ref().map_or(0, String::len);
        let path = request.path_with_query.as_ref().map_or(0, String::len);
        let scheme =
            request.scheme.as_ref().map_or(0, |scheme| if let Scheme::Other(other) = scheme { other.len() } else { 0 });
        let method = if let Method::Other(other) = &request.method { other.len() } else { 0 };
        headers(&request.headers) + body(request.body.is_some()) + method + scheme + authority + path
    } else if let Some(response) = resource.downcast_ref::<HostIncomingResponse>() {
        headers(&response.headers)
    } else if let Some(HostFutureTrailers::Done(Ok(Some(trailers)))) = resource.downcast_ref() {
        headers(trailers)
    } else if let Some(request) = resource.downcast_ref::<p3::Request>() {
        let authority = request.authority.as_ref().map_or(0, |authority| authority.as_str().len());
        let path = request.path_with_query.as_ref().map_or(0, |path| path.as_str().len());
        let scheme = request.scheme.as_ref().map_or(0, |scheme| scheme.as_str().len());
        headers(&request.headers) + request.method.as_str().len() + scheme + authority + path
    } else if let Some(response) = resource.downcast_ref::<p3::Response>() {
        headers(&response.headers)
    } else {
        0
    }
}

fn headers(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER).sum()
}
