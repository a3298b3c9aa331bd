//! Entry components, the components each one reaches, and their instantiation order.

use std::collections::{BTreeMap, BTreeSet};

use super::ComponentTypes;
use super::links::nearest_component;
use crate::component::ComponentType;
use crate::interface::InterfaceName;
use crate::manifest::Extensions;
use crate::name::Name;
use crate::problem::Problem;
use crate::resolution::{Provider, Resolution, Unit};
use crate::workload::Workload;

/// Which siblings and components of the host each component imports from.
type Graph<'a> = BTreeMap<&'a Name, BTreeSet<&'a Name>>;

pub(super) fn find(
    workload: &Workload,
    types: &ComponentTypes,
    extensions: &Extensions,
    resolution: &mut Resolution,
    problems: &mut Vec<Problem>,
) {
    let graph: Graph<'_> = resolution
        .components
        .iter()
        .map(|(name, imports)| {
            (name, imports.iter().filter_map(|import| Some(import.provider.component()?.0)).collect())
        })
        .collect();
    let cycles = cycles(&graph);
    let cyclic = !cycles.is_empty();
    problems.extend(cycles.into_iter().map(|components| Problem::Cycle { components }));
    let entries = entries(workload, types, extensions, &graph, problems);
    // A cycle has no instantiation order, so there are no units.
    let units: Vec<Unit> = if cyclic { Vec::new() } else { entries.iter().map(|entry| unit(entry, &graph)).collect() };
    if !cyclic {
        warn(workload, types, &units, &graph, problems);
    }
    for unit in &units {
        shared_providers(unit, resolution, problems);
    }
    resolution.units = units;
}

/// A unit has one import of a shared interface, so all of its components must take it from the same plugin. A label has an
/// import of its own.
fn shared_providers(unit: &Unit, resolution: &Resolution, problems: &mut Vec<Problem>) {
    let mut seen: Vec<(&Name, &InterfaceName, String)> = Vec::new();
    for name in &unit.components {
        for import in resolution.components[name].iter().filter(|import| import.label.is_none()) {
            let (Provider::Plugin { plugin, grant: false, target, .. }, Some(interface)) =
                (&import.provider, &import.interface)
            else {
                continue;
            };
            let provider = target.as_ref().map_or_else(|| plugin.clone(), |target| format!("{plugin}:{target}"));
            let same = |(_, other, _): &&(&Name, &InterfaceName, String)| {
                other.may_serve(interface) || interface.may_serve(other)
            };
            match seen.iter().find(same) {
                Some((other, _, other_provider)) if *other_provider != provider => {
                    problems.push(Problem::SharedProviders {
                        component: name.clone(),
                        import: import.import.clone(),
                        provider,
                        other: (*other).clone(),
                        other_provider: other_provider.clone(),
                    });
                }
                Some(_) => {}
                None => seen.push((name, interface, provider)),
            }
        }
    }
}

