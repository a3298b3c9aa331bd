//! The workload of a component that the command line names: its flags become grants and limits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wharf::prepare::compose::Composed;
use wharf::workload::component::MAX_BYTES;
use wharf::workload::manifest::{Access, Component, Format, HostRule, Mount, TimeZone, Triggers, Volume};
use wharf::workload::{Name, Workload};

use crate::args::{EngineArgs, Grants};
use crate::error::{CliError, Declared, Report};
use crate::{build, host, manifest};

/// A workload, and its entry.
pub(crate) struct Target {
    pub(crate) workload: Workload,
    pub(crate) entry: Name,
}

impl Target {
    /// The entry component.
    pub(crate) fn component(&mut self) -> Option<&mut Component> {
        self.workload.components.get_mut(&self.entry)
    }
}

/// The workload of a component, named after its file. A composed component is a workload of its parts: each is granted what it had
/// in the workload that it was composed from, as far as flags grant it; a grant that no part had goes to the entry.
pub(crate) fn workload(path: &Path, grants: &Grants, args: &[String]) -> Result<Target, CliError> {
    let name = name(path);
    // A file that cannot be read is reported where it is loaded. A pipe can be read only once, and has no parts.
    let is_file = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MAX_BYTES as u64);
    let bytes = if is_file { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
    let composed = Composed::read(&bytes);
    let composed = composed.map_err(|error| {
        let hint = "the file is damaged, or of another version; compose it again with this one";
        CliError::Workload(Report::with_hint(format!("{}: {error}", path.display()), hint))
    })?;
    let mut called = if let Some(Composed { workload, entry }) = composed {
        Target { workload: Workload { name, ..workload }, entry }
    } else {
        let workload = Workload::new(name.clone()).with_component(name.clone(), Component::from_path(path));
        Target { workload, entry: name }
    };
    let had = std::mem::take(&mut called.workload.components);
    called.workload.volumes.clear();
    let without_grants = |(name, part): (&Name, &Component)| (name.clone(), Component::new(part.source.clone()));
    called.workload.components = had.iter().map(without_grants).collect();
    grant(&mut called, &had, grants)?;
    if let Some(component) = called.component() {
        // The first argument is the file's name, as under a shell.
        component.program = path.file_name().map(|file| file.to_string_lossy().into_owned());
        component.args = args.to_vec();
        for (key, value) in pairs("--limit", &grants.limit)? {
            let invalid =
                |error| CliError::Usage(Report::with_context(error, format!("invalid `--limit {key}={value}`")));
            component.limits.set(&key, &value).map_err(invalid)?;
        }
    }
    Ok(called)
}

/// The workload of a path on the command line: a component, or the one of a manifest, which is built if that has changed.
pub(crate) async fn target(
    engine: &EngineArgs,
    path: &Path,
    name: Option<&str>,
    grants: &Grants,
    args: &[String],
) -> Result<(Target, Declared), CliError> {
    if !path.is_dir() && Format::of(path).is_none() {
        if name.is_some() {
            let hint = "name a manifest or its folder, or leave out `--component`";
            let message = format!("`{}` is a component, not a manifest", path.display());
            return Err(CliError::Usage(Report::with_hint(message, hint)));
        }
        return Ok((workload(path, grants, args)?, Declared::default()));
    }
    let declared = vec![manifest::read(path)?];
    build::all(&declared, host::builds_folder(engine).as_deref()).await?;
    let Some((mut workload, declared)) = declared.into_iter().next() else { return Err(nothing(path)) };
    let known: Vec<String> = workload.components.keys().map(ToString::to_string).collect();
    let entry = match name {
        Some(name) => workload.components.keys().find(|known| known.as_str() == name).cloned(),
        None if known.len() == 1 => workload.components.keys().next().cloned(),
        None => None,
    };
    let Some(entry) = entry else {
        let hint = format!("choose one with `--component`: {}", known.join(", "));
        let message = match name {
            Some(name) => format!("there is no component `{name}` in the manifest"),
            None => "the manifest has several components".to_owned(),
        };
        return Err(CliError::Usage(Report::with_hint(message, &hint)));
    };
    workload.triggers = Triggers::default();
    let mut called = Target { workload, entry };
    grant(&mut called, &BTreeMap::new(), grants)?;
    if let Some(component) = called.component() {
        component.service = None;
        component.args.extend(args.iter().cloned());
        for (key, value) in pairs("--limit", &grants.limit)? {
            let invalid =
                |error| CliError::Usage(Report::with_context(error, format!("invalid `--limit {key}={value}`")));
            component.limits.set(&key, &value).map_err(invalid)?;
        }
    }
    Ok((called, declared))
}

