//! Writes to the log, as the path asks, what a log should not take as it is. WASI 0.2.

use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({ path: "../../wit/grants.wit", world: "wharf:grants/logger", generate_all });
include!("../../../shared/answer-p2.rs");

use wasi::logging::logging::{Level, log};

wasip2::http::proxy::export!(Logger);

struct Logger;

/// Moves a terminal's cursor, and begins what looks like another line of the log.
const FORGED: &str = "a\u{1b}[2Jb\r2026-01-01T00:00:00Z ERROR forged\u{85}c\u{202e}d";

impl wasip2::exports::http::incoming_handler::Guest for Logger {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, count) = target.split_once('?').unwrap_or((&target, "1"));
        let count: usize = count.parse().unwrap_or(1);
        match path {
            "/forge-log" => log(Level::Warn, FORGED, FORGED),
            "/forge-print" => {
                let to = wasip2::cli::stdout::get_stdout();
                to.blocking_write_and_flush(FORGED.as_bytes()).unwrap();
                to.blocking_write_and_flush(b"\n").unwrap();
            }
            "/long" => log(Level::Info, &"c".repeat(count), &"x".repeat(count)),
            "/lines" => log(Level::Info, "many", &"line\n".repeat(count)),
            _ => {}
        }
        answer(out, 200, "logged");
    }
}