/// The components that triggers call, and the services; without triggers, those that no sibling imports from.
fn entries(
    workload: &Workload,
    types: &ComponentTypes,
    extensions: &Extensions,
    graph: &Graph<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Name> {
    let mut entries = BTreeSet::new();
    for (key, i, entry) in workload.triggers.entries() {
        // Validation reports a kind that no extension adds.
        let Some(kind) = extensions.trigger(key) else { continue };
        let (trigger, name) = (format!("triggers.{key}.{i}"), &entry.component);
        let Some(component) = types.get(name) else {
            // A component that failed to load is already reported.
            if !workload.components.contains_key(name) {
                let nearest = nearest_component(name, types);
                problems.push(Problem::TriggerUnknownComponent { trigger, name: name.clone(), nearest });
            }
            continue;
        };
        if kind.interfaces().is_empty() || exports_any(component, kind.interfaces()) {
            entries.insert(name.clone());
            if workload.components[name].service.is_some() && exports_any(component, RUN_INTERFACES) {
                problems.extend(service_with_trigger(name, component, trigger, kind.interfaces()));
            }
        } else {
            let exports = component.exports().iter().map(|e| e.name.clone()).collect();
            let (component, wanted) = (name.clone(), kind.wanted());
            problems.push(Problem::TriggerWithoutExport { trigger, component, wanted, exports });
        }
    }
    let services = workload.components.iter().filter(|(_, component)| component.service.is_some());
    for (name, component) in services.filter_map(|(name, _)| Some((name, types.get(name)?))) {
        if exports_any(component, RUN_INTERFACES) {
            entries.insert(name.clone());
        } else {
            let exports = component.exports().iter().map(|e| e.name.clone()).collect();
            problems.push(Problem::ServiceWithoutExport { component: name.clone(), wanted: RUN.to_owned(), exports });
        }
    }
    if workload.triggers.is_empty() {
        let imported: BTreeSet<_> = graph.values().flatten().copied().collect();
        entries.extend(graph.keys().filter(|name| !imported.contains(*name)).map(|name| (*name).clone()));
    }
    entries.into_iter().collect()
}

/// A service that a trigger calls serves the calls in the instance that runs, which takes functions of WASI 0.3.
fn service_with_trigger(name: &Name, component: &ComponentType, trigger: String, called: &[&str]) -> Option<Problem> {
    let is_old = |interface: &&&str| interface.starts_with("wasi:") && interface.contains("@0.2");
    let concurrent: Vec<&str> = called.iter().filter(|interface| !is_old(interface)).copied().collect();
    let is_run = |interface: &&str| RUN_INTERFACES.contains(interface);
    let component_name = name.clone();
    if !called.is_empty() && called.iter().all(is_run) {
        return Some(Problem::ServiceIsCommand { component: component_name, trigger });
    }
    if !exports_any(component, &[RUN_P3]) {
        let interface = "wasi:cli/run".to_owned();
        return Some(Problem::ServiceWithTrigger { component: component_name, trigger, interface });
    }
    if called.is_empty() || exports_any(component, &concurrent) {
        return None;
    }
    let found = called.iter().find(|interface| exports_any(component, &[interface]))?;
    let interface = found.split('@').next().unwrap_or(found).to_owned();
    Some(Problem::ServiceWithTrigger { component: component_name, trigger, interface })
}

const RUN_P3: &str = "wasi:cli/run@0.3.0";
const RUN_INTERFACES: &[&str] = &["wasi:cli/run@0.2.0", "wasi:cli/run@0.3.0"];
const RUN: &str = "`wasi:cli/run@0.2` or `wasi:cli/run@0.3`";

/// Whether a component exports one of these interfaces in a compatible version.
fn exports_any(component: &ComponentType, interfaces: &[&str]) -> bool {
    let wanted: Vec<_> = interfaces.iter().filter_map(|i| crate::InterfaceName::parse(i)).collect();
    // A caller looks an export up by the interface's name, so that a label does not serve.
    let unlabelled = component.exports().iter().filter(|e| e.label.is_none());
    let names = unlabelled.filter_map(|e| e.interface.as_ref());
    names.into_iter().any(|name| wanted.iter().any(|w| name.may_serve(w)))
}

/// An entry and everything it reaches, each component after those it imports from. The graph must be acyclic.
fn unit(entry: &Name, graph: &Graph<'_>) -> Unit {
    let mut components = Vec::new();
    let mut seen = BTreeSet::from([entry]);
    // Iterative depth-first search: a long chain of components would overflow the thread's stack.
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

/// Each cycle once, starting at its least name.
fn cycles(graph: &Graph<'_>) -> Vec<Vec<Name>> {
    let mut waiting: BTreeMap<&Name, BTreeSet<&Name>> = graph.clone();
    // Remove components without remaining dependencies until only cycles and their importers remain.
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
            let cycle = &path[first..];
            let least = cycle.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(i, _)| i);
            found.insert(cycle[least..].iter().chain(&cycle[..least]).map(|n| (*n).clone()).collect());
        }
    }
    found.into_iter().collect()
}

fn warn(workload: &Workload, types: &ComponentTypes, units: &[Unit], graph: &Graph<'_>, problems: &mut Vec<Problem>) {
    let reached: BTreeSet<_> = units.iter().flat_map(|u| &u.components).collect();
    if !units.is_empty() {
        let lost = graph.keys().filter(|name| !reached.contains(*name) && types.contains_key(name.as_str()));
        problems.extend(lost.map(|name| Problem::Unreached { component: (*name).clone() }));
    }
    for (name, component) in workload.components.iter().filter(|(name, _)| reached.contains(name)) {
        if units.iter().any(|u| u.entry == *name) {
            if component.service.is_some() {
                // A service of WASI 0.2 is one call, with its CPU time.
                let takes_calls = types.get(name).is_some_and(|ty| exports_any(ty, &[RUN_P3]));
                let set = [
                    ("instances", component.instances.is_some()),
                    ("limits.cpu", takes_calls && component.limits.cpu.is_some()),
                ];
                let set = set.into_iter().filter(|(_, set)| *set).map(|(key, _)| key.to_owned());
                problems.extend(set.map(|key| Problem::NoEffectOnService { component: name.clone(), key }));
            }
            continue;
        }
        let set = [("limits", component.limits.is_default()), ("instances", component.instances.is_none())];
        for (key, _) in set.into_iter().filter(|(_, default)| !default) {
            let entries = units.iter().filter(|u| u.components.contains(name)).map(|u| u.entry.clone()).collect();
            problems.push(Problem::NoEffect { component: name.clone(), key: key.to_owned(), entries });
        }
    }
}
