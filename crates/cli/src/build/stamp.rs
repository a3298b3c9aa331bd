//! Whether a build is current: a file in the cache folder with the state of what it read and wrote.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::files;

/// Where the state of one build is kept.
pub(super) struct Stamp(PathBuf);

impl Stamp {
    /// The stamp of a recipe in a folder.
    pub(super) fn new(cache: &Path, folder: &Path, recipe: &str) -> Self {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let name = files::digest([folder.as_os_str().as_encoded_bytes(), recipe.as_bytes()]);
        Self(cache.join(name))
    }

    /// Whether the last build read these inputs, and its outputs are as it wrote them.
    pub(super) fn is_current(&self, inputs: &str, outputs: &[PathBuf]) -> bool {
        let expected = text(inputs, outputs);
        expected.is_some_and(|expected| std::fs::read_to_string(&self.0).is_ok_and(|found| found == expected))
    }

    /// Remembers a build. One that cannot be remembered runs again.
    pub(super) fn write(&self, inputs: &str, outputs: &[PathBuf]) {
        let Some(text) = text(inputs, outputs) else { return };
        if let Some(folder) = self.0.parent() {
            std::fs::create_dir_all(folder).ok();
        }
        std::fs::write(&self.0, text).ok();
    }
}

/// `None` if an output does not exist.
fn text(inputs: &str, outputs: &[PathBuf]) -> Option<String> {
    let mut text = format!("{inputs}\n");
    for output in outputs {
        let found = std::fs::metadata(output).ok()?;
        // Writing to a String cannot fail.
        writeln!(text, "{} {} {:?}", output.display(), found.len(), found.modified().ok()?).ok();
    }
    Some(text)
}
