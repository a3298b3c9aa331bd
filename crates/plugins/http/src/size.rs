//! Estimates how much memory the host uses for the resources of `wasi:http`: headers that a component builds, and
//! bodies that wait to be read.

use std::any::Any;

use http::HeaderMap;
use wasmtime_wasi_http::p2::bindings::http::types::{Method, Scheme};
use wasmtime_wasi_http::p2::body::HostFutureTrailers;
use wasmtime_wasi_http::p2::types::{HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::{FieldMap, p3};
use wharf::Limits;

use crate::pool::STREAM_WINDOW;

/// The bounds of a chunk, the most bytes that a component writes to a body at once. Larger chunks make it wait less
/// often, but the bytes that wait count against its memory.
const MIN_CHUNK: usize = 64 * 1024;
const MAX_CHUNK: usize = 256 * 1024;
/// The memory limit has room for at least this many chunks, unless chunks are at their minimum.
const CHUNKS_PER_MEMORY: u64 = 64;

/// The size of a chunk under these limits, in bytes.
pub(crate) fn body_chunk(limits: &Limits) -> usize {
    usize::try_from(limits.memory / CHUNKS_PER_MEMORY).unwrap_or(MAX_CHUNK).clamp(MIN_CHUNK, MAX_CHUNK)
}

/// How many chunks an unread body buffers: one that its reader has taken, and one that waits.
const BUFFERED_CHUNKS: usize = 2;
/// The most memory, in bytes, that the host uses for a request in flight: the buffered chunks of its body, and the part
/// of the response that is not read yet.
pub(crate) fn of_request(limits: &Limits) -> u64 {
    (BUFFERED_CHUNKS * body_chunk(limits)) as u64 + u64::from(STREAM_WINDOW)
}

/// The memory that a header takes beyond its name and value, in bytes.
const HEADER_OVERHEAD: usize = 64;

/// The memory that the host uses for a resource, in bytes; 0 for a type that is not of `wasi:http`.
pub(crate) fn of_resource(resource: &(dyn Any + Send), limits: &Limits) -> usize {
    let body = |is_open: bool| if is_open { BUFFERED_CHUNKS * body_chunk(limits) } else { 0 };
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
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_OVERHEAD).sum()
}
