//! Whole exchanges with a server.

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, FutureTrailers, IncomingBody, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme,
};

use crate::bytes::{read_all, write_all};
use crate::fields::list;

/// Where the server is that echoes.
pub fn echo() -> Result<String, String> {
    let found = wasip2::cli::environment::get_environment().into_iter().find(|(name, _)| name == "HTTP_AUTHORITY");
    Ok(some!(found).1)
}

pub fn request(
    authority: &str,
    method: &Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<OutgoingRequest, String> {
    let request = OutgoingRequest::new(ok!(Fields::from_list(&list(headers))));
    ok!(request.set_scheme(Some(&Scheme::Http)));
    ok!(request.set_authority(Some(authority)));
    ok!(request.set_method(method));
    ok!(request.set_path_with_query(Some(path)));
    Ok(request)
}

/// Waits for the answer.
pub fn answer(future: &FutureIncomingResponse) -> Result<Result<IncomingResponse, ErrorCode>, String> {
    future.subscribe().block();
    Ok(ok!(some!(future.get())))
}

/// Sends a request without a body, and waits for what comes of it.
pub fn send(
    request: OutgoingRequest,
    options: Option<RequestOptions>,
) -> Result<Result<IncomingResponse, ErrorCode>, String> {
    match handle(request, options) {
        Ok(future) => answer(&future),
        Err(error) => Ok(Err(error)),
    }
}

/// What a server answered.
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
}

impl Reply {
    pub fn header(&self, name: &str) -> String {
        join(&self.headers, name)
    }

    pub fn trailer(&self, name: &str) -> String {
        join(&self.trailers, name)
    }
}

/// The values of a name. A server may send several of them as one.
fn join(pairs: &[(String, Vec<u8>)], name: &str) -> String {
    let named = pairs.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    named.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>().join(", ")
}

pub fn trailers(future: &FutureTrailers) -> Result<Vec<(String, Vec<u8>)>, String> {
    future.subscribe().block();
    Ok(ok!(ok!(some!(future.get()))).map(|fields| fields.entries()).unwrap_or_default())
}

/// Reads all of an answer.
pub fn read(response: &IncomingResponse) -> Result<Reply, String> {
    let headers = response.headers().entries();
    let body = ok!(response.consume());
    let from = ok!(body.stream());
    let bytes = read_all(&from)?;
    drop(from);
    let trailers = trailers(&IncomingBody::finish(body))?;
    Ok(Reply { status: response.status(), headers, body: bytes, trailers })
}

/// Sends a request, with a body if there is one, and reads the answer.
pub fn ask(request: OutgoingRequest, body: Option<&[u8]>) -> Result<Reply, String> {
    let outgoing = match body {
        Some(_) => Some(ok!(request.body())),
        None => None,
    };
    let future = ok!(handle(request, None));
    if let (Some(outgoing), Some(bytes)) = (outgoing, body) {
        let to = ok!(outgoing.write());
        write_all(&to, bytes)?;
        drop(to);
        ok!(OutgoingBody::finish(outgoing, None));
    }
    let response = ok!(answer(&future)?);
    read(&response)
}
