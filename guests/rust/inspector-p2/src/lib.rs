//! Tells its caller what it can reach through WASI 0.2.

wit_bindgen::generate!({ path: "../../wit/fixture.wit", world: "inspector" });
include!("../../../shared/ask-p2.rs");

struct Inspector;

export!(Inspector);

impl exports::wharf::fixture::inspect::Guest for Inspector {
    fn ask(question: String) -> String {
        ask(&question)
    }
}
