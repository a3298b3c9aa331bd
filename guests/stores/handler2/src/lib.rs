//! Sends messages by a script, and handles them by their bodies, through `wasmcloud:messaging/handler@0.2.0`.

wit_bindgen::generate!({ path: "../wit/messaging.wit", world: "handler2", generate_all });
include!("../../shared/messaging.rs");

struct Handler;

export!(Handler);

impl exports::wharf::stores::script::Guest for Handler {
    async fn run(text: String) -> String {
        script(&text).await
    }
}

impl exports::wasmcloud::messaging0_2_0::handler::Guest for Handler {
    fn handle_message(message: wasmcloud::messaging0_2_0::types::BrokerMessage) -> Result<(), String> {
        let (verdict, reply) = handle(&message.subject, &message.body, message.reply_to);
        if let Some((subject, body)) = reply {
            consumer2::publish(&consumer2::BrokerMessage { subject, body, reply_to: None })?;
        }
        match verdict {
            Verdict::Done => Ok(()),
            Verdict::Retry => Err("later".to_owned()),
            Verdict::Reject => Err("never".to_owned()),
        }
    }
}
