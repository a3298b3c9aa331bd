//! [`Workload`] → the [`Problem`]s of its values, however the workload came about: from a manifest, from JSON or from Rust.
//!
//! Takes a workload and the host's extensions; returns a problem for every invalid value. Never looks at
//! components' types, which is resolution's part. Decoding checks shape and syntax only, so that each rule about values is
//! written once, here.

mod component;

use std::collections::BTreeMap;

use crate::manifest::decode::{child, known_keys, unknown_key};
use crate::manifest::{AnyTriggerKind, Extensions, Level, Settings, Volume, shape};
use crate::problem::Problem;
use crate::workload::Workload;

/// The keys at the top of a manifest that no extension can own.
const WORKLOAD_KEYS: [&str; 8] = ["name", "namespace", "version", "components", "volumes", "links", "triggers", "test"];

/// Validates a workload for a host with these extensions. Problems come in the order of the workload's parts.
///
/// ```
/// use wharf_workload::manifest::{Component, Extensions};
/// use wharf_workload::{Name, Workload, validate};
///
/// let workload = Workload::new(Name::new("a").unwrap())
///     .with_component(Name::new("web").unwrap(), Component::from_path(""));
/// let problems = validate(&workload, &Extensions::builtin());
/// assert_eq!(problems[0].place(), "components.web.source");
/// ```
pub fn validate(workload: &Workload, extensions: &Extensions) -> Vec<Problem> {
    let mut problems = Vec::new();
    if workload.components.is_empty() {
        let hint = "add `[components.<name>]` with a `source`";
        problems.push(invalid("components", "a workload needs at least one component", hint));
    }
    for (name, declared) in &workload.components {
        component::check(name, declared, workload, &mut problems);
        let place = format!("components.{name}");
        settings(&place, Level::Component, &component::KEYS, &declared.settings, extensions, &mut problems);
    }
    for (name, volume) in &workload.volumes {
        check_volume(&format!("volumes.{name}"), volume, &mut problems);
    }
    triggers(workload, extensions, &mut problems);
    settings("", Level::Workload, &WORKLOAD_KEYS, &workload.settings, extensions, &mut problems);
    problems
}

fn invalid(place: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem::Invalid { place: place.into(), message: message.into(), hint: Some(hint.into()) }
}

fn check_volume(place: &str, volume: &Volume, problems: &mut Vec<Problem>) {
    match volume {
        Volume::Host { host } => {
            if let Some(message) = bad_path(&host.to_string_lossy(), &format!("{place}.host")) {
                problems.push(invalid(format!("{place}.host"), message, "give the path of a folder of the host"));
            }
        }
        Volume::Ephemeral { ephemeral: true } => {}
        Volume::Ephemeral { ephemeral: false } => {
            let message = format!("expected either `host` or `ephemeral = true` in `{place}`");
            problems.push(invalid(
                format!("{place}.ephemeral"),
                message,
                "set `ephemeral = true`, or give a `host` path",
            ));
        }
    }
}

/// Why text is not a path at all.
fn bad_path(path: &str, place: &str) -> Option<String> {
    if path.is_empty() {
        return Some(format!("expected a path for `{place}`, found an empty string"));
    }
    path.contains('\0').then(|| format!("`{place}` contains a NUL character"))
}

fn triggers(workload: &Workload, extensions: &Extensions, problems: &mut Vec<Problem>) {
    for (key, entries) in workload.triggers.kinds() {
        let place = child("triggers", key);
        for (i, entry) in entries.iter().enumerate() {
            if entry.settings.value()["component"].as_str() != Some(entry.component.as_str()) {
                let message =
                    format!("`{place}.{i}` calls `{}`, but its settings name another component", entry.component);
                problems.push(invalid(format!("{place}.{i}.component"), message, "set `component` in its settings"));
            }
        }
        if let Some(kind) = extensions.trigger(key) {
            let errors = kind.check(entries).into_iter().map(|error| error.into_problem(&place));
            problems.extend(errors);
            continue;
        }
        let known: Vec<_> = extensions.triggers().iter().map(AnyTriggerKind::key).collect();
        let hint = known_keys(key, &known);
        problems.push(Problem::UnknownKey { place, message: unknown_key(key, "triggers"), hint });
    }
}

/// Checks the settings at one level: their keys, and their shape against the schema of the key's owner.
fn settings(
    place: &str,
    level: Level,
    own: &[&str],
    settings: &BTreeMap<String, Settings>,
    extensions: &Extensions,
    problems: &mut Vec<Problem>,
) {
    let owned: BTreeMap<_, _> = extensions.at(level).filter(|(key, _)| !own.contains(key)).collect();
    for (key, value) in settings {
        let at = child(place, key);
        if let Some(schema) = owned.get(key.as_str()) {
            let errors = shape::check(schema, value.value(), &at).into_iter();
            problems.extend(errors.map(|error| error.into_problem(&at)));
        } else if own.contains(&key.as_str()) {
            let message = format!("`{at}` is a key of the manifest itself, not of a plugin");
            problems.push(invalid(at, message, "rename the plugin's key"));
        } else {
            let known: Vec<_> = own.iter().copied().chain(owned.keys().copied()).collect();
            let (message, hint) = (unknown_key(key, place), known_keys(key, &known));
            problems.push(Problem::UnknownKey { place: at, message, hint });
        }
    }
}
