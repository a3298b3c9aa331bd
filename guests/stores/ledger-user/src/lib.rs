//! Uses the ledger that its host provides, and tries to open stores. A line is `note TEXT`, `entries`, `open NAME` or `spin COUNT`, which
//! calls `next` that often.

wit_bindgen::generate!({ path: "../wit/ledger.wit", world: "user", generate_all });

use exports::wharf::stores::script::Guest;
use wasi::keyvalue::store::open;
use wharf::stores::ledger;

struct User;

export!(User);

impl Guest for User {
    fn run(script: String) -> String {
        let line = |line: &str| match line.split_once(' ').unwrap_or((line, "")) {
            ("note", text) => ledger::note(text),
            ("open", name) => open(name).map_or_else(|error| format!("{error:?}"), |_| "ok".to_owned()),
            ("spin", count) => {
                let count: u32 = count.parse().unwrap();
                let mut number = 0;
                while number < count {
                    number = ledger::next(number);
                }
                number.to_string()
            }
            _ => ledger::entries().join(", "),
        };
        script.lines().map(|text| line(text.trim())).collect::<Vec<_>>().join("\n")
    }
}
