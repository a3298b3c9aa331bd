//! Entries, what each reaches, and in which order it is instantiated.

use std::collections::{BTreeMap, BTreeSet};

use super::ComponentTypes;
use super::links::nearest_component;
use crate::component::ComponentType;
use crate::name::Name;
use crate::problem::Problem;
use crate::resolution::{Provider, Resolution, Unit};
use crate::workload::Workload;

/// Which siblings each component imports from.
type Graph<'a> = BTreeMap<&'a Name, BTreeSet<&'a Name>>;

pub(super) fn find(
    workload: &Workload,
    types: &ComponentTypes,
    resolution: &mut Resolution,
    problems: &mut Vec<Problem>,
) {
    let graph: Graph<'_> = resolution
        .components
        .iter()
        .map(|(name, imports)| {
            let siblings = imports.iter().filter_map(|i| match &i.provider {
                Provider::Sibling { component, .. } => Some(component),
                _ => None,
            });
            (name, siblings.collect())
        })
        .collect();
    let cycles = cycles(&graph);
    let cyclic = !cycles.is_empty();
    problems.extend(cycles.into_iter().map(|components| Problem::Cycle { components }));
    let entries = entries(workload, types, &graph, problems);
    // In a circle there is no order, and what cannot be ordered is not a unit.
    let units: Vec<Unit> = if cyclic { Vec::new() } else { entries.iter().map(|entry| unit(entry, &graph)).collect() };
    if !cyclic {
        warn(workload, &units, &graph, problems);
    }
    resolution.units = units;
}

/// The components that triggers call and the services; without triggers, those that no sibling imports from.
fn entries(workload: &Workload, types: &ComponentTypes, graph: &Graph<'_>, problems: &mut Vec<Problem>) -> Vec<Name> {
    let mut entries = BTreeSet::new();
    let http = workload.triggers.http.iter().map(|t| &t.component).enumerate();
    let command = workload.triggers.command.iter().map(|t| &t.component).enumerate();
    let called = http
        .map(|(i, name)| {
            (
                format!("triggers.http.{i}"),
                name,
                HTTP,
                &["wasi:http/incoming-handler@0.2.0", "wasi:http/handler@0.3.0"][..],
            )
        })
        .chain(command.map(|(i, name)| (format!("triggers.command.{i}"), name, RUN, RUN_INTERFACES)));
    for (trigger, name, wanted, interfaces) in called {
        let Some(component) = types.get(name) else {
            // A component that is declared but could not be read has its own problem already.
            if !workload.components.contains_key(name) {
                let nearest = nearest_component(name, types);
                problems.push(Problem::TriggerUnknownComponent { trigger, name: name.clone(), nearest });
            }
            continue;
        };
        if exports_any(component, interfaces) {
            entries.insert(name.clone());
        } else {
            let exports = component.exports().iter().map(|e| e.name.clone()).collect();
            problems.push(Problem::TriggerWithoutExport { trigger, component: name.clone(), wanted, exports });
        }
    }
    let services = workload.components.iter().filter(|(_, component)| component.service);
    for (name, component) in services.filter_map(|(name, _)| Some((name, types.get(name)?))) {
        if exports_any(component, RUN_INTERFACES) {
            entries.insert(name.clone());
        } else {
            let exports = component.exports().iter().map(|e| e.name.clone()).collect();
            problems.push(Problem::ServiceWithoutExport { component: name.clone(), wanted: RUN, exports });
        }
    }
    if workload.triggers.is_empty() {
        let imported: BTreeSet<_> = graph.values().flatten().copied().collect();
        entries.extend(graph.keys().filter(|name| !imported.contains(*name)).map(|name| (*name).clone()));
    }
    entries.into_iter().collect()
}

const HTTP: &str = "`wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`";
const RUN_INTERFACES: &[&str] = &["wasi:cli/run@0.2.0", "wasi:cli/run@0.3.0"];
const RUN: &str = "`wasi:cli/run@0.2` or `wasi:cli/run@0.3`";

/// Whether a component exports one of these interfaces, in any version of their tracks.
fn exports_any(component: &ComponentType, interfaces: &[&str]) -> bool {
    let wanted: Vec<_> = interfaces.iter().filter_map(|i| crate::InterfaceName::parse(i)).collect();
    let names = component.exports().iter().filter_map(|e| e.interface.as_ref());
    names.into_iter().any(|name| wanted.iter().any(|w| name.may_serve(w)))
}

/// An entry with all that it reaches, each component after those it imports from. The graph has no circle.
fn unit(entry: &Name, graph: &Graph<'_>) -> Unit {
    let mut components = Vec::new();
    let mut seen = BTreeSet::from([entry]);
    // Depth first with a stack of its own: a chain of components may be longer than a thread's stack.
    let mut stack = vec![(entry, graph.get(entry).into_iter().flatten())];
    while let Some((name, rest)) = stack.last_mut() {
        if let Some(next) = rest.find(|next| seen.insert(next)) {
            stack.push((next, graph.get(next).into_iter().flatten()));
        } else {
            components.push((*name).clone());
            stack.pop();
        }
    }
    Unit { entry: entry.clone(), components }
}

/// Each circle once, starting at its first name.
fn cycles(graph: &Graph<'_>) -> Vec<Vec<Name>> {
    let mut waiting: BTreeMap<&Name, BTreeSet<&Name>> = graph.clone();
    // Take away what imports nothing that is left, until only circles and what leads into them remain.
    loop {
        let done: Vec<_> = waiting.iter().filter(|(_, deps)| deps.is_empty()).map(|(name, _)| *name).collect();
        if done.is_empty() {
            break;
        }
        for name in &done {
            waiting.remove(name);
        }
        let done: BTreeSet<_> = done.into_iter().collect();
        waiting.values_mut().for_each(|deps| deps.retain(|d| !done.contains(d)));
    }
    let mut found: BTreeSet<Vec<Name>> = BTreeSet::new();
    let mut walked = BTreeSet::new();
    for start in waiting.keys() {
        let mut path: Vec<&Name> = Vec::new();
        let mut at = *start;
        while walked.insert(at) {
            path.push(at);
            let Some(next) = waiting[at].iter().next() else { break };
            at = next;
        }
        if let Some(first) = path.iter().position(|name| *name == at) {
            let circle = &path[first..];
            let least = circle.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(i, _)| i);
            found.insert(circle[least..].iter().chain(&circle[..least]).map(|n| (*n).clone()).collect());
        }
    }
    found.into_iter().collect()
}

fn warn(workload: &Workload, units: &[Unit], graph: &Graph<'_>, problems: &mut Vec<Problem>) {
    let reached: BTreeSet<_> = units.iter().flat_map(|u| &u.components).collect();
    if !units.is_empty() {
        let lost = graph.keys().filter(|name| !reached.contains(*name));
        problems.extend(lost.map(|name| Problem::Unreached { component: (*name).clone() }));
    }
    for (name, component) in workload.components.iter().filter(|(name, _)| reached.contains(name)) {
        if units.iter().any(|u| u.entry == *name) {
            continue;
        }
        let set = [("limits", component.limits.is_default()), ("instances", component.instances.is_default())];
        for (key, _) in set.into_iter().filter(|(_, default)| !default) {
            let entries = units.iter().filter(|u| u.components.contains(name)).map(|u| u.entry.clone()).collect();
            problems.push(Problem::NoEffect { component: name.clone(), key, entries });
        }
    }
}
