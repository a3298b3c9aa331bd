//! The values of one component.

use std::collections::{BTreeMap, HashSet};

use super::{bad_path, invalid};
use crate::manifest::decode::nearest;
use crate::manifest::{Component, DIGEST_PREFIX, HostRule, Instances, InstancesMode, Limits, Source};
use crate::name::Name;
use crate::problem::Problem;
use crate::workload::Workload;

/// The keys of a component that no extension can own.
pub(super) const KEYS: [&str; 13] = [
    "source",
    "digest",
    "env",
    "program",
    "args",
    "config",
    "volumes",
    "hosts",
    "timezone",
    "limits",
    "instances",
    "service",
    "build",
];

pub(super) fn check(name: &Name, component: &Component, workload: &Workload, problems: &mut Vec<Problem>) {
    let place = format!("components.{name}");
    source(&place, &component.source, problems);
    for (key, variables) in [("env", &component.env), ("config", &component.config)] {
        strings(&format!("{place}.{key}"), variables, problems);
    }
    let program = component.program.iter().map(|program| (format!("{place}.program"), program));
    let args = component.args.iter().enumerate().map(|(i, arg)| (format!("{place}.args.{i}"), arg));
    for (place, _) in program.chain(args).filter(|(_, text)| text.contains('\0')) {
        let message = format!("`{place}` contains a NUL character");
        problems.push(invalid(place, message, "remove the NUL character"));
    }
    for (i, rule) in component.hosts.iter().enumerate() {
        host(&format!("{place}.hosts.{i}"), rule, problems);
    }
    mounts(name, component, workload, problems);
    limits(&format!("{place}.limits"), &component.limits, problems);
    if let Some(declared) = &component.instances {
        instances(&format!("{place}.instances"), declared, problems);
    }
    if component.service.is_some_and(|service| service.max_restarts == Some(0)) {
        let message = format!("expected a value above 0 for `{place}.service.max-restarts`, found 0");
        problems.push(invalid(format!("{place}.service.max-restarts"), message, "set `restart = \"never\"` instead"));
    }
}

fn source(place: &str, source: &Source, problems: &mut Vec<Problem>) {
    let Source::Path(path) = source else { return };
    let (path, place) = (path.to_string_lossy(), format!("{place}.source"));
    if let Some(message) = bad_path(&path, &place) {
        problems.push(invalid(place, message, "give the path of a component"));
    } else if let Some((scheme, _)) = path.split_once("://") {
        let message = format!("unsupported scheme `{scheme}://` in `{place}`");
        problems.push(invalid(place, message, "give a path to a file"));
    } else if path.starts_with(DIGEST_PREFIX) {
        let message = format!("`{place}` is a path that reads as a digest: `{path}`");
        problems.push(invalid(place, message, format!("write `./{path}`")));
    }
}

fn strings(place: &str, variables: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    for (key, value) in variables {
        let at = format!("{place}.{key}");
        if key.is_empty() || key.contains(['\0', '=']) {
            let message = format!("invalid key `{key}` in `{place}`: empty, or contains `=` or a NUL character");
            problems.push(invalid(at, message, "rename the key"));
        } else if value.contains('\0') {
            let message = format!("`{at}` contains a NUL character");
            problems.push(invalid(at, message, "remove the NUL character"));
        }
    }
}

/// A rule that a program builds by hand can have a host that no rule's text can.
fn host(place: &str, rule: &HostRule, problems: &mut Vec<Problem>) {
    match rule.to_string().parse::<HostRule>() {
        Ok(parsed) if parsed == *rule => {}
        Ok(_) => {
            let message = format!("invalid `{place}`: `{rule}` reads as a different rule");
            problems.push(invalid(place, message, "build the rule by parsing its text"));
        }
        Err(error) => {
            let message = format!("invalid `{place}`: {error}");
            problems.push(invalid(place, message, "give a rule such as `https://example.com`"));
        }
    }
}

