//! Sends messages by a script, and handles them by their bodies, through `wasmcloud:messaging/handler@0.3.0`.

wit_bindgen::generate!({ path: "../wit/messaging.wit", world: "handler3", generate_all });
include!("../../shared/messaging.rs");

struct Handler;

export!(Handler);

impl exports::wharf::stores::script::Guest for Handler {
    async fn run(text: String) -> String {
        script(&text).await
    }
}

use exports::wasmcloud::messaging0_3_0::handler::HandleMessageError;

impl exports::wasmcloud::messaging0_3_0::handler::Guest for Handler {
    async fn handle_message(
        message: wasmcloud::messaging0_3_0::types::BrokerMessage,
    ) -> Result<(), HandleMessageError> {
        let bytes = message.body.collect().await;
        let (verdict, reply) = handle(&message.subject, &bytes, message.reply_to);
        if let Some((subject, bytes)) = reply {
            let reply = consumer3::BrokerMessage { subject, body: body(bytes), reply_to: None };
            consumer3::publish(reply).await.map_err(|failed| HandleMessageError::Other(error(failed)))?;
        }
        match verdict {
            Verdict::Done => Ok(()),
            Verdict::Retry => Err(HandleMessageError::Retry),
            Verdict::Reject => Err(HandleMessageError::Reject),
        }
    }
}
