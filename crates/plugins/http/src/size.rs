//! How much the host keeps for the resources of `wasi:http`: headers that a component put together, and bodies that wait to
//! be read.

use std::any::Any;

use http::HeaderMap;
use wasmtime_wasi_http::p2::types::{HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::{FieldMap, p3};

/// How many bytes a component writes to a body at a time, at most.
pub(crate) const CHUNK: usize = 64 * 1024;
/// How many of those wait in a body that is not read: one that is taken, and one more.
const CHUNKS: usize = 2;
/// What a header takes beyond its name and value, in bytes.
const HEADER: usize = 64;

/// The bytes behind a resource, or 0 if it is none of these.
pub(crate) fn of(resource: &(dyn Any + Send)) -> usize {
    if let Some(fields) = resource.downcast_ref::<FieldMap>() {
        headers(fields)
    } else if let Some(response) = resource.downcast_ref::<HostOutgoingResponse>() {
        headers(&response.headers) + body(response.body.is_some())
    } else if let Some(request) = resource.downcast_ref::<HostOutgoingRequest>() {
        headers(&request.headers) + body(request.body.is_some())
    } else if let Some(response) = resource.downcast_ref::<HostIncomingResponse>() {
        headers(&response.headers)
    } else if let Some(request) = resource.downcast_ref::<p3::Request>() {
        headers(&request.headers)
    } else if let Some(response) = resource.downcast_ref::<p3::Response>() {
        headers(&response.headers)
    } else {
        0
    }
}

fn headers(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER).sum()
}

fn body(is_open: bool) -> usize {
    if is_open { CHUNKS * CHUNK } else { 0 }
}
