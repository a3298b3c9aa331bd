//! Grants given on the command line → a workload of one component.

use std::path::{Path, PathBuf};

use wharf::workload::manifest::{Access, Component, HostRule, Mount, Volume};
use wharf::workload::{Name, Workload};

use crate::args::Grants;
use crate::error::Failure;

/// A workload of one component, named after its file.
pub(crate) fn workload(path: &Path, grants: &Grants, args: &[String]) -> Result<Workload, Failure> {
    let name = name(path);
    let mut workload = Workload::new(name.clone());
    let mut component = Component::from_path(path);
    if grants.inherit_env {
        // What is not UTF-8 a component could not read.
        component.env = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
    }
    component.env.extend(pairs("--env", &grants.env)?);
    component.config.extend(pairs("--config", &grants.config)?);
    // As a shell would call it.
    component.program = path.file_name().map(|file| file.to_string_lossy().into_owned());
    component.args = args.to_vec();
    for host in &grants.allow {
        let bad = |error| Failure::new(2, format!("--allow {host}: {error}"));
        component.hosts.push(host.parse().map_err(bad)?);
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
        component.timezone = zone.parse().map_err(|error| Failure::new(2, format!("--timezone: {error}")))?;
    }
    for (key, value) in pairs("--limit", &grants.limit)? {
        let bad = |error| Failure::new(2, format!("--limit {key}={value}: {error}"));
        component.limits.set(&key, &value).map_err(bad)?;
    }
    Ok(workload.with_component(name, component))
}

/// A component's name from its file's: `My_tool-2.wasm` is `my-tool2`.
fn name(path: &Path) -> Name {
    Name::nearest(&path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default())
}

fn pairs(flag: &str, pairs: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let split = |pair: &String| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::with_hint(2, format!("{flag} {pair}"), "it is written KEY=VALUE")),
    };
    pairs.iter().map(split).collect()
}

fn folder(text: &str) -> Result<(PathBuf, String, Access), Failure> {
    let parts: Vec<&str> = text.split("::").collect();
    let (host, guest, access) = match parts.as_slice() {
        [host] => (host, host, Access::ReadWrite),
        [host, "ro"] => (host, host, Access::Read),
        [host, guest] => (host, guest, Access::ReadWrite),
        [host, guest, "ro"] => (host, guest, Access::Read),
        _ => {
            return Err(Failure::with_hint(2, format!("--dir {text}"), "it is written HOST::GUEST or HOST::GUEST::ro"));
        }
    };
    if host.is_empty() || guest.is_empty() {
        return Err(Failure::with_hint(2, format!("--dir {text}"), "it is written HOST::GUEST or HOST::GUEST::ro"));
    }
    Ok((PathBuf::from(*host), (*guest).to_owned(), access))
}
