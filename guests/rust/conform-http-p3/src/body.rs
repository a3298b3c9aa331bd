//! Bodies, trailers and the server of the tests.

use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme, Trailers};
use wasip3::{wit_future, wit_stream};
use wit_bindgen::{FutureReader, StreamReader};

use crate::conform::Good;

pub type TrailersResult = Result<Option<Trailers>, ErrorCode>;

/// A future that has this value as soon as it is asked for.
pub fn ready<T: wit_future::FuturePayload>(value: T, default: fn() -> T) -> FutureReader<T> {
    let (to, future) = wit_future::new(default);
    wit_bindgen::spawn_local(async move {
        _ = to.write(value).await;
    });
    future
}

pub fn trailers(value: TrailersResult) -> FutureReader<TrailersResult> {
    ready(value, || Ok(None))
}

pub fn no_trailers() -> FutureReader<TrailersResult> {
    trailers(Ok(None))
}

/// What the reader of a body tells its sender.
pub fn result(value: Result<(), ErrorCode>) -> FutureReader<Result<(), ErrorCode>> {
    ready(value, || Ok(()))
}

pub fn list(pairs: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

pub fn fields(pairs: &[(&str, &str)]) -> Result<Fields, String> {
    Fields::from_list(&list(pairs)).good()
}

/// All values of a name, with `|` between them.
pub fn values(fields: &Fields, name: &str) -> String {
    let values = fields.get(name);
    values.iter().map(|value| String::from_utf8_lossy(value)).collect::<Vec<_>>().join("|")
}

/// The text of a stream, and what its future says.
pub async fn text(
    contents: StreamReader<u8>,
    trailers: FutureReader<TrailersResult>,
) -> Result<(String, Option<Trailers>), ErrorCode> {
    let bytes = contents.collect().await;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), trailers.await?))
}

/// The body of a response that went well, and its trailers.
pub async fn read(response: Response) -> Result<(String, Option<Trailers>), ErrorCode> {
    let (contents, trailers) = Response::consume_body(response, result(Ok(())));
    text(contents, trailers).await
}

pub fn authority() -> Result<String, String> {
    let all = wasip3::cli::environment::get_environment();
    let found = all.into_iter().find(|(name, _)| name == "HTTP_AUTHORITY").map(|(_, value)| value);
    found.ok_or_else(|| "HTTP_AUTHORITY is not set".into())
}

/// Has a request go to the server.
pub fn aim(request: &Request, method: &Method, path: &str) -> Result<(), String> {
    request.set_method(method).good()?;
    request.set_scheme(Some(&Scheme::Http)).good()?;
    request.set_authority(Some(&authority()?)).good()?;
    request.set_path_with_query(Some(path)).good()
}

/// A request for the server, without a body.
pub fn get(path: &str) -> Result<Request, String> {
    // Servers send trailers to those who say that they take them (RFC 9110, 6.5.1).
    let headers = Fields::new();
    headers.append("te", b"trailers").good()?;
    let (request, _) = Request::new(headers, None, no_trailers(), None);
    aim(&request, &Method::Get, path)?;
    Ok(request)
}

/// A body that a task writes piece by piece.
pub fn pieces(count: usize, piece: &'static str) -> StreamReader<u8> {
    let (mut to, contents) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        for _ in 0..count {
            if !to.write_all(piece.into()).await.is_empty() {
                return;
            }
        }
    });
    contents
}
