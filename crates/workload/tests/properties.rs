//! Properties of all manifests and all graphs of components.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::prelude::*;
use wharf_workload::manifest::{
    Access, ByteSize, Component, Digest, Extensions, Format, HostRule, HttpPath, HttpTrigger, Instances, InstancesMode,
    Limits, Link, Millis, Mount, Restart, Service, Settings, Source, TimeZone, Volume, parse, parse_bytes,
};
use wharf_workload::problem::Problem;
use wharf_workload::resolve::runs;
use wharf_workload::{ComponentType, HostInterface, InterfaceName, Name, Provider, Workload, resolve, validate};

fn formats() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Toml), Just(Format::Yaml), Just(Format::Json)]
}

/// Text made of the pieces that manifests are made of: far more of it parses than of random characters.
fn manifest_like() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "name",
        "components",
        "web",
        "source",
        "=",
        ":",
        "\"",
        "'",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ",",
        ".",
        "\n",
        " ",
        "  ",
        "- ",
        "links",
        "triggers",
        "http",
        "path",
        "/...",
        "volumes",
        "limits",
        "memory",
        "1GiB",
        "true",
        "1",
        "#",
        "\"web.wasm\"",
        "name = \"a\"\n",
        "[components.a]\nsource = \"a\"\n",
        "\u{e9}",
        "\t",
        "&a",
        "*a",
        "---\n",
        "null",
    ]);
    prop::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_panics_and_every_refusal_has_a_place(text in manifest_like(), format in formats()) {
        let parsed = parse(&text, format);
        prop_assert_eq!(parsed.workload.is_none(), !parsed.problems.is_empty());
        let lines = text.split('\n').count();
        for problem in &parsed.problems {
            prop_assert!(problem.at.line >= 1 && problem.at.line <= lines + 1, "{:?}", problem);
            prop_assert!(problem.at.column >= 1 && !problem.message.is_empty());
        }
        prop_assert!(parsed.problems.is_sorted_by_key(|p| p.at) || parsed.workload.is_none());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), format in formats()) {
        let parsed = parse_bytes(&bytes, format);
        prop_assert_eq!(parsed.workload.is_none(), !parsed.problems.is_empty());
    }

    #[test]
    fn no_bytes_make_a_component_panic(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        bytes.extend(tail);
        let _ = ComponentType::parse(&bytes);
    }

    #[test]
    fn names_hosts_and_paths_print_as_they_parse(text in "[-a-z0-9.*:/\\[\\]_ ]{0,30}") {
        if let Ok(name) = Name::new(text.clone()) {
            prop_assert_eq!(name.as_str(), &text);
        }
        let nearest = Name::nearest(&text);
        prop_assert_eq!(Name::new(nearest.as_str()), Ok(nearest));
        if let Ok(rule) = text.parse::<HostRule>() {
            prop_assert_eq!(rule.to_string().parse::<HostRule>(), Ok(rule));
        }
        if let Ok(path) = text.parse::<HttpPath>() {
            prop_assert_eq!(path.to_string().parse::<HttpPath>(), Ok(path));
        }
    }
}

/// A component that exports `t:t/eN` and imports others by number, under their own names or under labels.
fn component(n: usize, imports: &BTreeSet<usize>, labelled: bool) -> Vec<u8> {
    let mut text = "(component".to_owned();
    for import in imports {
        let name = import_name(*import, labelled);
        let implements = if labelled { format!("(implements \"t:t/e{import}\")") } else { String::new() };
        write!(text, " (import \"{name}\" {implements} (instance (export \"f\" (func))))").unwrap();
    }
    write!(
        text,
        r#" (core module $m (func (export "f"))) (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f"))) (instance $e (export "f" (func $f)))
            (export "t:t/e{n}" (instance $e)))"#
    )
    .unwrap();
    wat::parse_str(&text).unwrap()
}

fn import_name(n: usize, labelled: bool) -> String {
    if labelled { format!("label-e{n}") } else { format!("t:t/e{n}") }
}

fn name(n: usize) -> Name {
    Name::new(format!("c{n}")).unwrap()
}

/// An interface of one of two plugins.
fn host_interface(interface: usize, plugin: usize) -> HostInterface {
    let name = InterfaceName::parse(&format!("t:t/e{interface}")).unwrap();
    HostInterface { name, plugin: Some(format!("p{plugin}")), grant: true }
}

