//! Tests of `wasi:http`: fields.

use wasip3::http::types::{Fields, HeaderError, Request};

use crate::body::{fields, list, no_trailers, values};
use crate::conform::{Good, Outcome, Test};

pub const TESTS: &[Test<Request>] = &[
    test!(
        "fields-new",
        new,
        [
            "wasi:http/types#[constructor]fields",
            "wasi:http/types#[method]fields.copy-all",
            "wasi:http/types#[method]fields.get",
            "wasi:http/types#[method]fields.has"
        ]
    ),
    test!(
        "fields-from-list",
        from_list,
        ["wasi:http/types#[static]fields.from-list", "wasi:http/types#[method]fields.copy-all"]
    ),
    test!("fields-from-list-refused", from_list_refused, ["wasi:http/types#[static]fields.from-list"]),
    test!(
        "fields-casing",
        casing,
        ["wasi:http/types#[static]fields.from-list", "wasi:http/types#[method]fields.copy-all"]
    ),
    test!(
        "fields-order",
        order,
        ["wasi:http/types#[static]fields.from-list", "wasi:http/types#[method]fields.copy-all"]
    ),
    test!("fields-get", get, ["wasi:http/types#[method]fields.get", "wasi:http/types#[method]fields.has"]),
    test!("fields-set", set, ["wasi:http/types#[method]fields.set"]),
    test!("fields-append", append, ["wasi:http/types#[method]fields.append"]),
    test!("fields-delete", delete, ["wasi:http/types#[method]fields.delete"]),
    test!("fields-get-and-delete", get_and_delete, ["wasi:http/types#[method]fields.get-and-delete"]),
    test!("fields-clone", clone, ["wasi:http/types#[method]fields.clone"]),
    test!(
        "fields-forbidden",
        forbidden,
        [
            "wasi:http/types#[static]fields.from-list",
            "wasi:http/types#[method]fields.set",
            "wasi:http/types#[method]fields.append"
        ]
    ),
    test!(
        "fields-immutable",
        immutable,
        [
            "wasi:http/types#[method]fields.set",
            "wasi:http/types#[method]fields.append",
            "wasi:http/types#[method]fields.delete",
            "wasi:http/types#[method]fields.get-and-delete",
            "wasi:http/types#[method]fields.clone"
        ]
    ),
    test!(
        "fields-size",
        size,
        [
            "wasi:http/types#[method]fields.append",
            "wasi:http/types#[method]fields.set",
            "wasi:http/types#[static]fields.from-list"
        ]
    ),
];

async fn new() -> Outcome {
    let none = Fields::new();
    same!(none.copy_all().len(), 0);
    same!(none.get("x-one").len(), 0);
    ensure!(!none.has("x-one"));
    none.append("x-one", b"1").good()
}

async fn from_list() -> Outcome {
    same!(fields(&[])?.copy_all().len(), 0);
    let some = fields(&[("x-one", "1"), ("x-two", ""), ("x-one", "3")])?;
    let mut all = some.copy_all();
    all.sort();
    same!(all, list(&[("x-one", "1"), ("x-one", "3"), ("x-two", "")]));
    same!(values(&some, "x-one"), "1|3");
    // Values are bytes, not always text.
    let odd = Fields::from_list(&[("x-odd".into(), vec![0xff, 0x80])]).good()?;
    same!(odd.get("x-odd"), [[0xff, 0x80]]);
    some.set("x-two", &[b"2".to_vec()]).good()
}

const BAD_NAMES: [&str; 5] = ["", "x one", "x-\u{e9}", "x:one", "x\n"];
const BAD_VALUES: [&str; 3] = ["a\nb", "a\r\nx-two: b", "a\0b"];

async fn from_list_refused() -> Outcome {
    for name in BAD_NAMES {
        let made = Fields::from_list(&list(&[("x-good", "1"), (name, "1")]));
        ensure!(matches!(made, Err(HeaderError::InvalidSyntax)), "{name:?} gave {made:?}");
    }
    for value in BAD_VALUES {
        let made = Fields::from_list(&list(&[("x-one", value)]));
        ensure!(matches!(made, Err(HeaderError::InvalidSyntax)), "{value:?} gave {made:?}");
    }
    Ok(())
}

/// Names come back as they were written.
async fn casing() -> Outcome {
    let some = fields(&[("X-One", "1"), ("x-TWO", "2")])?;
    let mut all = some.copy_all();
    all.sort();
    same!(all, list(&[("X-One", "1"), ("x-TWO", "2")]));
    Ok(())
}

/// The values of a name keep their order, whatever is between them.
async fn order() -> Outcome {
    let some = fields(&[("x-b", "1"), ("x-a", "2"), ("x-b", "3"), ("x-a", "4"), ("x-b", "5")])?;
    let of = |wanted: &str| {
        let all = some.copy_all().into_iter().filter(|(name, _)| name == wanted);
        all.map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).collect::<Vec<_>>().join(" ")
    };
    same!(of("x-a"), "2 4");
    same!(of("x-b"), "1 3 5");
    Ok(())
}

async fn get() -> Outcome {
    let some = fields(&[("X-One", "1"), ("x-one", "2"), ("x-empty", "")])?;
    for name in ["x-one", "X-ONE", "X-One"] {
        same!(values(&some, name), "1|2");
        ensure!(some.has(name));
    }
    same!(some.get("x-empty"), [[0u8; 0]]);
    ensure!(some.has("x-empty"));
    same!(some.get("x-none").len(), 0);
    ensure!(!some.has("x-none"));
    for name in BAD_NAMES {
        same!(some.get(name).len(), 0);
        ensure!(!some.has(name));
    }
    Ok(())
}

