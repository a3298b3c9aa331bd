//! Greets: the interface `greeter`, for other components.

use std::fmt::Debug;

wit_bindgen::generate!({ path: "wit", world: "app" });

struct Component;

export!(Component);

impl exports::app::{{snake}}::greeter::Guest for Component {
    fn greet(name: String) -> String {
        let name = name.trim();
        if name.is_empty() { "Hello!".to_owned() } else { format!("Hello, {name}!") }
    }
}

impl Guest for Component {
    fn test_greets() -> Result<(), String> {
        expect(greet("Ada").as_str(), "Hello, Ada!")
    }

    fn test_greets_nobody() -> Result<(), String> {
        expect(greet(" ").as_str(), "Hello!")
    }
}

fn greet(name: &str) -> String {
    <Component as exports::app::{{snake}}::greeter::Guest>::greet(name.to_owned())
}

/// A test fails with the error that it returns.
fn expect<T: PartialEq + Debug>(actual: T, expected: T) -> Result<(), String> {
    if actual == expected { Ok(()) } else { Err(format!("expected {expected:?}, got {actual:?}")) }
}
