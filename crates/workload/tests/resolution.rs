//! Resolution of labels, and of interfaces that several plugins provide.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use wharf_workload::manifest::{Component, Extensions, Link};
use wharf_workload::resolve::ComponentTypes;
use wharf_workload::{
    ComponentType, HostInterface, InterfaceName, Name, Problem, Provider, Resolution, Workload, resolve,
};

const STORE: &str = "acme:kv/store@1.0.0";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A component that imports [`STORE`] under each of these names; a name other than the interface's is a label.
fn importer(names: &[&str]) -> Vec<u8> {
    let import = |name: &&str| {
        let implements = if *name == STORE { String::new() } else { format!("(implements \"{STORE}\")") };
        format!("(import \"{name}\" {implements} (instance (export \"get\" (func))))")
    };
    wat::parse_str(format!("(component {})", names.iter().map(import).collect::<String>())).unwrap()
}

/// A component that exports [`STORE`] with a function of this name.
fn exporter(function: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f"))) (instance $e (export "{function}" (func $f)))
            (export "{STORE}" (instance $e)))"#
    ))
    .unwrap()
}

fn plugin(plugin: &str) -> HostInterface {
    HostInterface {
        name: InterfaceName::parse("acme:kv/store@1.1.0").unwrap(),
        plugin: Some(plugin.into()),
        grant: true,
    }
}

fn run(
    components: &[(&str, Vec<u8>)],
    links: &[(&str, &str, &str)],
    host: &[HostInterface],
) -> (Resolution, Vec<Problem>) {
    let mut workload = Workload::new(name("w"));
    let mut types = ComponentTypes::new();
    for (component, bytes) in components {
        workload = workload.with_component(name(component), Component::from_path("x"));
        types.insert(name(component), ComponentType::parse(bytes).unwrap());
    }
    for (from, import, to) in links {
        workload.links.push(Link { from: name(from), import: (*import).into(), to: to.parse().unwrap() });
    }
    let (resolution, problems) = resolve(&workload, &types, host, &Extensions::builtin());
    // Both are part of what a host reports over the wire.
    let wire = serde_json::to_value((&resolution, &problems)).unwrap();
    assert_eq!(
        serde_json::from_value::<(Resolution, Vec<Problem>)>(wire).unwrap(),
        (resolution.clone(), problems.clone())
    );
    (resolution, problems)
}

fn providers(resolution: &Resolution, component: &str) -> Vec<String> {
    let imports = resolution.components[component].iter();
    imports
        .map(|i| match &i.provider {
            Provider::Sibling { component, .. } => format!("{} ← {component}", i.import),
            Provider::Plugin { plugin, target: None, .. } => format!("{} ← plugin {plugin}", i.import),
            Provider::Plugin { plugin, target: Some(target), .. } => format!("{} ← {plugin}:{target}", i.import),
            Provider::Wasi { interface, .. } => format!("{} ← WASI {interface}", i.import),
            other => format!("{} ← {other:?}", i.import),
        })
        .collect()
}

fn messages(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|p| format!("{p} ({})", p.hint())).collect()
}

#[test]
fn a_label_is_the_interface_that_it_implements() {
    let bytes = importer(&["store-a", "store-b", STORE]);
    let ty = ComponentType::parse(&bytes).unwrap();
    let read: Vec<_> =
        ty.imports().iter().map(|i| (i.label.as_deref(), i.interface.as_ref().unwrap().to_string())).collect();
    let store = STORE.to_owned();
    assert_eq!(read, [(Some("store-a"), store.clone()), (Some("store-b"), store.clone()), (None, store)]);

    let (resolution, problems) = run(&[("web", bytes.clone()), ("kv", exporter("get"))], &[], &[]);
    assert_eq!(problems, []);
    assert_eq!(providers(&resolution, "web"), ["store-a ← kv", "store-b ← kv", "acme:kv/store@1.0.0 ← kv"]);
    let first = &resolution.components["web"][0];
    assert_eq!(
        (first.label.as_deref(), first.interface.as_ref().unwrap().to_string().as_str()),
        (Some("store-a"), STORE)
    );

    let (resolution, problems) = run(&[("web", bytes)], &[], &[plugin("keyvalue")]);
    assert_eq!(problems, []);
    assert_eq!(providers(&resolution, "web")[0], "store-a ← plugin keyvalue");
}

