//! Runs operations on blob stores: a line is `GENERATION CONTAINER OPERATION ARGUMENT…`, where a generation is `draft` or `wasmcloud`.
//! An argument `~8` is eight times `x`, and `~0` is nothing.

use std::fmt::Debug;

wit_bindgen::generate!({ path: "../wit/blobstore.wit", world: "blobs", generate_all });

use exports::wharf::stores::script::Guest;
use wasi::blobstore as draft;
use wasi::io::streams::StreamError;
use wasmcloud::blobstore as cloud;
use wit_bindgen::StreamResult;

struct Blobs;

export!(Blobs);

/// The piece that streams are written in.
const PIECE: usize = 64 * 1024;

impl Guest for Blobs {
    async fn run(script: String) -> String {
        let mut lines = Vec::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<String> = line.split_whitespace().map(word).collect();
            lines.push(match words[0].as_str() {
                "draft" => in_draft(&words[1..]).unwrap_or_else(|failed| format!("error {failed}")),
                _ => in_cloud(&words[1..]).await.unwrap_or_else(error),
            });
        }
        lines.join("\n")
    }
}

fn word(text: &str) -> String {
    match text.strip_prefix('~').and_then(|count| count.parse().ok()) {
        Some(count) => "x".repeat(count),
        None => text.to_owned(),
    }
}

fn error(error: impl Debug) -> String {
    let text = format!("{error:?}");
    format!("error {}", text.split("::").last().unwrap_or_default())
}

fn short(value: &[u8]) -> String {
    if value.len() > 100 { format!("{} bytes", value.len()) } else { String::from_utf8_lossy(value).into_owned() }
}

fn sorted(mut names: Vec<String>) -> String {
    names.sort();
    names.join(",")
}

fn ids(words: &[String]) -> (String, String) {
    let (container, object) = words[3].split_once(':').unwrap();
    (container.to_owned(), object.to_owned())
}

fn write(stream: &wasi::io::streams::OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    for piece in bytes.chunks(4096) {
        stream.blocking_write_and_flush(piece)?;
    }
    Ok(())
}

