//! A program: greets its first argument.

use std::fmt::Debug;

use wasip3::wit_stream;

mod world {
    wit_bindgen::generate!({ path: "wit", world: "app", pub_export_macro: true });
}

/// The line that is printed.
fn greeting(who: Option<&str>) -> String {
    format!("Hello, {}!", who.unwrap_or("world"))
}

struct Component;

wasip3::cli::command::export!(Component);

impl wasip3::exports::cli::run::Guest for Component {
    /// An error is the exit code 1.
    async fn run() -> Result<(), ()> {
        let args = wasip3::cli::environment::get_arguments();
        print(greeting(args.get(1).map(String::as_str))).await
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
    fn test_greets() -> Result<(), String> {
        expect(greeting(None).as_str(), "Hello, world!")
    }

    fn test_greets_by_name() -> Result<(), String> {
        expect(greeting(Some("Ada")).as_str(), "Hello, Ada!")
    }
}

/// A test fails with the error that it returns.
fn expect<T: PartialEq + Debug>(actual: T, expected: T) -> Result<(), String> {
    if actual == expected { Ok(()) } else { Err(format!("expected {expected:?}, got {actual:?}")) }
}
