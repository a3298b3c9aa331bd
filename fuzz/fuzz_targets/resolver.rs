//! Resolves any graph of components, with any links and triggers: resolution succeeds or reports a problem, and is deterministic.
#![no_main]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use workload::manifest::{CommandTrigger, Component, Extensions, HttpPath, HttpTrigger, Link};
use workload::resolve::runs;
use workload::{ComponentType, HostInterface, InterfaceName, Name, Workload, resolve};

#[derive(Arbitrary, Debug)]
struct Graph {
    components: Vec<Part>,
    links: Vec<(u8, u8, u8)>,
    http: Vec<u8>,
    commands: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
struct Part {
    imports: Vec<(u8, u8)>,
    exports: Vec<(u8, u8)>,
}

/// Few interfaces, so that imports and exports match; their versions are of two tracks, and their types of two kinds.
fn interface(n: (u8, u8)) -> String {
    let name = match n.0 % 8 {
        6 => "wasi:http/incoming-handler@0.2.0".to_owned(),
        7 => "wasi:cli/environment@0.2.3".to_owned(),
        n => format!("t:t/e{n}"),
    };
    let version = match (n.0 % 8 < 6, n.1 % 3) {
        (true, 0) => "@1.0.0",
        (true, 1) => "@1.1.0",
        (true, _) => "@2.0.0",
        _ => "",
    };
    name + version
}

fn name(n: u8) -> Name {
    Name::new(format!("c{}", n % 16)).expect("kebab-case")
}

fn component(part: &Part) -> Option<ComponentType> {
    let mut text = "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m)) \
                    (func $f (canon lift (core func $i \"f\")))"
        .to_owned();
    for (i, import) in part.imports.iter().take(6).enumerate() {
        let param = if import.1 & 64 == 0 { "" } else { "(param \"a\" u32)" };
        write!(text, " (import \"{}\" (instance $m{i} (export \"f\" (func {param}))))", interface(*import)).ok()?;
    }
    for (i, export) in part.exports.iter().take(6).enumerate() {
        write!(text, " (instance $e{i} (export \"f\" (func $f))) (export \"{}\" (instance $e{i}))", interface(*export))
            .ok()?;
    }
    // A component cannot import the same name twice.
    ComponentType::parse(&wat::parse_str(text + ")").ok()?).ok()
}

fuzz_target!(|graph: Graph| {
    let mut workload = Workload::new(name(0));
    let mut types = BTreeMap::new();
    for (n, part) in graph.components.iter().take(10).enumerate() {
        let Some(ty) = component(part) else { continue };
        let name = name(u8::try_from(n).unwrap_or(0));
        workload = workload.with_component(name.clone(), Component::from_path("x"));
        types.insert(name, ty);
    }
    for (from, import, to) in graph.links.iter().take(8) {
        workload.links.push(Link { from: name(*from), import: interface((*import, from ^ to)), to: name(*to).into() });
    }
    for n in graph.http.iter().take(4) {
        let trigger = HttpTrigger { component: name(*n), host: None, path: HttpPath::default() };
        workload.triggers.push(trigger).expect("a trigger has a JSON form");
    }
    for n in graph.commands.iter().take(4) {
        workload.triggers.push(CommandTrigger { component: name(*n) }).expect("a trigger has a JSON form");
    }
    let host = [HostInterface {
        name: InterfaceName::parse("wasi:cli/environment@0.2.12").expect("a name"),
        plugin: None,
        grant: true,
    }];
    let extensions = Extensions::builtin();
    let (resolution, problems) = resolve(&workload, &types, &host, &extensions);
    let again = resolve(&workload, &types, &host, &extensions);
    assert_eq!((&resolution, &problems), (&again.0, &again.1));
    for problem in &problems {
        assert!(!problem.to_string().is_empty() && !problem.hint().is_empty());
    }
    if runs(&problems) {
        for (name, ty) in &types {
            assert_eq!(resolution.components[name].len(), ty.imports().len(), "every import is satisfied");
        }
    }
});
