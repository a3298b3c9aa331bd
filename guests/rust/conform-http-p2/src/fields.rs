//! wasi:http/types: fields.

use wasip2::http::types::{Fields, HeaderError, OutgoingRequest, OutgoingResponse};

use crate::Test;
use crate::conform::Check;

pub const TESTS: &[Test] = &[
    Test::new(
        "fields-make",
        make,
        &[
            "wasi:http/types#[constructor]fields",
            "wasi:http/types#[static]fields.from-list",
            "wasi:http/types#[method]fields.entries",
        ],
    ),
    Test::new("fields-get", get, &["wasi:http/types#[method]fields.get", "wasi:http/types#[method]fields.has"]),
    Test::new(
        "fields-change",
        change,
        &[
            "wasi:http/types#[method]fields.set",
            "wasi:http/types#[method]fields.append",
            "wasi:http/types#[method]fields.delete",
        ],
    ),
    Test::new(
        "fields-syntax",
        syntax,
        &[
            "wasi:http/types#[static]fields.from-list",
            "wasi:http/types#[method]fields.set",
            "wasi:http/types#[method]fields.append",
            "wasi:http/types#[method]fields.delete",
        ],
    ),
    Test::new(
        "fields-forbidden",
        forbidden,
        &[
            "wasi:http/types#[static]fields.from-list",
            "wasi:http/types#[method]fields.set",
            "wasi:http/types#[method]fields.append",
        ],
    ),
    Test::new(
        "fields-immutable",
        immutable,
        &[
            "wasi:http/types#[method]fields.set",
            "wasi:http/types#[method]fields.append",
            "wasi:http/types#[method]fields.delete",
        ],
    ),
    Test::new("fields-clone", clone, &["wasi:http/types#[method]fields.clone"]),
    Test::new("fields-case", case, &["wasi:http/types#[method]fields.entries"]),
];

