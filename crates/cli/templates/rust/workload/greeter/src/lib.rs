//! Greets: the interface that `front` imports.

wit_bindgen::generate!({ path: "../wit", world: "service" });

struct Component;

export!(Component);

impl exports::app::{{snake}}::greeter::Guest for Component {
    fn greet(name: String) -> String {
        format!("Hello, {name}!")
    }
}

impl Guest for Component {
    fn test_greets() -> Result<(), String> {
        let greeting = <Self as exports::app::{{snake}}::greeter::Guest>::greet("Ada".to_owned());
        if greeting == "Hello, Ada!" { Ok(()) } else { Err(greeting) }
    }
}