fn mounts(name: &Name, component: &Component, workload: &Workload, problems: &mut Vec<Problem>) {
    let mut guests = HashSet::new();
    for (mount, declared) in component.volumes.iter().enumerate() {
        let (volume, guest) = (&declared.volume, &declared.guest);
        if !workload.volumes.contains_key(volume) {
            let near = nearest(volume.as_str(), workload.volumes.keys().map(Name::as_str));
            let nearest = workload.volumes.keys().find(|known| Some(known.as_str()) == near).cloned();
            let (component, volume) = (name.clone(), volume.clone());
            problems.push(Problem::UnknownVolume { component, mount, volume, nearest });
        }
        let place = format!("components.{name}.volumes.{mount}.guest");
        if guest.is_empty() || guest.contains('\0') || guest.split('/').any(|part| part == "..") {
            let message = format!("expected a path without `..` for `{place}`, found `{guest}`");
            problems.push(invalid(place, message, "give a path such as `/data`"));
        } else if !guests.insert(normal(guest)) {
            let message = format!("`{name}` mounts two volumes at `{guest}`");
            problems.push(invalid(place, message, "mount one of them at another path"));
        }
    }
}

/// A path without empty segments and `.`, so that `/data` and `/data/` are one mount.
fn normal(path: &str) -> (bool, Vec<&str>) {
    (path.starts_with('/'), path.split('/').filter(|part| !part.is_empty() && *part != ".").collect())
}

fn limits(place: &str, limits: &Limits, problems: &mut Vec<Problem>) {
    let zero = [
        ("memory", limits.memory.is_some_and(|n| n.0 == 0)),
        ("time", limits.time.is_some_and(|n| n.0 == 0)),
        ("after-response", limits.after_response.is_some_and(|n| n.0 == 0)),
        ("cpu", limits.cpu.is_some_and(|n| n.0 == 0)),
        ("concurrency", limits.concurrency == Some(0)),
        ("request-body", limits.request_body.is_some_and(|n| n.0 == 0)),
        ("response-body", limits.response_body.is_some_and(|n| n.0 == 0)),
        ("headers", limits.headers.is_some_and(|n| n.0 == 0)),
        ("connections", limits.connections == Some(0)),
        ("files", limits.files == Some(0)),
        ("log-rate", limits.log_rate == Some(0)),
    ];
    for (key, _) in zero.into_iter().filter(|(_, zero)| *zero) {
        not_zero(place, key, problems);
    }
}

fn not_zero(place: &str, key: &str, problems: &mut Vec<Problem>) {
    let place = format!("{place}.{key}");
    let message = format!("expected a value above 0 for `{place}`, found 0");
    problems.push(invalid(place, message, format!("raise `{key}`, or omit it for the default")));
}

fn instances(place: &str, instances: &Instances, problems: &mut Vec<Problem>) {
    let Instances { mode, size, calls, concurrent, idle, most } = instances;
    let zero = [
        ("size", *size == Some(0)),
        ("calls", *calls == Some(0)),
        ("concurrent", *concurrent == Some(0)),
        ("idle", idle.is_some_and(|n| n.0 == 0)),
        ("most", *most == Some(0)),
    ];
    for (key, _) in zero.into_iter().filter(|(_, zero)| *zero) {
        not_zero(place, key, problems);
    }
    let set = [
        ("calls", calls.is_some()),
        ("concurrent", concurrent.is_some()),
        ("idle", idle.is_some()),
        ("most", most.is_some()),
    ];
    for (key, _) in set.into_iter().filter(|(_, set)| *set && *mode != InstancesMode::Reuse) {
        let message = format!("`{key}` in `{place}` requires mode `reuse`");
        problems.push(invalid(format!("{place}.{key}"), message, format!("set `mode = \"reuse\"`, or remove `{key}`")));
    }
    match (mode, size) {
        (InstancesMode::Warm, None) => {
            let message = format!("missing required key `size` in `{place}`");
            problems.push(invalid(format!("{place}.size"), message, "mode `warm` keeps `size` instances ready"));
        }
        (InstancesMode::Fresh | InstancesMode::Reuse, Some(_)) => {
            let message = format!("`size` in `{place}` requires mode `warm`");
            problems.push(invalid(format!("{place}.size"), message, "set `mode = \"warm\"`, or remove `size`"));
        }
        _ => {}
    }
}
