//! `/write/N` writes the key and the object N and answers when both are acknowledged; `/check/N` reads them.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_future;

wit_bindgen::generate!({ path: "../wit/durable.wit", world: "durable", generate_all });

use wasmcloud::blobstore::blobstore;
use wasmcloud::keyvalue::store;

wasip3::http::service::export!(Durable);

struct Durable;

impl wasip3::exports::http::handler::Guest for Durable {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let done = match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
            ["write", number] => write(number).await,
            ["check", number] => check(number).await,
            _ => Err("no such page".to_owned()),
        };
        let (trailers, trailing) = wit_future::new(|| Ok(None));
        drop(trailers);
        let (response, _) = Response::new(Fields::new(), None, trailing);
        response.set_status_code(if done.is_ok() { 204 } else { 500 }).unwrap();
        Ok(response)
    }
}

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

/// What is written: long enough to be torn.
fn content(number: &str) -> Vec<u8> {
    number.as_bytes().iter().copied().cycle().take(3000).collect()
}

async fn write(number: &str) -> Result<(), String> {
    let bucket = store::open("default".to_owned()).await.map_err(text)?;
    bucket.set(number.to_owned(), content(number), None).await.map_err(text)?;
    let container = blobstore::get_container("default".to_owned()).await.map_err(text)?;
    let (mut writer, reader) = wit_stream::new();
    let bytes = content(number);
    wit_bindgen::spawn_local(async move {
        writer.write_all(bytes).await;
    });
    container.write_data(number.to_owned(), reader).await.map_err(text)
}

async fn check(number: &str) -> Result<(), String> {
    let bucket = store::open("default".to_owned()).await.map_err(text)?;
    let value = bucket.get(number.to_owned()).await.map_err(text)?;
    let container = blobstore::get_container("default".to_owned()).await.map_err(text)?;
    let object = container.get_data(number.to_owned(), 0, u64::MAX).await.map_err(text)?.collect().await;
    let expected = content(number);
    if value == Some(expected.clone()) && object == expected { Ok(()) } else { Err("lost or torn".to_owned()) }
}
