//! Manifests and what is said of them: a folder for each case, with `expected.txt` beside the manifest. `BLESS=1` writes
//! what is said now.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use wharf_workload::manifest::{Format, Parsed, parse_bytes};

#[test]
fn every_manifest_gets_its_answer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 12, "the cases are there");
    let mut wrong = Vec::new();
    for case in cases {
        let manifest = Format::FILE_NAMES.iter().map(|name| case.join(name)).find(|file| file.exists()).unwrap();
        let said = say(&parse_bytes(&fs::read(&manifest).unwrap(), Format::of(&manifest).unwrap()));
        let expected = case.join("expected.txt");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(format!("{}:\n{said}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn say(parsed: &Parsed) -> String {
    let mut said = String::new();
    for problem in &parsed.problems {
        writeln!(said, "{problem}").unwrap();
    }
    match &parsed.workload {
        Some(workload) => writeln!(said, "{}", serde_json::to_string_pretty(workload).unwrap()).unwrap(),
        None => assert!(!parsed.problems.is_empty(), "refused, and nothing is said of it"),
    }
    said
}

#[test]
fn three_formats_say_the_same() {
    let of = |case: &str, name: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(case).join(name);
        parse_bytes(&fs::read(&file).unwrap(), Format::of(&file).unwrap()).workload.unwrap()
    };
    let toml = of("everything", "wharf.toml");
    assert_eq!(toml, of("everything-yaml", "wharf.yaml"));
    assert_eq!(toml, of("everything-json", "wharf.json"));
}

#[test]
fn what_is_too_large_or_too_deep_is_refused_at_once() {
    let large = vec![b'a'; 10 * 1024 * 1024];
    let large = parse_bytes(&large, Format::Toml);
    assert!(large.problems[0].message.contains("10485760 bytes"), "{:?}", large.problems);
    for (format, text) in [
        (Format::Toml, format!("a = {}", "[".repeat(100_000))),
        (Format::Toml, format!("{} = 1", vec!["a"; 100_000].join("."))),
        (Format::Toml, format!("[{}]", vec!["a"; 100_000].join("."))),
        (Format::Yaml, "[".repeat(100_000)),
        (Format::Yaml, format!("{}a", "- ".repeat(100_000))),
        (Format::Json, format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
        (Format::Json, format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000))),
    ] {
        let parsed = parse_bytes(text.as_bytes(), format);
        assert!(parsed.workload.is_none() && !parsed.problems.is_empty(), "{format:?}");
    }
}

/// The schema is made from the same types; this holds it against what the parser really takes.
#[test]
fn the_schema_knows_the_keys_that_the_parser_knows() {
    let schema = wharf_workload::manifest::schema();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        let mut keys: Vec<_> = value["properties"].as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    // A key that nothing knows makes the parser name all that it does know.
    let known = |text: &str| -> Vec<String> {
        let parsed = parse_bytes(text.as_bytes(), Format::Json);
        let problem = parsed.problems.iter().find(|p| p.message.contains("qqqqqqqqqq")).expect("refused");
        let hint = problem.hint.as_ref().unwrap();
        let mut keys: Vec<_> = hint.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        keys.sort();
        keys
    };
    let of = |name: &str| &schema["$defs"][name];
    assert_eq!(keys(&schema), known(r#"{"qqqqqqqqqq":1}"#));
    let inside = |inner: &str| format!(r#"{{"name":"a","components":{{"a":{inner}}}}}"#);
    assert_eq!(keys(of("Component")), known(&inside(r#"{"qqqqqqqqqq":1}"#)));
    assert_eq!(keys(of("Limits")), known(&inside(r#"{"limits":{"qqqqqqqqqq":1}}"#)));
    assert_eq!(keys(of("Instances")), known(&inside(r#"{"instances":{"qqqqqqqqqq":1}}"#)));
    let service = &of("Service")["anyOf"][1];
    assert_eq!(keys(service), known(&inside(r#"{"service":{"qqqqqqqqqq":1}}"#)));
    assert_eq!(keys(of("Mount")), known(&inside(r#"{"volumes":[{"qqqqqqqqqq":1}]}"#)));
    assert_eq!(keys(of("Link")), known(r#"{"links":[{"qqqqqqqqqq":1}]}"#));
    assert_eq!(keys(of("HttpTrigger")), known(r#"{"triggers":{"http":[{"qqqqqqqqqq":1}]}}"#));
    assert_eq!(keys(of("CommandTrigger")), known(r#"{"triggers":{"command":[{"qqqqqqqqqq":1}]}}"#));
}
