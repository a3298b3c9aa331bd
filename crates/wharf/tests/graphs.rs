//! Workloads and what becomes of them: a folder for each case, with a manifest, its components as text, and beside them
//! what is expected: `resolution.txt` with every problem, and `fused.wat` for each unit that can be fused. `BLESS=1`
//! writes what comes out now.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use wharf::host::Plan;
use wharf::plugin::Provided;
use wharf::prepare::fuse::fuse;
use wharf::workload::manifest::{Format, Source, parse_bytes};
use wharf::workload::{Provider, Workload};
use wharf::{Engine, Host, Link, Plugin};

/// A plugin that grants a store of buckets, as a key-value plugin does.
struct Buckets;

impl Plugin for Buckets {
    fn name(&self) -> &'static str {
        "buckets"
    }
    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::grant("acme:kv/store@1.0.0"), Provided::grant("acme:kv/atomics@1.0.0")]
    }
    fn link(&self, _: &mut Link<'_>) -> wasmtime::Result<()> {
        Ok(())
    }
}

fn host() -> Host {
    Host::builder(Engine::builder().pooling(false).build().unwrap()).plugin(Buckets).build().unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graphs")
}

fn read(case: &Path) -> Workload {
    let parsed = parse_bytes(&fs::read(case.join("wharf.toml")).unwrap(), Format::Toml);
    assert_eq!(parsed.problems, [], "{}", case.display());
    let mut workload = parsed.workload.unwrap();
    for component in workload.components.values_mut() {
        if let Source::Path(path) = &component.source {
            let bytes = wat::parse_file(case.join(path)).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
            component.source = Source::Bytes(bytes.into());
        }
    }
    workload
}

#[tokio::test]
async fn every_graph_resolves_and_fuses_as_its_golden_files_say() {
    let host = host();
    let mut cases: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 15, "the cases are there");
    let mut wrong = Vec::new();
    for case in cases {
        let plan = host.plan(&read(&case)).await;
        expect(&case.join("resolution.txt"), &say(&plan), &mut wrong);
        let mut fused = String::new();
        if plan.is_runnable() {
            for unit in plan.resolution.units.iter().filter(|unit| unit.components.len() > 1) {
                let one = fuse(unit, &plan.resolution, &plan.loaded.code)
                    .unwrap_or_else(|e| panic!("{}: {e}", case.display()));
                writeln!(fused, ";; unit of {}", unit.entry).unwrap();
                for (name, scoped) in &one.scoped {
                    writeln!(fused, ";; {name} is {} of {}", scoped.import, one.components[scoped.slot]).unwrap();
                }
                writeln!(fused, "{}", wasmprinter::print_bytes(&one.bytes).unwrap()).unwrap();
                let again = fuse(unit, &plan.resolution, &plan.loaded.code).unwrap();
                assert_eq!(one.bytes, again.bytes, "{}: the same input, the same bytes", case.display());
            }
        }
        if !fused.is_empty() {
            expect(&case.join("fused.wat"), &fused, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn expect(file: &Path, now: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("BLESS").is_some() {
        fs::write(file, now).unwrap();
    } else if fs::read_to_string(file).unwrap_or_default() != now {
        wrong.push(format!("{} is now:\n{now}", file.display()));
    }
}

fn say(plan: &Plan) -> String {
    let mut said = String::new();
    for (name, imports) in &plan.resolution.components {
        for import in imports {
            let by = match &import.provider {
                Provider::Sibling { component, export, explicit, instead_of } => {
                    let link = if *explicit { ", by link" } else { "" };
                    let instead = instead_of.as_ref().map_or_else(String::new, |host| format!(", in place of {host}"));
                    format!("{component}'s {export}{link}{instead}")
                }
                Provider::Provided { component, export, .. } => format!("the host's {component}: {export}"),
                Provider::Plugin { plugin, grant, .. } => format!("plugin {plugin}, grant: {grant}"),
                Provider::Wasi { grant, .. } => format!("WASI, grant: {grant}"),
                Provider::TypesOnly => "nobody: types alone".to_owned(),
            };
            writeln!(said, "{name}: {} <- {by}", import.import).unwrap();
        }
    }
    for unit in &plan.resolution.units {
        let components: Vec<_> = unit.components.iter().map(wharf::workload::Name::as_str).collect();
        writeln!(said, "unit of {}: {}", unit.entry, components.join(" ")).unwrap();
    }
    for problem in &plan.problems {
        writeln!(said, "{:?} at {}: {problem}", problem.severity(), problem.place()).unwrap();
        for note in problem.notes() {
            writeln!(said, "  note: {note}").unwrap();
        }
        writeln!(said, "  hint: {}", problem.hint()).unwrap();
    }
    said
}