fn in_draft(words: &[String]) -> Result<String, String> {
    use draft::types::{IncomingValue, ObjectId, OutgoingValue};
    let failed = |error: StreamError| format!("{error:?}").split([' ', '{', '(']).next().unwrap_or_default().to_owned();
    let name = words.get(2).map_or("", String::as_str);
    match words[1].as_str() {
        "create" => return draft::blobstore::create_container(&words[0]).and_then(|it| it.name()),
        "exists" => return draft::blobstore::container_exists(&words[0]).map(|it| it.to_string()),
        "remove" => return draft::blobstore::delete_container(&words[0]).map(|()| "ok".into()),
        "copy" | "move" => {
            let (container, object) = ids(words);
            let (from, to) = (ObjectId { container: words[0].clone(), object: name.into() }, ObjectId { container, object });
            let done = if words[1] == "copy" { draft::blobstore::copy_object(&from, &to) } else { draft::blobstore::move_object(&from, &to) };
            return done.map(|()| "ok".into());
        }
        _ => {}
    }
    let container = draft::blobstore::get_container(&words[0])?;
    let open = || {
        let value = OutgoingValue::new_outgoing_value();
        let stream = value.outgoing_value_write_body().unwrap();
        (value, stream)
    };
    Ok(match words[1].as_str() {
        // Has the store read while it writes.
        "put" => {
            let (value, stream) = open();
            container.write_data(name, &value)?;
            write(&stream, words[3].as_bytes()).map_err(failed)?;
            drop(stream);
            OutgoingValue::finish(value)?;
            "ok".into()
        }
        // Writes first.
        "put-after" => {
            let (value, stream) = open();
            write(&stream, words[3].as_bytes()).map_err(failed)?;
            drop(stream);
            container.write_data(name, &value)?;
            OutgoingValue::finish(value)?;
            "ok".into()
        }
        // Never finishes.
        "put-half" => {
            let (value, stream) = open();
            container.write_data(name, &value)?;
            write(&stream, words[3].as_bytes()).map_err(failed)?;
            "ok".into()
        }
        "put-trap" => {
            let (value, stream) = open();
            container.write_data(name, &value)?;
            write(&stream, words[3].as_bytes()).map_err(failed)?;
            panic!("in the middle of a value")
        }
        "get" => short(&IncomingValue::incoming_value_consume_sync(container.get_data(name, 0, u64::MAX)?)?),
        "get-range" => {
            let (start, end) = (words[3].parse().unwrap(), words[4].parse().unwrap());
            let value = container.get_data(name, start, end)?;
            let size = value.size();
            format!("{size} {}", short(&IncomingValue::incoming_value_consume_sync(value)?))
        }
        "read" => {
            let stream = IncomingValue::incoming_value_consume_async(container.get_data(name, 0, u64::MAX)?)?;
            let mut count = 0;
            loop {
                match stream.blocking_read(PIECE as u64) {
                    Ok(piece) => count += piece.len(),
                    Err(StreamError::Closed) => break format!("{count} bytes"),
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        "has" => container.has_object(name)?.to_string(),
        "size" => container.object_info(name)?.size.to_string(),
        "delete" => container.delete_objects(&words[2..]).map(|()| "ok".into())?,
        "clear" => container.clear().map(|()| "ok".into())?,
        "list" => {
            let names = container.list_objects()?;
            let mut all = Vec::new();
            loop {
                let (some, ended) = names.read_stream_object_names(2)?;
                all.extend(some);
                if ended {
                    break sorted(all);
                }
            }
        }
        other => format!("no operation {other}"),
    })
}

async fn in_cloud(words: &[String]) -> Result<String, cloud::types::Error> {
    use cloud::types::ObjectId;
    let name = words.get(2).cloned().unwrap_or_default();
    match words[1].as_str() {
        "create" => return cloud::blobstore::create_container(words[0].clone()).await?.name().await,
        "exists" => return cloud::blobstore::container_exists(words[0].clone()).await.map(|it| it.to_string()),
        "remove" => return cloud::blobstore::delete_container(words[0].clone()).await.map(|()| "ok".into()),
        "copy" | "move" => {
            let (container, object) = ids(words);
            let (from, to) = (ObjectId { container: words[0].clone(), object: name }, ObjectId { container, object });
            let done = if words[1] == "copy" {
                cloud::blobstore::copy_object(from, to).await
            } else {
                cloud::blobstore::move_object(from, to).await
            };
            return done.map(|()| "ok".into());
        }
        _ => {}
    }
    let container = cloud::blobstore::get_container(words[0].clone()).await?;
    Ok(match words[1].as_str() {
        "put" => {
            let (mut writer, reader) = wit_stream::new();
            let bytes = words[3].clone().into_bytes();
            wit_bindgen::spawn_local(async move {
                writer.write_all(bytes).await;
            });
            container.write_data(name, reader).await.map(|()| "ok".into())?
        }
        // Writes so many bytes in pieces, which it makes as it goes.
        "stream" => {
            let (mut writer, reader) = wit_stream::new();
            let count: usize = words[3].parse().unwrap();
            wit_bindgen::spawn_local(async move {
                let mut left = count;
                while left > 0 {
                    let piece = left.min(PIECE);
                    if !writer.write_all(vec![7; piece]).await.is_empty() {
                        return;
                    }
                    left -= piece;
                }
            });
            container.write_data(name, reader).await.map(|()| "ok".into())?
        }
        "get" => short(&container.get_data(name, 0, u64::MAX).await?.collect().await),
        "get-range" => {
            let (start, end) = (words[3].parse().unwrap(), words[4].parse().unwrap());
            short(&container.get_data(name, start, end).await?.collect().await)
        }
        "read" => {
            let mut stream = container.get_data(name, 0, u64::MAX).await?;
            let (mut piece, mut count) = (Vec::with_capacity(PIECE), 0);
            loop {
                let (result, read) = stream.read(piece).await;
                count += read.len();
                if !matches!(result, StreamResult::Complete(_)) {
                    break format!("{count} bytes");
                }
                piece = read;
                piece.clear();
            }
        }
        "has" => container.has_object(name).await?.to_string(),
        "size" => container.object_info(name).await?.size.to_string(),
        "delete" => container.delete_objects(words[2..].to_vec()).await.map(|()| "ok".into())?,
        "clear" => container.clear().await.map(|()| "ok".into())?,
        "list" => sorted(container.list_objects().await?.collect().await),
        other => format!("no operation {other}"),
    })
}
