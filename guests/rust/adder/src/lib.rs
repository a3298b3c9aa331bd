//! Small functions to call from a sibling: what a call costs is measured with them.

wit_bindgen::generate!({ path: "../../wit/fixture.wit", world: "adder" });

struct Adder;

export!(Adder);

impl exports::wharf::fixture::math::Guest for Adder {
    fn add(a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }
    fn greet(name: String) -> String {
        let mut greeting = name;
        greeting.push('!');
        greeting
    }
    fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.reverse();
        bytes
    }
}
