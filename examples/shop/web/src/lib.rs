//! The shop's front: `POST /orders?item=…` takes an order, `GET /orders/<id>` shows it with its receipt, `GET /report` the last report.

use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response};
use wasip3::{wit_future as http_future, wit_stream as http_stream};

wit_bindgen::generate!({ path: "../wit", world: "web", generate_all });

use wasmcloud::blobstore::blobstore;
use wasmcloud::keyvalue::{atomics, store};
use wasmcloud::messaging::consumer::{self, BrokerMessage};
use wasmcloud::postgres::query;
use wasmcloud::postgres::types::PgValue;

wasip3::http::service::export!(Web);

struct Web;

/// An answer: the status and the text.
type Answer = (u16, String);

impl wasip3::exports::http::handler::Guest for Web {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let answer = match (request.get_method(), path.split('/').skip(1).collect::<Vec<_>>().as_slice()) {
            (Method::Get, [""]) => Ok((200, "POST /orders?item=tea, GET /orders/<id>, GET /report\n".to_owned())),
            (Method::Post, ["orders"]) => order(query.strip_prefix("item=").unwrap_or("tea")).await,
            (Method::Get, ["orders", id]) => show(id).await,
            (Method::Get, ["report"]) => report().await,
            _ => Ok((404, "no such page\n".to_owned())),
        };
        Ok(respond(answer.unwrap_or_else(|problem| (503, format!("{problem}\n")))))
    }
}

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

/// Counts the order, stores it, and tells the worker.
async fn order(item: &str) -> Result<Answer, String> {
    let counters = store::open("counters".to_owned()).await.map_err(text)?;
    let id = atomics::increment(&counters, "orders".to_owned(), 1).await.map_err(text)?.to_string();
    let table = "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, item TEXT NOT NULL, state TEXT NOT NULL)";
    query::query_batch(table.to_owned()).await.map_err(text)?;
    let values = vec![PgValue::Text(id.clone()), PgValue::Text(item.to_owned())];
    let insert = "INSERT INTO orders (id, item, state) VALUES ($1, $2, 'new')";
    query::query(insert.to_owned(), values).await.map_err(text)?;
    let message = BrokerMessage { subject: "orders.new".to_owned(), body: body(id.clone()), reply_to: None };
    consumer::publish(message).await.map_err(text)?;
    Ok((201, format!("{id}\n")))
}

async fn show(id: &str) -> Result<Answer, String> {
    let select = "SELECT item, state FROM orders WHERE id = $1".to_owned();
    let (_, rows, done) = query::query(select, vec![PgValue::Text(id.to_owned())]).await.map_err(text)?;
    let rows = rows.collect().await;
    done.await.map_err(text)?;
    let Some([PgValue::Text(item), PgValue::Text(state)]) = rows.first().map(Vec::as_slice) else {
        return Ok((404, "no such order\n".to_owned()));
    };
    if state == "new" {
        return Ok((202, format!("{item}: {state}\n")));
    }
    let receipts = blobstore::get_container("receipts".to_owned()).await.map_err(text)?;
    let receipt = receipts.get_data(format!("{id}.txt"), 0, u64::MAX).await.map_err(text)?.collect().await;
    Ok((200, String::from_utf8_lossy(&receipt).into_owned()))
}

async fn report() -> Result<Answer, String> {
    let counters = store::open("counters".to_owned()).await.map_err(text)?;
    let report = counters.get("report".to_owned()).await.map_err(text)?;
    Ok(report.map_or((404, "no report yet\n".to_owned()), |report| (200, String::from_utf8_lossy(&report).into_owned())))
}

/// A stream with this text.
fn body(text: String) -> wit_bindgen::StreamReader<u8> {
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        writer.write_all(text.into_bytes()).await;
    });
    reader
}

fn respond((status, text): Answer) -> Response {
    let (mut body, contents) = http_stream::new();
    let (trailers, trailing) = http_future::new(|| Ok(None));
    drop(trailers);
    let (response, _) = Response::new(Fields::new(), Some(contents), trailing);
    response.set_status_code(status).expect("these codes are well formed");
    wit_bindgen::spawn_local(async move {
        body.write_all(text.into_bytes()).await;
    });
    response
}
