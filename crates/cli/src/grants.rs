//! The workload of a component that the command line names: its flags become grants and limits.

use std::path::{Path, PathBuf};

use wharf::workload::manifest::{Access, Component, HostRule, Mount, Volume};
use wharf::workload::{Name, Workload};

use crate::args::Grants;
use crate::error::{CliError, Report};

/// A workload of one component, named after its file.
pub(crate) fn workload(path: &Path, grants: &Grants, args: &[String]) -> Result<Workload, CliError> {
    let name = name(path);
    let mut workload = Workload::new(name.clone());
    let mut component = Component::from_path(path);
    if grants.inherit_env {
        // WASI strings are UTF-8, so variables that are not cannot be passed.
        component.env = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
    }
    component.env.extend(pairs("--env", &grants.env)?);
    component.config.extend(pairs("--config", &grants.config)?);
    // The first argument is the file's name, as under a shell.
    component.program = path.file_name().map(|file| file.to_string_lossy().into_owned());
    component.args = args.to_vec();
    for host in &grants.allow {
        let invalid = |error| CliError::Usage(Report::with_context(error, format!("invalid `--allow {host}`")));
        component.hosts.push(host.parse().map_err(invalid)?);
    }
    if grants.inherit_network {
        component.hosts.push(HostRule::ANY);
    }
    for (i, dir) in grants.dir.iter().enumerate() {
        let (host, guest, access) = folder(dir)?;
        let volume = Name::nearest(&format!("dir{i}"));
        workload.volumes.insert(volume.clone(), Volume::Host { host });
        component.volumes.push(Mount { volume, guest, access });
    }
    if let Some(zone) = &grants.timezone {
        let invalid = |error| CliError::Usage(Report::with_context(error, format!("invalid `--timezone {zone}`")));
        component.timezone = zone.parse().map_err(invalid)?;
    }
    for (key, value) in pairs("--limit", &grants.limit)? {
        let invalid = |error| CliError::Usage(Report::with_context(error, format!("invalid `--limit {key}={value}`")));
        component.limits.set(&key, &value).map_err(invalid)?;
    }
    Ok(workload.with_component(name, component))
}

/// The component name for a file: `my-tool2` for `My_tool-2.wasm`.
fn name(path: &Path) -> Name {
    Name::nearest(&path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default())
}

fn pairs(flag: &str, pairs: &[String]) -> Result<Vec<(String, String)>, CliError> {
    let split = |pair: &String| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(CliError::Usage(Report::with_hint(format!("invalid `{flag} {pair}`"), "write it as KEY=VALUE"))),
    };
    pairs.iter().map(split).collect()
}

/// The folder of the host, the path that the guest sees, and the access of a `--dir` flag.
fn folder(text: &str) -> Result<(PathBuf, String, Access), CliError> {
    let parts: Vec<&str> = text.split("::").collect();
    let (host, guest, access) = match parts.as_slice() {
        [host] => (*host, *host, Access::ReadWrite),
        [host, "ro"] => (*host, *host, Access::Read),
        [host, guest] => (*host, *guest, Access::ReadWrite),
        [host, guest, "ro"] => (*host, *guest, Access::Read),
        _ => ("", "", Access::Read),
    };
    if host.is_empty() || guest.is_empty() {
        let hint = "write it as HOST::GUEST or HOST::GUEST::ro";
        return Err(CliError::Usage(Report::with_hint(format!("invalid `--dir {text}`"), hint)));
    }
    if guest.split('/').any(|part| part == "..") {
        let hint = "name a path for the guest: HOST::GUEST";
        return Err(CliError::Usage(Report::with_hint(
            format!("invalid `--dir {text}`: `..` in the guest's path"),
            hint,
        )));
    }
    Ok((PathBuf::from(host), guest.to_owned(), access))
}
