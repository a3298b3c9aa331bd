//! Exports HTTP, a command and the message handlers of both versions. As a service all of them meet in one instance: `GET /` says how
//! far `run` has come and which handlers were called, and any other path is a message to send.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future as http_future, wit_stream as http_stream};

wit_bindgen::generate!({ path: "../wit/messaging.wit", world: "everything", generate_all });

use exports::wasmcloud::messaging0_2_0::handler as handler2;
use exports::wasmcloud::messaging0_3_0::handler as handler3;
use wasmcloud::messaging0_3_0::consumer::{self, BrokerMessage};

wasip3::cli::command::export!(Everything);
wasip3::http::service::export!(Everything);
export!(Everything);

struct Everything;

static STEPS: AtomicU32 = AtomicU32::new(0);
static OLD: AtomicU32 = AtomicU32::new(0);
static NEW: AtomicU32 = AtomicU32::new(0);

impl wasip3::exports::cli::run::Guest for Everything {
    async fn run() -> Result<(), ()> {
        loop {
            STEPS.fetch_add(1, Relaxed);
            wait_for(10_000_000).await;
        }
    }
}

impl handler2::Guest for Everything {
    fn handle_message(_: handler2::BrokerMessage) -> Result<(), String> {
        OLD.fetch_add(1, Relaxed);
        Ok(())
    }
}

impl handler3::Guest for Everything {
    async fn handle_message(message: handler3::BrokerMessage) -> Result<(), handler3::HandleMessageError> {
        drop(message.body.collect().await);
        NEW.fetch_add(1, Relaxed);
        Ok(())
    }
}

impl wasip3::exports::http::handler::Guest for Everything {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let text = match path.trim_start_matches('/') {
            "" => format!("run {} old {} new {}", STEPS.load(Relaxed).min(1), OLD.load(Relaxed), NEW.load(Relaxed)),
            subject => {
                let (writer, body) = wit_stream::new();
                drop(writer);
                let message = BrokerMessage { subject: subject.to_owned(), body, reply_to: None };
                consumer::publish(message).await.map_or_else(|error| format!("{error:?}"), |()| "sent".to_owned())
            }
        };
        let (mut body, contents) = http_stream::new();
        let (trailers, trailing) = http_future::new(|| Ok(None));
        drop(trailers);
        let (response, _) = Response::new(Fields::new(), Some(contents), trailing);
        wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
        });
        Ok(response)
    }
}
