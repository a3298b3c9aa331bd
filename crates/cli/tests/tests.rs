//! `wharf test`: calls the tests that components export.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::process::Output;

use support::{stderr, stdout, wharf};

/// Imports `value: func() -> u32`, and has tests: one of them expects 7 from it, one passes, one traps, one counts its calls.
const TESTED: &str = r#"(component
    (import "app:lib/value" (instance $value (export "get" (func (result u32)))))
    (core module $m
        (import "value" "get" (func $get (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 100) "the value is not 7")
        (global $calls (mut i32) (i32.const 0))
        (func (export "seven") (result i32)
            (if (result i32) (i32.eq (call $get) (i32.const 7))
                (then (i32.store8 (i32.const 0) (i32.const 0)) (i32.const 0))
                (else
                    (i32.store8 (i32.const 0) (i32.const 1))
                    (i32.store (i32.const 4) (i32.const 100))
                    (i32.store (i32.const 8) (i32.const 18))
                    (i32.const 0))))
        (func (export "passes"))
        (func (export "traps") unreachable)
        (func (export "once") (result i32)
            (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
            (i32.ne (global.get $calls) (i32.const 1)))
        (func (export "for-ever") (loop $again (br $again))))
    (core func $get (canon lower (func $value "get")))
    (core instance $i (instantiate $m (with "value" (instance (export "get" (func $get))))))
    (func $seven (result (result (error string)))
        (canon lift (core func $i "seven") (memory (core memory $i "memory"))))
    (func $passes (canon lift (core func $i "passes")))
    (func $traps (canon lift (core func $i "traps")))
    (func $once (result (result)) (canon lift (core func $i "once")))
    (func $for-ever (canon lift (core func $i "for-ever")))
    (export "test-seven" (func $seven))
    (export "test-passes" (func $passes))
    (export "test-traps" (func $traps))
    (export "test-once" (func $once))
    (export "test-once-again" (func $once))
    (export "test-for-ever" (func $for-ever))
    (export "not-a-test" (func $traps))
    (instance $tests (export "any-name" (func $passes)))
    (export "wharf:test/more" (instance $tests)))"#;

fn value(number: u32) -> String {
    format!(
        r#"(component
            (core module $m (func (export "get") (result i32) (i32.const {number})))
            (core instance $i (instantiate $m))
            (func $get (result u32) (canon lift (core func $i "get")))
            (instance $value (export "get" (func $get)))
            (export "app:lib/value" (instance $value)))"#
    )
}

fn project(doubles: &str) -> tempfile::TempDir {
    let folder = support::manifest(&format!(
        "name = 'app'\n[components.tested]\nsource = 'tested.wasm'\nlimits = {{ time = '300ms' }}\n\
         [components.value]\nsource = 'real.wasm'\n{doubles}"
    ));
    for (file, text) in [("tested.wasm", TESTED.to_owned()), ("real.wasm", value(1)), ("fake.wasm", value(7))] {
        std::fs::write(folder.path().join(file), wat::parse_str(text).unwrap()).unwrap();
    }
    folder
}

fn test(folder: &Path, args: &[&str]) -> Output {
    wharf().arg("test").arg(folder).args(args).output().unwrap()
}

#[test]
fn each_test_is_a_call_in_a_fresh_instance() {
    let folder = project("");
    let output = test(folder.path(), &[]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{}", stderr(&output));
    for passed in ["test-passes", "test-once ", "test-once-again", "wharf:test/more#any-name"] {
        assert!(text.contains(&format!("ok   tested/{passed}")), "{passed}: {text}");
    }
    assert!(text.contains("FAIL tested/test-seven") && text.contains("     the value is not 7"), "{text}");
    assert!(text.contains("FAIL tested/test-traps") && text.contains("unreachable"), "{text}");
    assert!(text.contains("FAIL tested/test-for-ever") && text.contains("time"), "{text}");
    assert!(text.contains("failed: 4 passed, 3 failed") && !text.contains("not-a-test"), "{text}");
}

#[test]
fn doubles_take_the_places_of_components() {
    let folder = project("[test.components.value]\nsource = 'fake.wasm'\n");
    let output = test(folder.path(), &["seven"]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("ok: 1 passed, 0 failed, 6 left out"), "{}", stdout(&output));
    // The same component with other grants, beside the one with its own.
    let folder = project(
        "[test.components.other]\nsource = 'tested.wasm'\n[test.components.fake]\nsource = 'fake.wasm'\n\
         [[test.links]]\nfrom = 'other'\nimport = 'app:lib/value'\nto = 'fake'\n\
         [[test.links]]\nfrom = 'tested'\nimport = 'app:lib/value'\nto = 'value'\n",
    );
    let output = test(folder.path(), &["seven"]);
    let text = stdout(&output);
    assert!(
        text.contains("ok   other/test-seven") && text.contains("FAIL tested/test-seven"),
        "{text}{}",
        stderr(&output)
    );
    // The workload itself does not have them.
    let plan = wharf().arg("plan").arg(folder.path()).output().unwrap();
    assert!(!stdout(&plan).contains("other"), "{}", stdout(&plan));
}

#[test]
fn programs_read_an_object_for_each_test() {
    let folder = project("");
    let output = test(folder.path(), &["--json"]);
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 8);
    let seven = lines.iter().find(|line| line["test"] == "test-seven").unwrap();
    assert_eq!((&seven["component"], &seven["status"]), (&"tested".into(), &"failed".into()));
    assert_eq!(seven["error"], "the value is not 7");
    assert_eq!(lines[7], serde_json::json!({ "passed": 4, "failed": 3, "skipped": 0 }));
}

#[test]
fn what_cannot_be_tested_is_an_error() {
    let folder = support::manifest("name = 'app'\n[components.a]\nsource = 'a.wasm'\n");
    std::fs::write(folder.path().join("a.wasm"), wat::parse_str(value(1)).unwrap()).unwrap();
    let output = test(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no component exports a test"), "{}", stderr(&output));
    let folder = project("[test.components.value]\nsource = 'gone.wasm'\n");
    let output = test(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(4));
    let folder = project("[test]\ncomponent = 1\n");
    let output = test(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("wharf.toml"), "{}", stderr(&output));
}
