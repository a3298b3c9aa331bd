// How a guest answers through WASI 0.2. Included by those that answer in text. A client that went away is no error.

/// Sends the head of an answer.
fn begin(
    out: wasip2::http::types::ResponseOutparam,
    status: u16,
    headers: wasip2::http::types::Fields,
) -> wasip2::http::types::OutgoingBody {
    let response = wasip2::http::types::OutgoingResponse::new(headers);
    response.set_status_code(status).unwrap();
    let body = response.body().unwrap();
    wasip2::http::types::ResponseOutparam::set(out, Ok(response));
    body
}

/// Sends a whole answer.
fn answer(out: wasip2::http::types::ResponseOutparam, status: u16, text: &str) {
    let headers = wasip2::http::types::Fields::new();
    headers.append("content-length", text.len().to_string().as_bytes()).unwrap();
    let body = begin(out, status, headers);
    let stream = body.write().unwrap();
    for piece in text.as_bytes().chunks(4096) {
        if stream.blocking_write_and_flush(piece).is_err() {
            break;
        }
    }
    drop(stream);
    wasip2::http::types::OutgoingBody::finish(body, None).ok();
}
