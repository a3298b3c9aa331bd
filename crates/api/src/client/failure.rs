//! Why a request has no response that can be read.

use std::time::Duration;

use crate::error::{ApiError, ErrorCode};

/// What a client meets that a host in process does not: each becomes an [`ApiError`] of code [`ErrorCode::Transport`].
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("cannot connect to `{address}`; check the address, and that the host runs")]
    Connect {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("no connection to `{address}` within {after:?}; check the address, and that the host runs")]
    ConnectTimeout { address: String, after: Duration },
    #[error("cannot build an HTTP request for `{address}`; check the address")]
    Request {
        address: String,
        #[source]
        source: hyper::http::Error,
    },
    #[error(
        "the connection to `{address}` failed before the response was complete; the host may have carried the operation \
         out: ask for the status before you repeat it"
    )]
    Exchange {
        address: String,
        #[source]
        source: hyper::Error,
    },
    #[error(
        "no response from `{address}` within {after:?}; the host may still carry the operation out: ask for the status, \
         or set a longer time-out"
    )]
    Timeout { address: String, after: Duration },
    #[error("limit reached: response body ({limit} bytes); set a higher limit on the client")]
    TooLarge { limit: usize },
    #[error("the response (status {status}) is not a Wharf API response; check that a Wharf host is at this address")]
    Body {
        status: u16,
        #[source]
        source: serde_json::Error,
    },
    #[error("the response to `HEAD` has the status {status}; check that a Wharf host is at this address")]
    Head { status: u16 },
    #[error("cannot serialize the request as JSON")]
    Encode(#[source] serde_json::Error),
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self::of(ErrorCode::Transport, &failure)
    }
}
