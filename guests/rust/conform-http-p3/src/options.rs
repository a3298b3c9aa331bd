//! Tests of `wasi:http`: the options of a request.

use wasip3::http::types::{Fields, Request, RequestOptions, RequestOptionsError};

use crate::body::no_trailers;
use crate::conform::{Good, Outcome, Test};

pub const TESTS: &[Test<Request>] = &[
    test!(
        "options-timeouts",
        timeouts,
        [
            "wasi:http/types#[constructor]request-options",
            "wasi:http/types#[method]request-options.get-connect-timeout",
            "wasi:http/types#[method]request-options.set-connect-timeout",
            "wasi:http/types#[method]request-options.get-first-byte-timeout",
            "wasi:http/types#[method]request-options.set-first-byte-timeout",
            "wasi:http/types#[method]request-options.get-between-bytes-timeout",
            "wasi:http/types#[method]request-options.set-between-bytes-timeout"
        ]
    ),
    test!("options-clone", clone, ["wasi:http/types#[method]request-options.clone"]),
    test!(
        "options-immutable",
        immutable,
        [
            "wasi:http/types#[method]request.get-options",
            "wasi:http/types#[method]request-options.set-connect-timeout",
            "wasi:http/types#[method]request-options.set-first-byte-timeout",
            "wasi:http/types#[method]request-options.set-between-bytes-timeout",
            "wasi:http/types#[method]request-options.clone"
        ]
    ),
];

const MILLISECOND: u64 = 1_000_000;

/// The three timeouts, in milliseconds.
fn all(options: &RequestOptions) -> [Option<u64>; 3] {
    [options.get_connect_timeout(), options.get_first_byte_timeout(), options.get_between_bytes_timeout()]
        .map(|timeout| timeout.map(|nanoseconds| nanoseconds / MILLISECOND))
}

async fn timeouts() -> Outcome {
    let options = RequestOptions::new();
    same!(all(&options), [None::<u64>; 3]);
    options.set_connect_timeout(Some(1000 * MILLISECOND)).good()?;
    same!(all(&options), [Some(1000), None, None]);
    options.set_first_byte_timeout(Some(2000 * MILLISECOND)).good()?;
    options.set_between_bytes_timeout(Some(3000 * MILLISECOND)).good()?;
    same!(all(&options), [Some(1000), Some(2000), Some(3000)]);
    options.set_connect_timeout(None).good()?;
    options.set_first_byte_timeout(Some(0)).good()?;
    same!(all(&options), [None, Some(0), Some(3000)]);
    options.set_first_byte_timeout(None).good()?;
    options.set_between_bytes_timeout(None).good()?;
    same!(all(&options), [None::<u64>; 3]);
    options.set_connect_timeout(Some(u64::MAX)).good()?;
    same!(options.get_connect_timeout(), Some(u64::MAX));
    Ok(())
}

async fn clone() -> Outcome {
    let options = RequestOptions::new();
    options.set_connect_timeout(Some(1000 * MILLISECOND)).good()?;
    let copy = options.clone();
    same!(all(&copy), [Some(1000), None, None]);
    copy.set_first_byte_timeout(Some(2000 * MILLISECOND)).good()?;
    options.set_connect_timeout(None).good()?;
    same!(all(&copy), [Some(1000), Some(2000), None]);
    same!(all(&options), [None::<u64>; 3]);
    Ok(())
}

async fn immutable() -> Outcome {
    let options = RequestOptions::new();
    options.set_connect_timeout(Some(1000 * MILLISECOND)).good()?;
    let (request, _) = Request::new(Fields::new(), None, no_trailers(), Some(options));
    let options = request.get_options().good()?;
    same!(all(&options), [Some(1000), None, None]);
    fails!(options.set_connect_timeout(None), RequestOptionsError::Immutable);
    fails!(options.set_first_byte_timeout(Some(1)), RequestOptionsError::Immutable);
    fails!(options.set_between_bytes_timeout(Some(1)), RequestOptionsError::Immutable);
    let copy = options.clone();
    copy.set_connect_timeout(Some(2000 * MILLISECOND)).good()?;
    same!(all(&copy), [Some(2000), None, None]);
    same!(all(&options), [Some(1000), None, None]);
    Ok(())
}
