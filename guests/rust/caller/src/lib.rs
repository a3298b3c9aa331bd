//! Calls a sibling a number of times.

wit_bindgen::generate!({ path: "../../wit/fixture.wit", world: "caller" });

use wharf::fixture::math;

struct Caller;

export!(Caller);

impl exports::wharf::fixture::bench::Guest for Caller {
    fn adds(times: u32) -> u32 {
        (0..times).fold(0, |sum, i| math::add(sum, i))
    }
    fn greets(times: u32) -> u32 {
        (0..times).fold(0, |_, _| math::greet("somebody").len() as u32)
    }
    fn reverses(times: u32, bytes: u32) -> u32 {
        let bytes = vec![1; bytes as usize];
        (0..times).fold(0, |_, _| math::reverse(&bytes).len() as u32)
    }
}
