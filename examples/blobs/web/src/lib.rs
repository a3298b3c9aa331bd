//! Objects over HTTP: `PUT /<name>` stores the body, `GET /<name>` sends it, `GET /` lists the names.

use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

wit_bindgen::generate!({
    path: "../wit",
    world: "web",
    with: { "wasi:io/streams@0.2.12": wasip2::io::streams },
    generate_all,
});

use wasi::blobstore::blobstore::{container_exists, create_container, get_container};
use wasi::blobstore::container::Container;
use wasi::blobstore::types::{IncomingValue, OutgoingValue};

wasip2::http::proxy::export!(Web);

struct Web;

impl wasip2::exports::http::incoming_handler::Guest for Web {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let name = path.trim_start_matches('/');
        let answer = objects().and_then(|objects| match request.method() {
            Method::Put => put(&objects, name, &request).map(|()| Answer::Text(201, "stored\n".to_owned())),
            Method::Get if name.is_empty() => list(&objects).map(|names| Answer::Text(200, names)),
            Method::Get if objects.has_object(name)? => objects.get_data(name, 0, u64::MAX).map(Answer::Object),
            Method::Get => Ok(Answer::Text(404, "no such object\n".to_owned())),
            _ => Ok(Answer::Text(405, "GET or PUT\n".to_owned())),
        });
        let answer = answer.unwrap_or_else(|problem| Answer::Text(503, format!("{problem}\n")));
        let response = OutgoingResponse::new(Fields::new());
        let status = if let Answer::Text(status, _) = answer { status } else { 200 };
        response.set_status_code(status).expect("these codes are well formed");
        let body = response.body().expect("it is asked for once");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("it is asked for once");
        // A client that goes away ends the stream.
        match answer {
            Answer::Text(_, text) => drop(stream.blocking_write_and_flush(text.as_bytes())),
            Answer::Object(value) => {
                if let Ok(object) = IncomingValue::incoming_value_consume_async(value) {
                    drop(copy(&object, &stream));
                }
            }
        }
        drop(stream);
        drop(OutgoingBody::finish(body, None));
    }
}

enum Answer {
    Text(u16, String),
    Object(IncomingValue),
}

fn objects() -> Result<Container, String> {
    if container_exists("objects")? {
        return get_container("objects");
    }
    // Another request may create it at the same time.
    create_container("objects").or_else(|_| get_container("objects"))
}

fn list(objects: &Container) -> Result<String, String> {
    let names = objects.list_objects()?;
    let (mut lines, mut ended) = (String::new(), false);
    while !ended {
        let (page, last) = names.read_stream_object_names(100)?;
        page.iter().for_each(|name| lines.extend([name, "\n"]));
        ended = last;
    }
    Ok(lines)
}

fn put(objects: &Container, name: &str, request: &IncomingRequest) -> Result<(), String> {
    let value = OutgoingValue::new_outgoing_value();
    objects.write_data(name, &value)?;
    let output = value.outgoing_value_write_body().map_err(|()| "the store takes no body")?;
    let body = request.consume().map_err(|()| "the request has no body")?;
    let input = body.stream().map_err(|()| "the body was read")?;
    copy(&input, &output).map_err(|error| format!("{error:?}"))?;
    drop((output, input));
    OutgoingValue::finish(value)
}

/// Copies a stream to its end, without taking it into memory.
fn copy(from: &InputStream, to: &OutputStream) -> Result<(), StreamError> {
    loop {
        match to.blocking_splice(from, 64 * 1024) {
            Ok(_) => {}
            Err(StreamError::Closed) => return to.blocking_flush(),
            Err(error) => return Err(error),
        }
    }
}
