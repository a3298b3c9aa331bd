//! Merges maps.

use std::collections::BTreeMap;

wit_bindgen::generate!({ path: "../../wit/maps.wit", world: "maker" });

struct Maker;

export!(Maker);

impl exports::fixture::maps::store::Guest for Maker {
    fn merge(mut a: BTreeMap<String, u32>, b: BTreeMap<String, u32>) -> BTreeMap<String, u32> {
        a.extend(b);
        a
    }
}