pub fn list(pairs: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

/// The values of a name, as text.
fn values(fields: &Fields, name: &str) -> Vec<String> {
    fields.get(name).iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

fn make() -> Check {
    ensure!(Fields::new().entries().is_empty());
    ensure!(ok!(Fields::from_list(&[])).entries().is_empty());
    let pairs = list(&[("x-a", "1"), ("x-b", ""), ("x-c", "3 \u{e9}")]);
    let mut entries = ok!(Fields::from_list(&pairs)).entries();
    entries.sort();
    equal!(entries, pairs);
    // A name with several values has several entries, in their order.
    let fields = ok!(Fields::from_list(&list(&[("x-a", "1"), ("x-b", "2"), ("x-a", "3")])));
    let of_a: Vec<_> = fields.entries().into_iter().filter(|(name, _)| name == "x-a").collect();
    equal!(of_a, list(&[("x-a", "1"), ("x-a", "3")]));
    equal!(fields.entries().len(), 3);
    // It can be changed.
    ok!(fields.append("x-c", b"4"));
    Ok(())
}

fn get() -> Check {
    let fields = ok!(Fields::from_list(&list(&[("x-a", "1"), ("x-a", "2"), ("x-empty", "")])));
    equal!(values(&fields, "x-a"), ["1", "2"]);
    equal!(values(&fields, "X-A"), ["1", "2"]);
    equal!(values(&fields, "x-empty"), [""]);
    ensure!(fields.get("x-none").is_empty());
    ensure!(fields.get("not a name").is_empty());
    ensure!(fields.get("").is_empty());
    ensure!(fields.has("x-a") && fields.has("X-a") && fields.has("x-empty"));
    ensure!(!fields.has("x-none") && !fields.has("not a name") && !fields.has(""));
    Ok(())
}

fn change() -> Check {
    let fields = Fields::new();
    ok!(fields.append("x-a", b"1"));
    ok!(fields.append("X-A", b"2"));
    equal!(values(&fields, "x-a"), ["1", "2"]);
    ok!(fields.set("x-a", &[b"3".to_vec()]));
    equal!(values(&fields, "x-a"), ["3"]);
    ok!(fields.set("x-b", &[b"4".to_vec(), b"5".to_vec()]));
    equal!(values(&fields, "x-b"), ["4", "5"]);
    ok!(fields.set("x-b", &[]));
    ensure!(fields.get("x-b").is_empty());
    ok!(fields.append("x-bytes", &[0x80, 0xff]));
    equal!(fields.get("x-bytes"), [[0x80, 0xff]]);
    ok!(fields.delete("X-A"));
    ensure!(!fields.has("x-a"));
    ok!(fields.delete("x-a"));
    ok!(fields.delete("x-none"));
    equal!(fields.entries().len(), 1);
    Ok(())
}

fn syntax() -> Check {
    let fields = Fields::new();
    for name in ["", "not a name", "x:y", "x\n", "ü"] {
        fails!(Fields::from_list(&list(&[("x-a", "1"), (name, "1")])), HeaderError::InvalidSyntax);
        fails!(fields.set(name, &[b"1".to_vec()]), HeaderError::InvalidSyntax);
        fails!(fields.append(name, b"1"), HeaderError::InvalidSyntax);
        fails!(fields.delete(name), HeaderError::InvalidSyntax);
    }
    for value in ["a\nb", "a\r\nx-b: c", "a\0"] {
        fails!(Fields::from_list(&list(&[("x-a", value)])), HeaderError::InvalidSyntax);
        fails!(fields.set("x-a", &[b"1".to_vec(), value.into()]), HeaderError::InvalidSyntax);
        fails!(fields.append("x-a", value.as_bytes()), HeaderError::InvalidSyntax);
    }
    ensure!(fields.entries().is_empty());
    Ok(())
}

fn forbidden() -> Check {
    let fields = Fields::new();
    for name in ["connection", "Transfer-Encoding", "upgrade", "keep-alive"] {
        fails!(Fields::from_list(&list(&[(name, "x")])), HeaderError::Forbidden);
        fails!(fields.set(name, &[b"x".to_vec()]), HeaderError::Forbidden);
        fails!(fields.append(name, b"x"), HeaderError::Forbidden);
    }
    ensure!(fields.entries().is_empty());
    Ok(())
}

/// That these fields cannot be changed, and that a copy can.
pub fn check_immutable(fields: &Fields) -> Check {
    let mut before = fields.entries();
    fails!(fields.set("x-new", &[b"1".to_vec()]), HeaderError::Immutable);
    fails!(fields.append("x-new", b"1"), HeaderError::Immutable);
    fails!(fields.delete("x-new"), HeaderError::Immutable);
    if let Some((name, _)) = before.first() {
        fails!(fields.delete(name), HeaderError::Immutable);
    }
    let copy = fields.clone();
    ok!(copy.append("x-new", b"1"));
    ensure!(copy.has("x-new") && !fields.has("x-new"));
    let mut after = fields.entries();
    (before.sort(), after.sort());
    equal!(after, before);
    Ok(())
}

fn immutable() -> Check {
    let request = OutgoingRequest::new(ok!(Fields::from_list(&list(&[("x-a", "1")]))));
    check_immutable(&request.headers())?;
    let response = OutgoingResponse::new(ok!(Fields::from_list(&list(&[("x-a", "1")]))));
    check_immutable(&response.headers())?;
    Ok(())
}

fn clone() -> Check {
    let fields = ok!(Fields::from_list(&list(&[("x-a", "1"), ("x-a", "2"), ("x-b", "3")])));
    let copy = fields.clone();
    equal!(copy.entries(), fields.entries());
    ok!(copy.delete("x-a"));
    ok!(fields.append("x-c", b"4"));
    equal!(values(&fields, "x-a"), ["1", "2"]);
    ensure!(!copy.has("x-a") && !copy.has("x-c"));
    Ok(())
}

/// Names come back in the casing that they were given in.
fn case() -> Check {
    let pairs = list(&[("X-Mixed-Case", "1")]);
    equal!(ok!(Fields::from_list(&pairs)).entries(), pairs);
    Ok(())
}