fn graphs() -> impl Strategy<Value = Vec<BTreeSet<usize>>> {
    (1_usize..8).prop_flat_map(|size| prop::collection::vec(prop::collection::btree_set(0..size + 1, 0..4), size))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_graph_is_resolved_or_refused_for_a_reason(graph in graphs(), links in prop::collection::vec((0_usize..9, 0_usize..9, 0_usize..9), 0..3), provided in prop::collection::vec((0_usize..9, 0_usize..2), 0..4), labelled in any::<bool>()) {
        let host: Vec<_> = provided.iter().map(|(interface, plugin)| host_interface(*interface, *plugin)).collect();
        let mut workload = Workload::new(Name::new("w").unwrap());
        let mut types = BTreeMap::new();
        for (n, imports) in graph.iter().enumerate() {
            workload = workload.with_component(name(n), Component::from_path("x"));
            types.insert(name(n), ComponentType::parse(&component(n, imports, labelled)).unwrap());
        }
        for (from, import, to) in links {
            workload.links.push(Link { from: name(from), import: format!("t:t/e{import}"), to: name(to).into() });
        }
        let (resolution, problems) = resolve(&workload, &types, &host, &Extensions::builtin());
        let again = resolve(&workload, &types, &host, &Extensions::builtin());
        prop_assert_eq!((&resolution, &problems), (&again.0, &again.1), "the same input, the same answer");

        for (n, imports) in graph.iter().enumerate() {
            for import in imports {
                let wanted = import_name(*import, labelled);
                let found = resolution.components[&name(n)].iter().find(|i| i.import == wanted);
                match found.map(|i| &i.provider) {
                    // No component is linked to itself, and a provider has what it provides.
                    Some(Provider::Sibling { component, .. }) => {
                        prop_assert_eq!(component, &name(*import));
                        prop_assert_ne!(*import, n);
                    }
                    Some(Provider::Plugin { interface, .. }) => {
                        prop_assert_eq!(interface, &format!("t:t/e{import}"));
                        prop_assert!(provided.iter().any(|(provided, _)| provided == import));
                    }
                    Some(other) => prop_assert!(false, "{:?}", other),
                    // An import without a provider is reported.
                    None => prop_assert!(!runs(&problems)),
                }
            }
        }
        if runs(&problems) {
            for unit in &resolution.units {
                prop_assert_eq!(unit.components.last(), Some(&unit.entry));
                for (i, component) in unit.components.iter().enumerate() {
                    for import in &resolution.components[component] {
                        if let Provider::Sibling { component: to, .. } = &import.provider {
                            prop_assert!(unit.components[..i].contains(to), "each after those it imports from");
                        }
                    }
                }
            }
            let reached: BTreeSet<_> = resolution.units.iter().flat_map(|u| &u.components).collect();
            prop_assert_eq!(reached.len(), graph.len(), "without triggers everything is reached");
        }
        for problem in &problems {
            prop_assert!(!problem.to_string().is_empty() && !problem.hint().is_empty() && !problem.place().is_empty());
            if let Problem::Cycle { components } = problem {
                prop_assert!(components.len() >= 2);
            }
        }
    }
}

fn names() -> impl Strategy<Value = Name> {
    "[a-z]{1,5}(-[a-z]{1,4})?".prop_map(|text| Name::new(text).unwrap())
}

fn strings() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("[A-Za-z_.é ]{1,6}", ".{0,6}", 0..3)
}

fn any_settings() -> impl Strategy<Value = BTreeMap<String, Settings>> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        (-1e6..1e6).prop_map(|float: f64| float.into()),
        ".{0,6}".prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
            prop::collection::btree_map(".{0,5}", inner, 0..3)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    });
    // A key of the manifest itself is never a plugin's.
    prop::collection::btree_map("x[a-z]{0,5}", value.prop_map(Settings::new), 0..3)
}

fn instances() -> impl Strategy<Value = Instances> {
    let mode = prop::sample::select(vec![InstancesMode::Fresh, InstancesMode::Warm, InstancesMode::Reuse]);
    let count = || prop::option::of(1_u32..9);
    let idle = prop::option::of((1..9_999_999_u64).prop_map(Millis));
    (mode, count(), count(), count(), idle, count()).prop_map(|(mode, size, calls, concurrent, idle, most)| Instances {
        mode,
        size,
        calls,
        concurrent,
        idle,
        most,
    })
}