#[test]
fn a_label_can_implement_an_interface_of_wasi() {
    let clock = r#"(component (import "clk" (implements "wasi:clocks/monotonic-clock@0.2.0") (instance (export "now" (func (result u64))))))"#;
    let wasi = InterfaceName::parse("wasi:clocks/monotonic-clock@0.2.6").unwrap();
    let host = [HostInterface { name: wasi, plugin: None, grant: false }];
    let (resolution, problems) = run(&[("web", wat::parse_str(clock).unwrap())], &[], &host);
    assert_eq!(problems, []);
    assert_eq!(providers(&resolution, "web"), ["clk ← WASI wasi:clocks/monotonic-clock@0.2.6"]);
}

#[test]
fn a_label_that_implements_types_alone_needs_no_provider() {
    let types = r#"(component (import "t" (implements "acme:kv/types") (instance (type $id u32) (export "id" (type (eq $id))))))"#;
    let (resolution, problems) = run(&[("web", wat::parse_str(types).unwrap())], &[], &[]);
    assert_eq!(problems, []);
    assert_eq!(resolution.components["web"][0].provider, Provider::TypesOnly);
}

#[test]
fn messages_name_the_interface_of_a_label() {
    let web = || ("web", importer(&["store-a"]));
    let (_, problems) = run(&[web()], &[], &[]);
    assert_eq!(
        messages(&problems),
        ["nothing satisfies `store-a` (`acme:kv/store@1.0.0`), imported by `web` (add a component that exports \
          `acme:kv/store@1.0.0`, or use a host with a plugin that provides it)"]
    );
    let (_, problems) = run(&[web(), ("a", exporter("get")), ("b", exporter("get"))], &[], &[]);
    assert_eq!(
        messages(&problems[..1]),
        [
            "`store-a` (`acme:kv/store@1.0.0`) imported by `web` is ambiguous: exported by `a` and `b` (choose one: [[links]] \
          from = \"web\", import = \"store-a\", to = \"a\")"
        ]
    );
    let (_, problems) = run(&[web(), ("a", exporter("put"))], &[], &[]);
    assert!(
        problems[0].notes()[0].starts_with("nearest: `a` has `acme:kv/store@1.0.0`, but its type differs"),
        "{problems:?}"
    );
}

#[test]
fn a_link_names_a_label_or_the_interface_of_all() {
    let all = || vec![("web", importer(&["store-a", "store-b"])), ("a", exporter("get")), ("b", exporter("get"))];
    for interface in ["acme:kv/store", STORE] {
        let (resolution, problems) = run(&all(), &[("web", interface, "b")], &[]);
        assert_eq!(problems, []);
        assert_eq!(providers(&resolution, "web"), ["store-a ← b", "store-b ← b"]);
    }
    let (resolution, problems) = run(&all(), &[("web", "store-a", "a"), ("web", "store-b", "b")], &[]);
    assert_eq!(problems, []);
    assert_eq!(providers(&resolution, "web"), ["store-a ← a", "store-b ← b"]);
    for links in [[("web", "store-a", "a"), ("web", STORE, "b")], [("web", STORE, "b"), ("web", "store-a", "a")]] {
        let (resolution, problems) = run(&all(), &links, &[]);
        assert_eq!(problems, []);
        assert_eq!(providers(&resolution, "web"), ["store-a ← a", "store-b ← b"], "the label takes precedence");
    }
    let (_, problems) = run(&all(), &[("web", "store-a", "a"), ("web", "store-a", "b"), ("web", STORE, "b")], &[]);
    assert_eq!(problems[0].to_string(), "links 1 and 2 both satisfy `store-a` (`acme:kv/store@1.0.0`) of `web`");
}

/// A component with an export of `acme:kv/api` whose function takes a handle of the store that it imports under a label.
#[test]
fn handles_of_a_labelled_grant_cannot_be_shared() {
    let store = r#"(instance $s (export "bucket" (type (sub resource))))"#;
    let importer = format!(
        r#"(component (import "store-a" (implements "{STORE}") {store}) (alias export $s "bucket" (type $b))
            (import "acme:kv/api" (instance (alias outer 1 $b (type $o)) (export "bucket" (type $t (eq $o)))
              (export "open" (func (result (own $t)))))))"#
    );
    let exporter = format!(
        r#"(component (import "{STORE}" {store}) (alias export $s "bucket" (type $b))
            (core module $m (func (export "f") (result i32) unreachable)) (core instance $i (instantiate $m))
            (func $f (result (own $b)) (canon lift (core func $i "f")))
            (instance $e (export "bucket" (type $b)) (export "open" (func $f)))
            (export "acme:kv/api" (instance $e)))"#
    );
    let components = [("web", wat::parse_str(importer).unwrap()), ("kv", wat::parse_str(exporter).unwrap())];
    let (_, problems) = run(&components, &[], &[plugin("keyvalue")]);
    assert_eq!(
        problems[0].to_string(),
        "`acme:kv/api` would pass handles of `acme:kv/store@1.0.0` from `kv` to `web`, but they are scoped to the component \
         that opens them"
    );
}

