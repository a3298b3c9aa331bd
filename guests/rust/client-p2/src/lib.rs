//! Asks a service on 127.0.0.1:7000 (`/ask?line=X`), or tries whether a port is open (`/port?n=P`). WASI 0.2.

use wasip2::http::types::{IncomingRequest, ResponseOutparam};
use wasip2::io::streams::StreamError;

include!("../../../shared/answer-p2.rs");
include!("../../../shared/loopback-p2.rs");

wasip2::http::proxy::export!(Client);

struct Client;

impl wasip2::exports::http::incoming_handler::Guest for Client {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        if let Some(line) = target.strip_prefix("/ask?line=") {
            match ask(line) {
                Ok(reply) => answer(out, 200, &reply),
                Err(error) => answer(out, 502, &error),
            }
        } else if let Some(port) = target.strip_prefix("/port?n=") {
            match connect(port.parse().unwrap_or_default()) {
                Ok(_) => answer(out, 200, "open"),
                Err(error) => answer(out, 200, &error),
            }
        } else {
            answer(out, 404, "no such path");
        }
    }
}

fn connect(port: u16) -> Result<Connection, String> {
    start_connect(port).and_then(finish_connect).map_err(|error| error.name().into())
}

/// Sends a line and gives the one that comes back.
fn ask(line: &str) -> Result<String, String> {
    let service = connect(7000)?;
    let (from, to, _) = &service;
    for piece in format!("{line}\n").as_bytes().chunks(4096) {
        to.blocking_write_and_flush(piece).map_err(|error| format!("{error:?}"))?;
    }
    let mut reply = Vec::new();
    while !reply.ends_with(b"\n") {
        match from.blocking_read(4096) {
            Ok(bytes) => reply.extend(bytes),
            Err(StreamError::Closed) => return Err("closed without a reply".into()),
            Err(error) => return Err(format!("{error:?}")),
        }
    }
    Ok(String::from_utf8_lossy(&reply).into_owned())
}
