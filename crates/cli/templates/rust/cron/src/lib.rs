//! A job that runs on a schedule: reports how many seconds passed since the hour began.

use std::fmt::Debug;

use wasip3::wit_stream;

mod world {
    wit_bindgen::generate!({ path: "wit", world: "app", pub_export_macro: true });
}

/// The line that is logged for a time, in seconds since 1970.
fn report(now: u64) -> String {
    format!("{} seconds past the hour", now % 3600)
}

struct Component;

wasip3::cli::command::export!(Component);

impl wasip3::exports::cli::run::Guest for Component {
    /// An error is the exit code 1.
    async fn run() -> Result<(), ()> {
        let now = wasip3::clocks::system_clock::now();
        print(report(u64::try_from(now.seconds).unwrap_or_default())).await
    }
}

/// Writes a line to standard output.
async fn print(line: String) -> Result<(), ()> {
    let (mut out, contents) = wit_stream::new();
    let written = wasip3::cli::stdout::write_via_stream(contents);
    out.write_all(format!("{line}\n").into_bytes()).await;
    drop(out);
    written.await.map_err(drop)
}

world::export!(Component with_types_in world);

impl world::Guest for Component {
    fn test_reports() -> Result<(), String> {
        expect(report(7205).as_str(), "5 seconds past the hour")
    }

    fn test_full_hour() -> Result<(), String> {
        expect(report(3600).as_str(), "0 seconds past the hour")
    }
}

/// A test fails with the error that it returns.
fn expect<T: PartialEq + Debug>(actual: T, expected: T) -> Result<(), String> {
    if actual == expected { Ok(()) } else { Err(format!("expected {expected:?}, got {actual:?}")) }
}
