//! The order of the folders in `crates/wharf/src`: each may use those before it, so that no circle can form.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders, in layers from the lowest. A folder uses folders of lower layers, and itself.
const LAYERS: &[&[&str]] = &[
    &["logs", "shutdown", "usage"],
    &["limits"],
    &["guest_log", "engine"],
    &["store"],
    &["plugin", "run"],
    &["wasi"],
    &["prepare"],
    &["host"],
];

/// The crate whose folders are checked.
const SOURCES: &str = "crates/wharf/src";

pub(crate) fn check(root: &Path, files: &[PathBuf], problems: &mut Vec<String>) {
    for file in files.iter().filter(|file| file.starts_with(SOURCES)) {
        let Some(folder) = folder(file) else { continue };
        let Some(layer) = layer(&folder) else {
            if folder != "lib" {
                problems.push(format!("{}: `{folder}` has no place in LAYERS of xtask/src/layers.rs", file.display()));
            }
            continue;
        };
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            // Only a path that names the folder can be checked.
            let hidden = |c: char| c == '{' || c.is_ascii_uppercase();
            if folder != "lib" && line.split("crate::").skip(1).any(|rest| rest.starts_with(hidden)) {
                problems.push(format!("{}:{}: name the folder after `crate::`", file.display(), number + 1));
            }
        }
        for (number, used) in code.enumerate().flat_map(|(number, line)| uses(line).map(move |used| (number, used))) {
            if used != folder && self::layer(used).is_some_and(|used| used >= layer) {
                let what =
                    format!("`{folder}` must not use `{used}`, which is not below it (code line {})", number + 1);
                problems.push(format!("{}: {what}", file.display()));
            }
        }
    }
}

/// The folder, or the file beside it, that a source belongs to.
fn folder(file: &Path) -> Option<String> {
    let first = file.strip_prefix(SOURCES).ok()?.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

fn layer(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&folder))
}

/// The folders that a line names after `crate::`.
fn uses(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::{folder, uses};
    use std::path::Path;

    #[test]
    fn finds_what_a_line_uses() {
        assert_eq!(uses("use crate::store::{Scope, View};").collect::<Vec<_>>(), ["store"]);
        assert_eq!(uses("fn f(a: crate::limits::Limits, b: crate::Limit)").collect::<Vec<_>>(), ["limits"]);
        assert_eq!(folder(Path::new("crates/wharf/src/run/call/wave.rs")).as_deref(), Some("run"));
        assert_eq!(folder(Path::new("crates/wharf/src/store.rs")).as_deref(), Some("store"));
    }
}
