//! Counts with a sibling's counters.

wit_bindgen::generate!({ path: "../../wit/fixture.wit", world: "counter-user" });

use wharf::fixture::counters::Counter;

struct User;

export!(User);

impl exports::wharf::fixture::counting::Guest for User {
    fn count() -> Vec<u32> {
        let (a, b) = (Counter::new(10), Counter::new(100));
        let mut seen = vec![a.up(), a.up(), b.up()];
        seen.push(Counter::join(a, b).up());
        seen
    }
}