#[test]
fn two_plugins_are_ambiguous_and_a_link_chooses() {
    let web = || ("web", importer(&[STORE]));
    let host = [plugin("redis"), plugin("keyvalue")];
    let (_, problems) = run(&[web()], &[], &host);
    assert_eq!(
        messages(&problems),
        [
            "`acme:kv/store@1.0.0` imported by `web` is ambiguous: provided by the plugins `keyvalue` and `redis` (choose one: \
          [[links]] from = \"web\", import = \"acme:kv/store@1.0.0\", to = \"keyvalue\")"
        ]
    );
    let (resolution, problems) = run(&[web()], &[("web", "acme:kv/store", "redis")], &host);
    assert_eq!(problems, []);
    assert_eq!(providers(&resolution, "web"), ["acme:kv/store@1.0.0 ← plugin redis"]);
    let (resolution, problems) = run(&[web()], &[("web", STORE, "keyvalue:sessions")], &host);
    assert_eq!(problems, []);
    assert_eq!(providers(&resolution, "web"), ["acme:kv/store@1.0.0 ← keyvalue:sessions"]);
}

#[test]
fn a_component_takes_precedence_over_plugins() {
    let components = || [("web", importer(&[STORE])), ("keyvalue", exporter("get"))];
    let host = [plugin("keyvalue"), plugin("redis")];
    for links in [&[][..], &[("web", STORE, "keyvalue")]] {
        let (resolution, problems) = run(&components(), links, &host);
        assert!(wharf_workload::resolve::runs(&problems), "{problems:?}");
        assert_eq!(providers(&resolution, "web"), ["acme:kv/store@1.0.0 ← keyvalue"]);
    }
    let (resolution, _) = run(&components(), &[("web", STORE, "keyvalue:sessions")], &host);
    assert_eq!(providers(&resolution, "web"), ["acme:kv/store@1.0.0 ← keyvalue:sessions"], "a store is a plugin's");
}

#[test]
fn an_unknown_target_lists_what_there_is() {
    let host = [plugin("keyvalue"), plugin("redis")];
    let (_, problems) = run(&[("web", importer(&[STORE]))], &[("web", STORE, "keyvalu:sessions")], &host);
    let problem = problems.iter().find(|p| matches!(p, Problem::LinkUnknownTarget { .. })).unwrap();
    assert_eq!(problem.to_string(), "link 1: `keyvalu:sessions` in `to` is neither a component nor a plugin");
    assert_eq!(problem.hint(), "did you mean `keyvalue`?");
    assert_eq!(problem.notes(), ["components: `web`", "plugins: `keyvalue` and `redis`"]);

    let other =
        HostInterface { name: InterfaceName::parse("acme:log/log").unwrap(), plugin: Some("log".into()), grant: false };
    let (_, problems) = run(&[("web", importer(&[STORE]))], &[("web", STORE, "log")], &[other, plugin("redis")]);
    assert_eq!(problems[0].to_string(), "link 1: `log` does not export `acme:kv/store@1.0.0`");
    assert_eq!(problems[0].notes(), ["`log` exports acme:log/log"]);
}

#[test]
fn an_export_under_a_label_satisfies_its_interface() {
    let exporter = format!(
        r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f"))) (instance $e (export "get" (func $f)))
            (export "kept" (implements "{STORE}") (instance $e)))"#
    );
    let exporter = wat::parse_str(exporter).unwrap();
    let (resolution, problems) = run(&[("web", importer(&["store-a"])), ("kv", exporter)], &[], &[plugin("keyvalue")]);
    assert_eq!(
        problems[0].to_string(),
        "`kv` satisfies `store-a` (`acme:kv/store@1.0.0`) instead of the host for `web`",
        "a warning, as for any sibling"
    );
    assert!(wharf_workload::resolve::runs(&problems));
    let Provider::Sibling { export, .. } = &resolution.components["web"][0].provider else { panic!("a sibling") };
    assert_eq!(export, "kept");
}
