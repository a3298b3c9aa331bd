//! A path → the workload that it declares.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use wharf::workload::Workload;
use wharf::workload::manifest::{Format, MAX_BYTES, parse_bytes};

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
    let Some(workload) = parsed.workload else { return Err(error::manifest(&file, &parsed.problems)) };
    let folder = file.parent().map(PathBuf::from).unwrap_or_default();
    Ok((workload.under(&folder), Declared { file: Some(file), origins: parsed.origins }))
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