async fn set() -> Outcome {
    let some = fields(&[("x-one", "1"), ("x-one", "2"), ("x-two", "2")])?;
    some.set("X-ONE", &[b"3".to_vec()]).good()?;
    same!(values(&some, "x-one"), "3");
    some.set("x-one", &[b"4".to_vec(), b"5".to_vec()]).good()?;
    same!(values(&some, "x-one"), "4|5");
    some.set("x-one", &[]).good()?;
    ensure!(!some.has("x-one"));
    some.set("x-new", &[b"6".to_vec()]).good()?;
    same!(values(&some, "x-new"), "6");
    same!(values(&some, "x-two"), "2");
    for name in BAD_NAMES {
        fails!(some.set(name, &[b"1".to_vec()]), HeaderError::InvalidSyntax);
    }
    for value in BAD_VALUES {
        fails!(some.set("x-bad", &[value.into()]), HeaderError::InvalidSyntax);
    }
    ensure!(!some.has("x-bad"));
    Ok(())
}

async fn append() -> Outcome {
    let some = Fields::new();
    some.append("x-one", b"1").good()?;
    some.append("X-One", b"2").good()?;
    some.append("x-two", b"").good()?;
    same!(values(&some, "x-one"), "1|2");
    same!(some.get("x-two"), [[0u8; 0]]);
    for name in BAD_NAMES {
        fails!(some.append(name, b"1"), HeaderError::InvalidSyntax);
    }
    for value in BAD_VALUES {
        fails!(some.append("x-bad", value.as_bytes()), HeaderError::InvalidSyntax);
    }
    ensure!(!some.has("x-bad"));
    same!(some.copy_all().len(), 3);
    Ok(())
}

async fn delete() -> Outcome {
    let some = fields(&[("x-one", "1"), ("x-one", "2"), ("x-two", "2")])?;
    some.delete("X-One").good()?;
    ensure!(!some.has("x-one"));
    some.delete("x-one").good()?;
    some.delete("x-none").good()?;
    same!(some.copy_all(), list(&[("x-two", "2")]));
    fails!(some.delete("x one"), HeaderError::InvalidSyntax);
    Ok(())
}

async fn get_and_delete() -> Outcome {
    let some = fields(&[("x-one", "1"), ("x-one", "2"), ("x-two", "2")])?;
    same!(some.get_and_delete("X-One").good()?, [b"1", b"2"]);
    ensure!(!some.has("x-one"));
    same!(some.get_and_delete("x-one").good()?.len(), 0);
    same!(some.copy_all(), list(&[("x-two", "2")]));
    fails!(some.get_and_delete("x one"), HeaderError::InvalidSyntax);
    Ok(())
}

async fn clone() -> Outcome {
    let some = fields(&[("x-one", "1"), ("x-one", "2"), ("x-two", "2")])?;
    let copy = some.clone();
    same!(copy.copy_all(), some.copy_all());
    copy.delete("x-one").good()?;
    copy.append("x-three", b"3").good()?;
    same!(values(&some, "x-one"), "1|2");
    ensure!(!some.has("x-three"));
    some.delete("x-two").good()?;
    ensure!(copy.has("x-two"));
    Ok(())
}

/// These belong to the connection, which is the host's.
async fn forbidden() -> Outcome {
    let some = Fields::new();
    for name in ["connection", "Transfer-Encoding", "upgrade", "keep-alive", "host"] {
        let made = Fields::from_list(&list(&[(name, "x")]));
        ensure!(matches!(made, Err(HeaderError::Forbidden)), "{name} gave {made:?}");
        fails!(some.set(name, &[b"x".to_vec()]), HeaderError::Forbidden);
        fails!(some.append(name, b"x"), HeaderError::Forbidden);
        ensure!(!some.has(name));
    }
    Ok(())
}

async fn immutable() -> Outcome {
    let (request, _) = Request::new(fields(&[("x-one", "1")])?, None, no_trailers(), None);
    let headers = request.get_headers();
    fails!(headers.set("x-one", &[b"2".to_vec()]), HeaderError::Immutable);
    fails!(headers.append("x-two", b"2"), HeaderError::Immutable);
    fails!(headers.delete("x-one"), HeaderError::Immutable);
    fails!(headers.get_and_delete("x-one"), HeaderError::Immutable);
    same!(headers.copy_all(), list(&[("x-one", "1")]));
    let copy = headers.clone();
    copy.append("x-two", b"2").good()?;
    same!(copy.copy_all().len(), 2);
    same!(request.get_headers().copy_all(), list(&[("x-one", "1")]));
    Ok(())
}

/// A host may have a limit, and then says so.
async fn size() -> Outcome {
    let some = Fields::new();
    let large = vec![b'x'; 64 * 1024];
    let mut held = 0;
    let full = loop {
        match some.append(&format!("x-large-{held}"), &large) {
            Ok(()) if held < 64 => held += 1,
            other => break other,
        }
    };
    ensure!(matches!(full, Ok(()) | Err(HeaderError::SizeExceeded)), "{full:?}");
    ensure!(some.copy_all().len() >= held);
    if full.is_err() {
        let huge = vec![b'x'; (held + 1) * large.len()];
        fails!(some.set("x-huge", std::slice::from_ref(&huge)), HeaderError::SizeExceeded);
        fails!(Fields::from_list(&[("x-huge".to_owned(), huge)]), HeaderError::SizeExceeded);
        // What is taken away makes room.
        if held > 0 {
            some.delete("x-large-0").good()?;
            some.append("x-large-0", &large).good()?;
        }
    }
    Ok(())
}
