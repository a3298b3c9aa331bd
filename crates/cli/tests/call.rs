//! `wharf call`: functions of components and manifests, in WAVE and JSON, and requests without a listening port.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Write as _;
use std::process::{Output, Stdio};

use support::{guest, manifest, run, stderr, stdout, wharf};

fn call(component: &str, args: &[&str]) -> Output {
    let guest = guest(component).display().to_string();
    run(&[&["call", &guest], args].concat())
}

/// The same, with text on standard input.
fn call_with(component: &str, args: &[&str], input: &str) -> Output {
    let mut command = wharf();
    command.arg("call").arg(guest(component)).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    stdout(output)
}

#[test]
fn a_function_is_called_in_every_notation() {
    for args in [
        &["add(2, 3)"][..],
        &["wharf:fixture/math#add(2, 3)"],
        &["wharf:fixture/math@0.1.0#add(2, 3)"],
        &["add", "[2, 3]"],
        &["add", "(2, 3)"],
        &["add", "2, 3"],
        &["add(2, 3)", "-o", "json"],
        &["add(2, 3)", "-o", "table"],
    ] {
        assert_eq!(good(&call("adder", args)), "5\n", "{args:?}");
    }
    assert_eq!(good(&call_with("adder", &["add", "-"], "[2, 3]\n")), "5\n");
    assert_eq!(good(&call_with("adder", &["greet", "-"], "\"you\"")), "\"you!\"\n");
    assert_eq!(good(&call("map-maker", &["merge({\"a\": 1}, {\"b\": 2})", "-o", "json"])), "{\"a\":1,\"b\":2}\n");
    assert_eq!(good(&call("map-maker", &["merge([(\"a\", 1)], [])"])), "[(\"a\", 1)]\n");
}

#[test]
fn json_that_is_printed_is_read_again() {
    let printed = good(&call("adder", &["reverse", "[[1, 2, 3]]", "-o", "json"]));
    assert_eq!(printed, "[3,2,1]\n");
    let again = format!("[{printed}]");
    assert_eq!(good(&call_with("adder", &["reverse", "-", "-o", "json"], &again)), "[1,2,3]\n");
}

#[test]
fn what_does_not_fit_is_explained() {
    for (args, code, message) in [
        (&["nope()"][..], 2, "exports no function `nope`; it exports wharf:fixture/math@0.1.0#add"),
        (&["add(1)"], 2, "expected 2 arguments, found 1"),
        (&["add(1, 2, 3)"], 2, "expected 2 arguments, found 3"),
        (&["add(1, -1)"], 2, "argument 2 (`b`): -1 is not a number from 0 to 4294967295"),
        (&["add(1, \"x\")"], 2, "expected a number, found a string"),
        (&["add(1,"], 2, "at the end"),
        (&["greet(x)"], 2, "at `x` (character 7)"),
        (&["add(1, 2)", "[1]"], 2, "the call has arguments already"),
        (&["--http", "GET nowhere"], 2, "invalid path"),
    ] {
        let output = call("adder", args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{args:?}: {}", stderr(&output));
    }
    let missing = run(&["call", "no-such.wasm", "f()"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("no such file: `no-such.wasm`"), "{}", stderr(&missing));
    // Invalid UTF-8, and far too much.
    let mut command = wharf();
    command.arg("call").arg(guest("adder")).args(["greet", "-"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\"\xff\xfe\"").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cannot read standard input"), "{}", stderr(&output));
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    let output = call_with("adder", &["greet", "-"], &long);
    assert_eq!(good(&output).len(), long.len() + 2);
    let limited = call_with("adder", &["greet", "-", "--limit", "memory=2MiB"], &long);
    assert!(matches!(limited.status.code(), Some(5 | 7)), "{:?} {}", limited.status, stderr(&limited));
}

#[test]
fn handles_have_no_text() {
    let output = call("counter-maker", &["wharf:fixture/counters#[constructor]counter(1)"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn a_component_of_a_manifest_is_called_with_its_grants() {
    let text = format!(
        "name = \"w\"\n[components.caller]\nsource = {:?}\n[components.adder]\nsource = {:?}\n",
        guest("caller"),
        guest("adder")
    );
    let folder = manifest(&text);
    let path = folder.path().display().to_string();
    let called = run(&["call", &path, "adds(1001)", "--component", "caller"]);
    assert_eq!(good(&called), "500500\n");
    let which = run(&["call", &path, "adds(1001)"]);
    assert_eq!(which.status.code(), Some(2));
    assert!(stderr(&which).contains("--component"), "{}", stderr(&which));
}

#[test]
fn a_request_is_sent_without_a_port() {
    assert_eq!(good(&call("hello-p3", &["--http", "GET /"])), "Hello from WASI 0.3\n");
    let with_head = good(&call("hello-p2", &["--http", "GET /", "-i"]));
    assert!(with_head.starts_with("HTTP/1.1 200 OK\n"), "{with_head}");
    assert_eq!(good(&call("echo-p3", &["--http", "POST /", "-d", "a body"])), "a body");
    assert_eq!(good(&call_with("echo-p2", &["--http", "POST /", "-d", "-"], "from a pipe")), "from a pipe");
    let failed = call("traps", &["--http", "GET /trap"]);
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    assert!(stderr(&failed).contains("502"), "{}", stderr(&failed));
    // The routes of a manifest.
    let text = format!(
        "name = \"w\"\n[components.c]\nsource = {:?}\n[[triggers.http]]\ncomponent = \"c\"\npath = \"/here\"\nhost = \"a.test\"\n",
        guest("hello-p3")
    );
    let folder = manifest(&text);
    let path = folder.path().display().to_string();
    assert_eq!(good(&run(&["call", &path, "--http", "GET http://a.test/here"])), "Hello from WASI 0.3\n");
    assert_eq!(good(&run(&["call", &path, "--http", "GET /here", "-H", "host: a.test"])), "Hello from WASI 0.3\n");
    assert_eq!(run(&["call", &path, "--http", "GET /there"]).status.code(), Some(1));
}