fn nothing(path: &Path) -> CliError {
    CliError::Manifest(Report::error(format!("no manifest at `{}`", path.display())))
}

/// Grants what the flags say to the parts that had it.
fn grant(called: &mut Target, had: &BTreeMap<Name, Component>, grants: &Grants) -> Result<(), CliError> {
    let mut env = Vec::new();
    if grants.inherit_env {
        // WASI strings are UTF-8, so variables that are not cannot be passed.
        let all = std::env::vars_os();
        env.extend(all.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))));
    }
    env.extend(pairs("--env", &grants.env)?);
    for (key, value) in env {
        called.each(had, |part| part.env.contains_key(&key), |part| drop(part.env.insert(key.clone(), value.clone())));
    }
    for (key, value) in pairs("--config", &grants.config)? {
        let give = |part: &mut Component| drop(part.config.insert(key.clone(), value.clone()));
        called.each(had, |part| part.config.contains_key(&key), give);
    }
    for host in &grants.allow {
        let invalid = |error| CliError::Usage(Report::with_context(error, format!("invalid `--allow {host}`")));
        let rule: HostRule = host.parse().map_err(invalid)?;
        called.each(
            had,
            |part| part.hosts.iter().any(|declared| declared.includes(&rule)),
            |part| part.hosts.push(rule.clone()),
        );
    }
    if grants.inherit_network {
        // Every host that a part had is among all hosts.
        for (name, part) in had {
            let granted = called.workload.components.get_mut(name);
            granted.into_iter().for_each(|granted| granted.hosts.extend(part.hosts.iter().cloned()));
        }
        if had.values().all(|part| part.hosts.is_empty()) {
            called.component().into_iter().for_each(|entry| entry.hosts.push(HostRule::ANY));
        }
    }
    for (i, dir) in grants.dir.iter().enumerate() {
        let (host, guest, access) = folder(dir)?;
        let volume = Name::nearest(&format!("dir{i}"));
        called.workload.volumes.insert(volume.clone(), Volume::Host { host });
        let mount = Mount { volume, guest, access };
        // A path is the same with a slash at its end.
        let guest_path = Path::new(&mount.guest).components();
        let is_same = |declared: &&Mount| Path::new(&declared.guest).components().eq(guest_path.clone());
        // A part that could only read is not granted more.
        let writes = |part: &Component| part.volumes.iter().find(is_same).map(|mount| mount.access);
        called.each(had, |part| writes(part).is_some(), |part| part.volumes.push(mount.clone()));
        for (name, part) in had {
            let granted = called.workload.components.get_mut(name).and_then(|part| part.volumes.last_mut());
            if let (Some(Access::Read), Some(granted)) = (writes(part), granted) {
                granted.access = Access::Read;
            }
        }
    }
    if let Some(zone) = &grants.timezone {
        let invalid = |error| CliError::Usage(Report::with_context(error, format!("invalid `--timezone {zone}`")));
        let zone: TimeZone = zone.parse().map_err(invalid)?;
        called.each(had, |part| part.timezone != TimeZone::default(), |part| part.timezone = zone.clone());
    }
    Ok(())
}

impl Target {
    /// Grants something to the parts that had it, or to the entry if none had.
    fn each(
        &mut self,
        had: &BTreeMap<Name, Component>,
        has: impl Fn(&Component) -> bool,
        mut give: impl FnMut(&mut Component),
    ) {
        let mut parts: Vec<&Name> = had.iter().filter(|(_, part)| has(part)).map(|(name, _)| name).collect();
        if parts.is_empty() {
            parts.push(&self.entry);
        }
        for name in parts {
            if let Some(part) = self.workload.components.get_mut(name) {
                give(part);
            }
        }
    }
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
