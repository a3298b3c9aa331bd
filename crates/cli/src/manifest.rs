//! A path → the workload that it declares.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use wharf::workload::manifest::{Format, MAX_BYTES, parse_bytes};
use wharf::workload::{HostConfig, Workload};

use crate::error::{self, Declared, Failure, MANIFEST};

/// Reads the manifest at a path, or the one in a folder. Its relative paths start at its folder.
pub(crate) fn read(path: &Path) -> Result<(Workload, Declared), Failure> {
    let file = find(path)?;
    if !file.exists() {
        let message = format!("there is no {}", file.display());
        return Err(Failure::with_hint(MANIFEST, message, "give a manifest, or the folder that it is in"));
    }
    let Some(format) = Format::of(&file) else {
        let message = format!("{} is not named like a manifest", file.display());
        return Err(Failure::with_hint(MANIFEST, message, "a manifest ends in .toml, .yaml, .yml or .json"));
    };
    let parsed = parse_bytes(&bytes(&file)?, format);
    let Some(workload) = parsed.workload else { return Err(error::manifest(&file, &parsed.problems, parsed.omitted)) };
    let folder = file.parent().map(PathBuf::from).unwrap_or_default();
    Ok((workload.under(&folder), Declared { file: Some(file), origins: parsed.origins }))
}

/// Reads the settings of the host.
pub(crate) fn host_config(file: &Path) -> Result<HostConfig, Failure> {
    let Some(format) = Format::of(file) else {
        let message = format!("{} is not named like a file of settings", file.display());
        return Err(Failure::with_hint(MANIFEST, message, "it ends in .toml, .yaml, .yml or .json"));
    };
    let text = String::from_utf8(bytes(file)?)
        .map_err(|_| Failure::new(MANIFEST, format!("{} is not UTF-8 text", file.display())))?;
    HostConfig::parse(&text, format).map_err(|problems| error::manifest(file, &problems, 0))
}

/// The manifests at these paths: a file, the one in a folder, or those of a folder that has none by those names itself:
/// the files that are named like a manifest, and the manifests of its folders.
pub(crate) fn find_all(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        match find(path) {
            Ok(file) => found.push(file),
            Err(failure) => {
                let below = below(path);
                if below.is_empty() {
                    return Err(failure);
                }
                found.extend(below);
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let path = entry.path();
            if path.is_dir() { find(&path).ok() } else { Format::of(&path).map(|_| path) }
        })
        .collect()
}

fn find(path: &Path) -> Result<PathBuf, Failure> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let found = Format::FILE_NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| {
        let message = format!("there is no manifest in {}", path.display());
        Failure::with_hint(MANIFEST, message, &format!("it would be named {}", Format::FILE_NAMES.join(", ")))
    })
}

/// The bytes of a manifest, one more than may be there at most.
fn bytes(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::new(MANIFEST, format!("{} cannot be read: {error}", file.display())))?;
    Ok(bytes)
}
