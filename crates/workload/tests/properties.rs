//! What holds for every manifest and every graph, not only for those that somebody thought of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::prelude::*;
use wharf_workload::manifest::{Component, Format, HostRule, HttpPath, Link, parse, parse_bytes};
use wharf_workload::problem::Problem;
use wharf_workload::resolve::runs;
use wharf_workload::{ComponentType, Name, Provider, Workload, resolve};

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

/// A graph of components: which imports from which, by number. Component `cN` exports `t:t/eN`.
fn component(n: usize, imports: &BTreeSet<usize>) -> Vec<u8> {
    let mut text = "(component".to_owned();
    for import in imports {
        write!(text, " (import \"t:t/e{import}\" (instance (export \"f\" (func))))").unwrap();
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

fn name(n: usize) -> Name {
    Name::new(format!("c{n}")).unwrap()
}

fn graphs() -> impl Strategy<Value = Vec<BTreeSet<usize>>> {
    (1_usize..8).prop_flat_map(|size| prop::collection::vec(prop::collection::btree_set(0..size + 1, 0..4), size))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_graph_is_resolved_or_refused_for_a_reason(graph in graphs(), links in prop::collection::vec((0_usize..9, 0_usize..9, 0_usize..9), 0..3)) {
        let mut workload = Workload::new(Name::new("w").unwrap());
        let mut types = BTreeMap::new();
        for (n, imports) in graph.iter().enumerate() {
            workload = workload.with_component(name(n), Component::from_path("x"));
            types.insert(name(n), ComponentType::parse(&component(n, imports)).unwrap());
        }
        for (from, import, to) in links {
            workload.links.push(Link { from: name(from), import: format!("t:t/e{import}"), to: name(to) });
        }
        let (resolution, problems) = resolve(&workload, &types, &[]);
        let again = resolve(&workload, &types, &[]);
        prop_assert_eq!((&resolution, &problems), (&again.0, &again.1), "the same input, the same answer");

        for (n, imports) in graph.iter().enumerate() {
            for import in imports {
                let wanted = format!("t:t/e{import}");
                let found = resolution.components[&name(n)].iter().find(|i| i.import == wanted);
                match found.map(|i| &i.provider) {
                    // Nobody is linked to itself, and a provider has what it provides.
                    Some(Provider::Sibling { component, .. }) => {
                        prop_assert_eq!(component, &name(*import));
                        prop_assert_ne!(*import, n);
                    }
                    Some(other) => prop_assert!(false, "{:?}", other),
                    // What is not satisfied was said.
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
