//! Checks the rules of CONTRIBUTING.md that the compiler does not check.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{guests, layers};

/// The most lines of a file.
const MAX_LINES: usize = 800;
/// The most lines of the program's `main.rs`.
const MAX_MAIN: usize = 20;
const BAD_NAMES: [&str; 5] = ["utils.rs", "util.rs", "helpers.rs", "imp.rs", "misc.rs"];

/// The manifests of crates with the dependencies that each must not have.
const FORBIDDEN_DEPENDENCIES: [(&str, &[&str]); 4] = [
    ("crates/workload/Cargo.toml", &["wasmtime", "tokio", "wharf", "hyper", "async-trait"]),
    ("crates/api/Cargo.toml", &["wasmtime", "wasmtime-wasi", "wharf", "clap"]),
    (
        "crates/plugins/stores/Cargo.toml",
        &["async-nats", "object_store", "redb", "redis", "rusqlite", "tokio-postgres"],
    ),
    ("crates/wharf/Cargo.toml", &["clap", "hyper", "wharf-http", "wharf-config", "wharf-logging", "anstream"]),
];

pub(crate) fn check(root: &Path) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    let files = tracked(root);
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "rs")) {
        if let Ok(text) = fs::read_to_string(root.join(file)) {
            check_source(file, &text, &mut problems);
        }
    }
    check_paths(root, &files, &mut problems);
    layers::check(root, &files, &mut problems);
    for (manifest, forbidden) in FORBIDDEN_DEPENDENCIES {
        let text = fs::read_to_string(root.join(manifest)).unwrap_or_default();
        let dependencies = text.split("[dev-dependencies]").next().unwrap_or_default();
        for name in forbidden {
            let names = |line: &str| line.split(['.', ' ', '=']).next() == Some(*name);
            if dependencies.lines().any(names) {
                problems.push(format!("{manifest}: must not depend on `{name}`"));
            }
        }
    }
    let tests: String = files
        .iter()
        .filter(|f| f.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "benches"))
        .filter_map(|f| fs::read_to_string(root.join(f)).ok())
        .collect();
    for guest in guests::fixture_names(root) {
        if !tests.contains(&format!("\"{guest}\"")) && !tests.contains(&format!("{guest}.wasm")) {
            problems.push(format!("guests/rust/{guest}: no test names this guest; add one, or delete the guest"));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn check_source(file: &Path, text: &str, problems: &mut Vec<String>) {
    let mut report = |problem: &str| problems.push(format!("{}: {problem}", file.display()));
    let first = text.lines().find(|line| !line.starts_with("#![") || line.contains("doc =")).unwrap_or_default();
    // Files for `include!` cannot have inner documentation.
    let included = file.starts_with("guests/shared") || file.starts_with("guests/stores/shared");
    if !included && !first.starts_with("//!") && !first.starts_with("#![doc") {
        report("missing module documentation; begin with `//!` and what the module takes, gives and never does");
    }
    if text.lines().count() > MAX_LINES {
        report(&format!("more than {MAX_LINES} lines; split the file"));
    }
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if BAD_NAMES.contains(&name) {
        report("the file name does not describe its content; rename it");
    }
    if file.ends_with("crates/cli/src/main.rs") && text.lines().count() > MAX_MAIN {
        report(&format!("more than {MAX_MAIN} lines; move code to another module"));
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    // The words are written in two parts so that the check does not match this file.
    if code.contains(concat!("use super::", "*")) {
        report("glob import of the parent module; name the imported items");
    }
    for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!(")] {
        if code.contains(word) {
            report(&format!("contains `{word}`; finish the work, or file an issue"));
        }
    }
}

/// Checks that no committed component contains a path of the machine that built it.
fn check_paths(root: &Path, files: &[PathBuf], problems: &mut Vec<String>) {
    let machine: Vec<Vec<u8>> = ["root", "home", "work"].iter().map(|dir| format!("/{dir}/").into_bytes()).collect();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "wasm")) {
        let bytes = fs::read(root.join(file)).unwrap_or_default();
        if machine.iter().any(|path| bytes.windows(path.len()).any(|window| window == path.as_slice())) {
            problems.push(format!("{}: contains a path of the machine that built it", file.display()));
        }
    }
}

/// The files that git tracks, and new files that it does not ignore.
fn tracked(root: &Path) -> Vec<PathBuf> {
    let list =
        Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root).output();
    let list = list.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    list.lines().map(PathBuf::from).filter(|file| root.join(file).exists()).collect()
}
