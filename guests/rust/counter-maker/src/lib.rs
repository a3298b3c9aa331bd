//! Makes counters, a resource.

use std::cell::Cell;

wit_bindgen::generate!({ path: "../../wit/fixture.wit", world: "counter-maker" });

use exports::wharf::fixture::counters::{Counter, Guest, GuestCounter};

struct Maker;

export!(Maker);

struct Count(Cell<u32>);

impl Guest for Maker {
    type Counter = Count;
}

impl GuestCounter for Count {
    fn new(start: u32) -> Self {
        Self(Cell::new(start))
    }
    fn up(&self) -> u32 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }
    fn join(a: Counter, b: Counter) -> Counter {
        Counter::new(Self::new(a.get::<Self>().0.get() + b.get::<Self>().0.get()))
    }
}
