//! The body of a request, within a size and a time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use wharf::api::{ApiError, ErrorCode};

/// How long a client may take for the next piece of a body.
const IDLE: Duration = Duration::from_secs(30);
/// What is reserved for a body before any of it has come, in bytes.
const RESERVED: usize = 1 << 20;

/// Reads a body of up to `limit` bytes.
pub(crate) async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, ApiError> {
    let too_large = || invalid(format!("limit reached: request body ({limit} bytes)"));
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_large());
    }
    let mut read = BytesMut::with_capacity(announced.min(RESERVED));
    loop {
        let frame = tokio::time::timeout(IDLE, body.frame()).await;
        let frame = frame.map_err(|_| invalid(format!("the request stopped for {IDLE:?} before its end")))?;
        let Some(frame) = frame else { return Ok(read.freeze()) };
        let frame = frame.map_err(|error| invalid(format!("the request ended early: {error}")))?;
        if let Ok(data) = frame.into_data() {
            if data.len() > limit - read.len() {
                return Err(too_large());
            }
            read.extend_from_slice(&data);
        }
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Invalid, message)
}
