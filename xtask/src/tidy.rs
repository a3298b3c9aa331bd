//! House rules, checked: what CONTRIBUTING.md asks for and a compiler does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guests;

/// A file above this must be split.
const MAX_LINES: usize = 800;
const MAX_MAIN: usize = 20;
const BAD_NAMES: [&str; 5] = ["utils.rs", "util.rs", "helpers.rs", "imp.rs", "misc.rs"];

/// Crates that must stay free of others: `workload` is the pure core.
const FREE_OF: [(&str, &[&str]); 2] = [
    ("crates/workload/Cargo.toml", &["wasmtime", "tokio", "wharf", "hyper", "async-trait"]),
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
    for (manifest, free_of) in FREE_OF {
        let text = fs::read_to_string(root.join(manifest)).unwrap_or_default();
        let dependencies = text.split("[dev-dependencies]").next().unwrap_or_default();
        for name in free_of {
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
            problems.push(format!("guests/rust/{guest}: no test names it"));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn check_source(file: &Path, text: &str, problems: &mut Vec<String>) {
    let mut say = |what: &str| problems.push(format!("{}: {what}", file.display()));
    let first = text.lines().find(|line| !line.starts_with("#![") || line.contains("doc =")).unwrap_or_default();
    // What is included into other files cannot have documentation of its own.
    let included = file.starts_with("guests/shared");
    if !included && !first.starts_with("//!") && !first.starts_with("#![doc") {
        say("must begin with `//!`: what it takes, gives and never does");
    }
    if text.lines().count() > MAX_LINES {
        say(&format!("has more than {MAX_LINES} lines; split it"));
    }
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if BAD_NAMES.contains(&name) {
        say("has a name that says nothing");
    }
    if file.ends_with("crates/cli/src/main.rs") && text.lines().count() > MAX_MAIN {
        say(&format!("has more than {MAX_MAIN} lines; a main only starts"));
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    // Written in two parts so that this file does not find itself.
    if code.contains(concat!("use super::", "*")) {
        say("imports all of its parent; name what is used");
    }
    for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!(")] {
        if code.contains(word) {
            say(&format!("has a `{word}`; finish it or file it"));
        }
    }
}

/// Nothing that is committed says where it was built.
fn check_paths(root: &Path, files: &[PathBuf], problems: &mut Vec<String>) {
    let machine: Vec<Vec<u8>> = ["root", "home", "work"].iter().map(|dir| format!("/{dir}/").into_bytes()).collect();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "wasm")) {
        let bytes = fs::read(root.join(file)).unwrap_or_default();
        if machine.iter().any(|path| bytes.windows(path.len()).any(|window| window == path.as_slice())) {
            problems.push(format!("{}: holds a path of the machine that built it", file.display()));
        }
    }
}

/// The files that git has, and the new ones that it does not ignore.
fn tracked(root: &Path) -> Vec<PathBuf> {
    let list =
        Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root).output();
    let list = list.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    list.lines().map(PathBuf::from).filter(|file| root.join(file).exists()).collect()
}
