//! Errors of the Redis client and server.
//!
//! Takes an error of the library; gives the store's, which names the server's address. Never shows a URL or a password.

use ::redis::{ErrorKind, RedisError};

use super::super::Error;
use super::super::limits;

/// An error of the library as the store reports it.
pub(super) fn error(address: &str, error: &RedisError) -> Error {
    // A transaction's error has one for each command. That it was aborted says nothing, and why it was does.
    let errors = error.clone().into_server_errors();
    let first = errors.as_deref().and_then(|errors| errors.iter().find(|(_, error)| error.code() != "EXECABORT"));
    if let Some((_, error)) = first {
        return server_error(address, error.code(), error.details().unwrap_or_default());
    }
    let unavailable = |reason: &str| Error::Unavailable(format!("Redis at `{address}`: {reason}"));
    match error.kind() {
        _ if error.is_timeout() => Error::Timeout,
        ErrorKind::AuthenticationFailed => unavailable("it rejects the user or the password"),
        ErrorKind::RESP3NotSupported => unavailable("it is older than version 6"),
        ErrorKind::Io | ErrorKind::Parse => unavailable(&error.to_string()),
        _ => Error::Other(format!("Redis at `{address}`: {error}")),
    }
}

fn server_error(address: &str, code: &str, details: &str) -> Error {
    let unavailable = |reason: &str| Error::Unavailable(format!("Redis at `{address}`: {reason}"));
    match code {
        "WRONGPASS" | "NOAUTH" => unavailable("it rejects the user or the password"),
        "MISCONF" => unavailable("it cannot write to its disk"),
        "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "READONLY" | "TRYAGAIN" | "BUSY" => unavailable(details),
        "MOVED" | "ASK" | "CROSSSLOT" => {
            Error::Other(format!("Redis at `{address}` is a cluster, which is not supported"))
        }
        "NOPERM" => Error::Other(format!("Redis at `{address}` does not permit it: {details}")),
        "OOM" => Error::QuotaExceeded(format!("Redis at `{address}` has reached its limit of memory")),
        "WRONGTYPE" => Error::Other("the key holds another type of Redis than a string".to_owned()),
        _ if details.contains("not an integer") => limits::not_a_number(),
        _ if details.contains("would overflow") => limits::overflow(),
        _ => Error::Other(format!("Redis at `{address}`: {code} {details}")),
    }
}
