//! Tells its caller what it can reach through WASI 0.3.

wit_bindgen::generate!({ path: "../../wit/fixture.wit", world: "inspector-async" });
include!("../../../shared/ask-p3.rs");

struct Inspector;

export!(Inspector);

impl exports::wharf::fixture::inspect_async::Guest for Inspector {
    async fn ask(question: String) -> String {
        ask(&question).await
    }
}
