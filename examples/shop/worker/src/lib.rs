//! Handles `orders.new`: writes a signed receipt to the blob store, and marks the order as done.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

wit_bindgen::generate!({ path: "../wit", world: "worker", generate_all });

use exports::wasmcloud::messaging::handler::{BrokerMessage, Guest, HandleMessageError};
use wasmcloud::blobstore::blobstore;
use wasmcloud::postgres::query;
use wasmcloud::postgres::types::PgValue;
use wasmcloud::secrets::store::SecretValue;
use wasmcloud::secrets::{reveal, store};

struct Worker;

export!(Worker);

impl Guest for Worker {
    async fn handle_message(message: BrokerMessage) -> Result<(), HandleMessageError> {
        let id = String::from_utf8(message.body.collect().await).map_err(|_| HandleMessageError::Reject)?;
        // A store that is away may be back the next time.
        handle(&id).await.map_err(|_| HandleMessageError::Retry)
    }
}

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

async fn handle(id: &str) -> Result<(), String> {
    let select = "SELECT item FROM orders WHERE id = $1".to_owned();
    let (_, rows, done) = query::query(select, vec![PgValue::Text(id.to_owned())]).await.map_err(text)?;
    let rows = rows.collect().await;
    done.await.map_err(text)?;
    let Some([PgValue::Text(item)]) = rows.first().map(Vec::as_slice) else { return Err("no such order".to_owned()) };
    let receipt = format!("order {id}: {item}\n");
    let receipt = format!("{receipt}signed {}\n", sign(&receipt).await?);
    let receipts = blobstore::get_container("receipts".to_owned()).await.map_err(text)?;
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        writer.write_all(receipt.into_bytes()).await;
    });
    receipts.write_data(format!("{id}.txt"), reader).await.map_err(text)?;
    let update = "UPDATE orders SET state = 'done' WHERE id = $1".to_owned();
    let (_, _, done) = query::query(update, vec![PgValue::Text(id.to_owned())]).await.map_err(text)?;
    done.await.map_err(text)
}

/// The signature of a text, with the key that only this component is granted.
async fn sign(text: &str) -> Result<String, String> {
    let secret = store::get("signing-key".to_owned()).await.map_err(self::text)?;
    let key = match reveal::reveal(&secret).await {
        SecretValue::String(key) => key.into_bytes(),
        SecretValue::Bytes(key) => key,
    };
    let mut signature = Hmac::<Sha256>::new_from_slice(&key).map_err(self::text)?;
    signature.update(text.as_bytes());
    Ok(signature.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}
