//! Has a sibling merge maps.

use std::collections::BTreeMap;

wit_bindgen::generate!({ path: "../../wit/maps.wit", world: "user" });

use fixture::maps::store::merge;

struct User;

export!(User);

impl exports::fixture::maps::merging::Guest for User {
    fn merged() -> String {
        let a = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        let b = BTreeMap::from([("b".to_owned(), 3), ("c".to_owned(), 4)]);
        merge(&a, &b).iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    }
    fn count(entries: u32) -> u32 {
        let of = |from: u32| (from..from + entries).map(|i| (i.to_string(), i)).collect::<BTreeMap<_, _>>();
        merge(&of(0), &of(entries / 2)).len() as u32
    }
}