fn services() -> impl Strategy<Value = Service> {
    let restart = prop::sample::select(vec![Restart::Always, Restart::OnFailure, Restart::Never]);
    (restart, prop::option::of(1_u32..9)).prop_map(|(restart, max_restarts)| Service { restart, max_restarts })
}

fn components() -> impl Strategy<Value = Component> {
    let source = prop_oneof![
        "[a-z./]{1,9}".prop_map(|path| Source::Path(path.into())),
        any::<u8>().prop_map(|byte| Source::Digest(Digest::of(&[byte]))),
    ];
    let mount = (names(), "/[a-z]{0,4}", any::<bool>()).prop_map(|(volume, guest, write)| {
        let access = if write { Access::ReadWrite } else { Access::Read };
        Mount { volume, guest, access }
    });
    let rule = prop::sample::select(vec!["*", "https://a.example", "*.b.example:8443", "tcp://10.0.0.0/8", "[::1]:53"]);
    let zone = prop::sample::select(vec!["UTC", "system", "Europe/Berlin"]);
    let memory = prop::option::of((1..u64::from(u32::MAX)).prop_map(ByteSize));
    let time = prop::option::of((1..9_999_999_u64).prop_map(Millis));
    let first = (source, strings(), prop::option::of(".{0,4}"), prop::collection::vec(".{0,4}", 0..3), strings());
    let second = (prop::collection::vec(mount, 0..3), prop::collection::vec(rule, 0..3), zone, memory, time);
    (first, second, prop::option::of(instances()), prop::option::of(services()), any_settings()).prop_map(
        |((source, env, program, args, config), (volumes, rules, zone, memory, time), instances, service, settings)| {
            let mut component = Component::new(source);
            (component.env, component.program, component.args, component.config) = (env, program, args, config);
            component.volumes = volumes;
            component.hosts = rules.into_iter().map(|rule| rule.parse::<HostRule>().unwrap()).collect();
            component.timezone = zone.parse::<TimeZone>().unwrap();
            component.limits = Limits { memory, time, ..Limits::default() };
            (component.instances, component.service, component.settings) = (instances, service, settings);
            component
        },
    )
}

fn workloads() -> impl Strategy<Value = Workload> {
    let volume = prop_oneof![
        "[a-z/]{1,6}".prop_map(|host| Volume::Host { host: host.into() }),
        Just(Volume::Ephemeral { ephemeral: true }),
    ];
    let link = (names(), "[a-z:/@0-9.]{1,12}", names(), prop::option::of("[a-z]{1,4}")).prop_map(
        |(from, import, to, store)| {
            let to = store.map_or_else(|| to.to_string(), |store| format!("{to}:{store}"));
            Link { from, import, to: to.parse().unwrap() }
        },
    );
    let route = (names(), prop::option::of("[a-z.]{1,9}"), prop::sample::select(vec!["/...", "/a", "/a/..."]));
    (
        (names(), names()),
        prop::collection::btree_map(names(), components(), 0..3),
        prop::collection::btree_map(names(), volume, 0..3),
        prop::collection::vec(link, 0..3),
        prop::collection::vec(route, 0..3),
        any_settings(),
    )
        .prop_map(|((name, namespace), components, volumes, links, routes, settings)| {
            let mut workload = Workload::new(name);
            (workload.namespace, workload.components, workload.volumes) = (namespace, components, volumes);
            (workload.links, workload.settings) = (links, settings);
            workload.version = Some(semver::Version::new(1, 2, 3));
            for (component, host, path) in routes {
                workload.triggers.push(HttpTrigger { component, host, path: path.parse().unwrap() }).unwrap();
            }
            workload
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_workload_survives_serialisation(workload in workloads()) {
        let value = serde_json::to_value(&workload).unwrap();
        let received = serde_json::from_value::<Workload>(value.clone());
        prop_assert_eq!(received.map_err(|error| error.to_string()), Ok(workload.clone()));
        // Validation sees the same workload on both sides, and a manifest in JSON is the same form.
        let problems: BTreeSet<_> = validate(&workload, &Extensions::builtin()).iter().map(ToString::to_string).collect();
        let parsed = parse(&value.to_string(), Format::Json);
        let said: BTreeSet<_> = parsed.problems.iter().map(|problem| problem.message.clone()).collect();
        prop_assert_eq!(said, problems);
        if let Some(parsed) = parsed.workload {
            prop_assert_eq!(parsed, workload);
        }
    }
}
