//! The files of a template, and how they become a project.
//!
//! In text, `{{name}}` and `{{snake}}` become the project's name. `_gitignore` becomes `.gitignore`, and the ending `.in` goes away, so that
//! a template is no project itself. A project is written beside its place and moved there when it is complete.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tempfile::TempDir;

/// The largest file of a template, and the most files.
const MAX_FILE: u64 = 16 * 1024 * 1024;
const MAX_FILES: usize = 10_000;
/// The largest description of a template.
const MAX_ABOUT: u64 = 64 * 1024;
/// What a template of another program's version says about itself.
const ABOUT: &str = "wharf-template.toml";
/// Folders that belong to a checkout, not to a template.
const LEFT_OUT: [&str; 5] = [".git", "target", "node_modules", ".venv", "__pycache__"];

/// Files by their paths in the project.
#[derive(Default)]
pub(super) struct Project(Vec<File>);

struct File {
    path: PathBuf,
    bytes: Vec<u8>,
    executable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct About {
    /// The versions of Wharf that it is for, as cargo writes them.
    wharf: semver::VersionReq,
}

impl Project {
    pub(super) fn add(&mut self, path: PathBuf, bytes: Vec<u8>) {
        self.0.push(File { path, bytes, executable: false });
    }

    /// The template in a folder. Links are not followed.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        let mut project = Self::default();
        if let Some(text) = about(&folder.join(ABOUT))? {
            let about: About = toml::from_str(&text).map_err(|error| format!("{ABOUT}: {}", error.message()))?;
            let this = semver::Version::parse(env!("CARGO_PKG_VERSION")).map_err(|error| error.to_string())?;
            if !about.wharf.matches(&this) {
                return Err(format!(
                    "the template is for Wharf {}, and this is {this}; use another version of it",
                    about.wharf
                ));
            }
        }
        project.read_below(folder, Path::new(""))?;
        if project.0.is_empty() {
            return Err(format!("`{}` has no files", folder.display()));
        }
        Ok(project)
    }

    fn read_below(&mut self, root: &Path, below: &Path) -> Result<(), String> {
        let folder = root.join(below);
        let at = |error: std::io::Error| format!("cannot read `{}`: {error}", folder.display());
        for entry in std::fs::read_dir(&folder).map_err(at)? {
            let entry = entry.map_err(at)?;
            let (name, kind) = (entry.file_name(), entry.file_type().map_err(at)?);
            let path = below.join(&name);
            if kind.is_dir() {
                if !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                    self.read_below(root, &path)?;
                }
            } else if kind.is_file() && name != ABOUT {
                let found = entry.metadata().map_err(at)?;
                if found.len() > MAX_FILE || self.0.len() == MAX_FILES {
                    return Err(format!("`{}` is too large for a template", entry.path().display()));
                }
                let (bytes, executable) = (std::fs::read(entry.path()).map_err(at)?, found.mode() & 0o100 != 0);
                self.0.push(File { path, bytes, executable });
            }
        }
        Ok(())
    }

    /// Writes the project of this name to a folder that does not exist.
    pub(super) fn write(&self, name: &str, target: &Path) -> Result<(), String> {
        let scratch = tempfile::Builder::new().prefix(".wharf-new-").tempdir_in(".");
        let scratch = scratch.map_err(|error| format!("cannot write to the current folder: {error}"))?;
        let place = scratch.path().join(name);
        let at = |error: std::io::Error| format!("cannot write `{}`: {error}", target.display());
        for File { path, bytes, executable } in &self.0 {
            let path = place.join(written(path));
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(at)?;
            }
            let mode = if *executable { 0o777 } else { 0o666 };
            let mut file = std::fs::File::options().write(true).create_new(true).mode(mode).open(path).map_err(at)?;
            file.write_all(&filled(bytes, name)).map_err(at)?;
        }
        std::fs::rename(&place, target).map_err(at)
    }
}

/// What a template says about itself, if it has such a file.
fn about(file: &Path) -> Result<Option<String>, String> {
    match std::fs::symlink_metadata(file) {
        Err(_) => Ok(None),
        Ok(found) if found.is_file() && found.len() <= MAX_ABOUT => {
            std::fs::read_to_string(file).map(Some).map_err(|error| format!("cannot read `{ABOUT}`: {error}"))
        }
        Ok(_) => Err(format!("`{ABOUT}` of the template is no plain file of up to 64 KiB")),
    }
}

/// A folder that goes away.
pub(super) fn scratch() -> Result<TempDir, String> {
    tempfile::tempdir().map_err(|error| format!("cannot make a temporary folder: {error}"))
}

/// The path that a template's file has in a project.
fn written(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".in").unwrap_or(&name);
    path.with_file_name(if name == "_gitignore" { ".gitignore" } else { name })
}

/// The bytes with the project's name in the place of the placeholders. Those of a file that is no text stay as they are.
fn filled(bytes: &[u8], name: &str) -> Vec<u8> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.replace("{{name}}", name).replace("{{snake}}", &name.replace('-', "_")).into_bytes(),
        Err(_) => bytes.to_vec(),
    }
}
