//! The files that a build depends on: all below its folder, except what version control ignores and what builds write.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ignore::WalkBuilder;
use ignore::overrides::OverrideBuilder;
use sha2::{Digest as _, Sha256};

/// Folders that builds write, whether version control ignores them or not.
const WRITTEN: [&str; 5] = [".git", "target", "node_modules", ".venv", "__pycache__"];
/// The most files that are looked at.
const MAX_FILES: usize = 200_000;

/// The state of files: their paths, sizes and times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    files: Vec<(PathBuf, u64, Option<SystemTime>)>,
    /// The folders that they are in.
    pub(crate) folders: Vec<PathBuf>,
}

/// The files that this program's output goes to, which change with each line: their devices and numbers.
fn written_by_us() -> Vec<(u64, u64)> {
    let streams = ["/dev/stdout", "/dev/stderr"].into_iter();
    streams.filter_map(|stream| std::fs::metadata(stream).ok()).map(|found| (found.dev(), found.ino())).collect()
}

/// An empty folder makes no difference.
impl PartialEq for Inputs {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Inputs {
    /// Whether these are all of the earlier ones as they were, perhaps with others, such as a lock file that a build wrote.
    pub(crate) fn only_added(&self, earlier: &Self) -> bool {
        let mut now = self.files.iter();
        earlier.files.iter().all(|file| now.any(|found| found == file))
    }

    /// A hash of the state.
    pub(crate) fn digest(&self) -> String {
        let parts =
            self.files.iter().map(|(path, size, time)| format!("{}\0{size}\0{time:?}", path.display()).into_bytes());
        digest(parts)
    }
}

/// A hash of parts, in hexadecimal.
pub(crate) fn digest<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.as_ref().len() as u64).to_le_bytes());
        hash.update(part.as_ref());
    }
    format!("{:x}", hash.finalize())
}

/// The inputs of a build in a folder. `watch` narrows them, or names files and folders elsewhere; `outputs` are none.
pub(crate) fn inputs(folder: &Path, watch: &[String], outputs: &[PathBuf]) -> Inputs {
    let (mut roots, mut globs) = (Vec::new(), Vec::new());
    for pattern in watch {
        let path = folder.join(pattern);
        if path.exists() { roots.push(path) } else { globs.push(pattern) }
    }
    let mut inputs = Inputs::default();
    if roots.is_empty() || !globs.is_empty() {
        walk(folder, &globs, outputs, &mut inputs);
    }
    for root in &roots {
        walk(root, &[], outputs, &mut inputs);
    }
    inputs.files.sort();
    inputs.files.dedup();
    inputs.folders.sort();
    inputs.folders.dedup();
    inputs
}

fn walk(root: &Path, globs: &[&String], outputs: &[PathBuf], inputs: &mut Inputs) {
    let mut walk = WalkBuilder::new(root);
    walk.hidden(false).require_git(false).follow_links(false).git_global(false);
    walk.filter_entry(|entry| {
        entry.depth() == 0 || !WRITTEN.iter().any(|name| entry.file_name().to_str() == Some(name))
    });
    if !globs.is_empty() {
        let mut only = OverrideBuilder::new(root);
        // A pattern that makes no sense matches nothing.
        globs.iter().for_each(|glob| drop(only.add(glob)));
        if let Ok(only) = only.build() {
            walk.overrides(only);
        }
    }
    let ours = written_by_us();
    for entry in walk.build().flatten().take(MAX_FILES) {
        let path = entry.path();
        let Ok(found) = entry.metadata() else { continue };
        if found.is_dir() {
            inputs.folders.push(path.to_owned());
        } else if found.is_file()
            && !outputs.iter().any(|output| output == path)
            && !ours.contains(&(found.dev(), found.ino()))
        {
            inputs.files.push((path.to_owned(), found.len(), found.modified().ok()));
        }
    }
}

/// The state of single files, which may not exist.
pub(crate) fn state(files: &[PathBuf]) -> Inputs {
    let state = |file: &PathBuf| {
        let found = std::fs::metadata(file).ok();
        (file.clone(), found.as_ref().map_or(0, std::fs::Metadata::len), found.and_then(|found| found.modified().ok()))
    };
    let folder = |file: &PathBuf| match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        parent => parent.map(Path::to_owned),
    };
    Inputs { files: files.iter().map(state).collect(), folders: files.iter().filter_map(folder).collect() }
}
