//! Finds and reads manifests and the host configuration.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use wharf::workload::manifest::{Format, MAX_BYTES, parse_bytes_with};
use wharf::workload::{HostConfig, Workload};

use crate::error::{self, CliError, Declared, Report};
use crate::host;

/// The hint for a file whose extension does not identify a format.
const EXTENSIONS: &str = "name it with one of the extensions .toml, .yaml, .yml and .json";

/// Reads the manifest at a path, or the one in a folder. Relative paths in it start at its folder.
pub(crate) fn read(path: &Path) -> Result<(Workload, Declared), CliError> {
    let file = find(path)?;
    if !file.exists() {
        let message = format!("no such manifest: `{}`", file.display());
        let hint = "pass a manifest, or the folder that contains it";
        return Err(CliError::Manifest(Report::with_hint(message, hint)));
    }
    let Some(format) = Format::of(&file) else {
        let message = format!("unknown extension of manifest `{}`", file.display());
        return Err(CliError::Manifest(Report::with_hint(message, EXTENSIONS)));
    };
    let extensions = host::extensions();
    let parsed = parse_bytes_with(&bytes(&file)?, format, &extensions);
    let Some(workload) = parsed.workload else { return Err(error::manifest(&file, &parsed.problems, parsed.omitted)) };
    let folder = file.parent().map(PathBuf::from).unwrap_or_default();
    Ok((workload.under_with(&folder, &extensions), Declared { file: Some(file), spans: parsed.spans }))
}

/// Reads the host configuration.
pub(crate) fn host_config(file: &Path) -> Result<HostConfig, CliError> {
    let Some(format) = Format::of(file) else {
        let message = format!("unknown extension of host configuration `{}`", file.display());
        return Err(CliError::Manifest(Report::with_hint(message, EXTENSIONS)));
    };
    let text = String::from_utf8(bytes(file)?).map_err(|error| {
        CliError::Manifest(Report::with_context(error, format!("`{}` is not UTF-8 text", file.display())))
    })?;
    let extensions = host::extensions();
    let config = HostConfig::parse(&text, format, &extensions);
    let config = config.map_err(|problems| error::manifest(file, &problems, 0))?;
    Ok(config.under(file.parent().unwrap_or(Path::new("")), &extensions))
}

/// The manifests at these paths, sorted. A path is a manifest, the folder of one, or a folder of several: a folder without
/// `wharf.toml` or the like gives every file with a manifest's extension and the manifest of each of its folders.
pub(crate) fn find_all(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut found = Vec::new();
    for path in paths {
        match find(path) {
            Ok(file) => found.push(file),
            Err(error) => {
                let manifests = list(path);
                if manifests.is_empty() {
                    return Err(error);
                }
                found.extend(manifests);
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The manifests directly in a folder, and those of its folders.
fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let path = entry.path();
            if path.is_dir() { find(&path).ok() } else { Format::of(&path).map(|_| path) }
        })
        .collect()
}

/// The manifest that a path names: the path itself, or `wharf.toml` and the like in a folder.
fn find(path: &Path) -> Result<PathBuf, CliError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let found = Format::FILE_NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| {
        let message = format!("no manifest in folder `{}`", path.display());
        let hint = format!("name it {}", Format::FILE_NAMES.join(" or "));
        CliError::Manifest(Report::with_hint(message, &hint))
    })
}

/// Reads a file, at most one byte beyond the limit, so that the parser can report a manifest that is too long.
fn bytes(file: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    std::fs::File::open(file).and_then(|opened| opened.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)).map_err(
        |error| CliError::Manifest(Report::with_context(error, format!("cannot read `{}`", file.display()))),
    )?;
    Ok(bytes)
}
