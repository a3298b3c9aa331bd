//! Notes over HTTP, kept in PostgreSQL.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::{Client, RowStream};
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response};
use wasip3::{wit_future, wit_stream};

use database::Failure;

mod database;
mod random;
mod tcp;

wasip3::http::service::export!(Notes);

struct Notes;

const MAX_NOTE: usize = 64 * 1024;
/// How much of a list is written at once.
const CHUNK: usize = 16 * 1024;
const JSON: (&str, &str) = ("content-type", "application/json");

impl wasip3::exports::http::handler::Guest for Notes {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let done = match (request.get_method(), path.strip_prefix("/notes")) {
            (Method::Get, Some("")) => list().await,
            (Method::Post, Some("")) => add(request).await,
            (_, Some("")) => Ok(answer(405, &[("allow", "GET, POST")], "GET or POST, please\n")),
            (Method::Delete, Some(rest)) if rest.starts_with('/') => remove(&rest[1..]).await,
            (_, Some(rest)) if rest.starts_with('/') => Ok(answer(405, &[("allow", "DELETE")], "DELETE, please\n")),
            _ => Ok(answer(404, &[], "the notes are at /notes\n")),
        };
        Ok(match done {
            Ok(response) => response,
            Err(failure) => failed(failure).await,
        })
    }
}

async fn list() -> Result<Response, Failure> {
    let client = database::open().await?;
    let rows = database::all(&client).await?;
    let (contents, body) = wit_stream::new();
    let (end, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(headers(&[JSON]), Some(body), trailers);
    wit_bindgen::spawn_local(async move {
        // Too late for another status: an answer that ends with an error is cut short.
        let done = write(client, rows, contents).await;
        if let Err(error) = &done {
            log(&format!("the list: {}", database::said(error))).await;
        }
        let done = done.map(|()| None).map_err(|error| ErrorCode::InternalError(Some(error.to_string())));
        // A client that is gone does not read it.
        let _ = end.write(done).await;
    });
    Ok(response)
}

/// Writes the rows as they come, and asks for no more of them than the one who reads the answer takes.
async fn write(
    _client: Client,
    rows: RowStream,
    mut to: wit_bindgen::StreamWriter<u8>,
) -> Result<(), tokio_postgres::Error> {
    let mut rows = pin!(rows);
    let mut text = String::from("[");
    while let Some(row) = rows.try_next().await? {
        if text.len() >= CHUNK && !to.write_all(std::mem::take(&mut text).into_bytes()).await.is_empty() {
            return Ok(());
        }
        text.push_str(row.try_get(0)?);
        text.push_str(",\n");
    }
    if text.ends_with(",\n") {
        text.truncate(text.len() - 2);
    }
    text.push_str("]\n");
    to.write_all(text.into_bytes()).await;
    Ok(())
}

async fn add(request: Request) -> Result<Response, Failure> {
    let text = match note(request).await {
        Ok(text) => text,
        Err(problem) => return Ok(answer(400, &[], problem)),
    };
    let client = database::open().await?;
    let note = database::add(&client, &text).await?;
    Ok(answer(201, &[JSON], &(note + "\n")))
}

async fn remove(id: &str) -> Result<Response, Failure> {
    let Ok(id) = id.parse() else {
        return Ok(answer(400, &[], "a note's id is a number\n"));
    };
    let client = database::open().await?;
    Ok(match database::remove(&client, id).await? {
        true => answer(204, &[], ""),
        false => answer(404, &[], "there is no such note\n"),
    })
}

/// The log has the whole story, and the client what concerns it.
async fn failed(failure: Failure) -> Response {
    let (status, text, why) = match failure {
        Failure::Away(why) => (503, "the database is away\n", why),
        Failure::Refused(why) => (500, "the database refused\n", why),
    };
    log(&why).await;
    answer(status, &[], text)
}

/// A request's body as the text of a note, or what is wrong with it.
async fn note(request: Request) -> Result<String, &'static str> {
    let (done, result) = wit_future::new(|| Ok(()));
    drop(done);
    let (mut contents, end) = Request::consume_body(request, result);
    let mut bytes = Vec::with_capacity(MAX_NOTE + 1);
    while bytes.len() <= MAX_NOTE {
        let before = bytes.len();
        (_, bytes) = contents.read(bytes).await;
        if bytes.len() == before {
            break;
        }
    }
    if bytes.len() > MAX_NOTE {
        return Err("a note has at most 64 KiB\n");
    }
    drop(contents);
    end.await.map_err(|_| "the note was cut short\n")?;
    let text = String::from_utf8(bytes).map_err(|_| "a note is UTF-8\n")?;
    // PostgreSQL's texts have no NUL.
    if text.trim().is_empty() || text.contains('\0') {
        return Err("a note is a text\n");
    }
    Ok(text)
}

fn answer(status: u16, fields: &[(&str, &str)], text: &str) -> Response {
    let (mut contents, body) = wit_stream::new();
    let (end, trailers) = wit_future::new(|| Ok(None));
    drop(end);
    let (response, _) = Response::new(headers(fields), Some(body), trailers);
    response.set_status_code(status).expect("these codes are well formed");
    let text = text.as_bytes().to_vec();
    wit_bindgen::spawn_local(async move {
        contents.write_all(text).await;
    });
    response
}

fn headers(fields: &[(&str, &str)]) -> Fields {
    let headers = Fields::new();
    for (name, value) in fields {
        headers.append(name, value.as_bytes()).expect("these headers are well formed");
    }
    headers
}

/// A line for the host's log.
async fn log(line: &str) {
    let (mut to, contents) = wit_stream::new();
    let done = wasip3::cli::stderr::write_via_stream(contents);
    to.write_all(format!("{line}\n").into_bytes()).await;
    drop(to);
    let _ = done.await;
}
