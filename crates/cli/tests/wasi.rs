//! Conformance: guests call every function of every WASI interface and assert its effects. The test also generates the table
//! in docs/wasi.md.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use http_body_util::Full;
use support::{Server, guest, root, stderr, stdout, wharf};
use wit_parser::{Resolve, WorldItem};

/// A test of a guest, as the guest lists it.
struct Test {
    name: String,
    /// The functions that it tests.
    covers: Vec<String>,
    /// Further properties, such as `exit=3`.
    notes: Vec<String>,
}

impl Test {
    fn parse(line: &str) -> Self {
        let mut parts = line.split('\t').map(|part| part.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let name = parts.next().unwrap().remove(0);
        Self { name, covers: parts.next().unwrap(), notes: parts.next().unwrap_or_default() }
    }

    fn exit(&self) -> Option<i32> {
        self.notes.iter().find_map(|note| note.strip_prefix("exit=")).map(|code| code.parse().unwrap())
    }
}

fn tests(list: &str) -> Vec<Test> {
    list.lines().filter(|line| !line.is_empty()).map(Test::parse).collect()
}

/// The known failures of a guest, each with its cause. All are the engine's, or follow from an ambiguity of the specification.
fn known(guest: &str) -> BTreeMap<&'static str, &'static str> {
    let list = include_str!("conformance/known.txt");
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.filter_map(|line| line.strip_prefix(guest)?.strip_prefix(' ')?.split_once(": ")).collect()
}

/// Asserts that exactly the known failures fail.
fn compare(guest: &str, failed: &BTreeMap<String, String>) {
    let known = known(guest);
    let new: BTreeMap<_, _> = failed.iter().filter(|(name, _)| !known.contains_key(name.as_str())).collect();
    assert!(new.is_empty(), "{guest} fails: {new:#?}");
    let fixed: Vec<_> = known.keys().filter(|name| !failed.contains_key(**name)).collect();
    assert!(fixed.is_empty(), "{guest} passes {fixed:?}: remove them from conformance/known.txt");
}

/// Runs a command guest on its two volumes.
fn run(guest_name: &str, args: &[&str]) -> Output {
    run_file(&guest(guest_name), args)
}

fn run_file(file: &Path, args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let (data, read_only) = (folder.path().join("data"), folder.path().join("ro"));
    std::fs::create_dir(&data).unwrap();
    std::fs::create_dir(&read_only).unwrap();
    std::fs::write(read_only.join("hello.txt"), "hello").unwrap();
    let mut command = wharf();
    command.args(["run", "--env", "CONFORM=yes", "--inherit-network", "--dir"]);
    command.arg(format!("{}::/data", data.display())).arg("--dir").arg(format!("{}::/ro::ro", read_only.display()));
    command.arg(file).arg("--").args(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // If the guest does not read its input, the write fails with a broken pipe.
    child.stdin.take().unwrap().write_all(b"input\n").ok();
    child.wait_with_output().unwrap()
}

/// Runs all tests of a command guest. Returns their list.
fn conform(guest: &str) -> Vec<Test> {
    let listed = run(guest, &["list"]);
    assert!(listed.status.success(), "{}", stderr(&listed));
    let tests = tests(&stdout(&listed));
    let ok = |output: &str, name: &str| output.lines().any(|line| line == format!("ok {name}"));
    let all = run(guest, &[]);
    let mut failed: BTreeMap<String, String> = BTreeMap::new();
    for test in tests.iter().filter(|test| test.exit().is_none()) {
        // A test with notes runs in a process of its own.
        let alone = (!test.notes.is_empty()).then(|| run(guest, &[&test.name]));
        let output = alone.as_ref().unwrap_or(&all);
        let printed = stdout(output);
        if !ok(&printed, &test.name) {
            let fail = format!("FAIL {}: ", test.name);
            let reason = printed.lines().find_map(|line| line.strip_prefix(&fail)).map(str::to_owned);
            failed.insert(test.name.clone(), reason.unwrap_or_else(|| format!("no result: {}", stderr(output))));
        }
    }
    compare(guest, &failed);
    for test in &tests {
        if let Some(code) = test.exit() {
            assert_eq!(run(guest, &[&test.name]).status.code(), Some(code), "{guest} {}", test.name);
        }
    }
    tests
}

/// Runs all tests of a guest that handles HTTP requests. Returns their list.
async fn conform_http(guest: &str) -> Vec<Test> {
    let echo = support::echo::start().await;
    let authority = format!("HTTP_AUTHORITY={echo}");
    let server = Server::serve(guest, &["--inherit-network", "--env", &authority]);
    // Some tests send requests to the server that they run in, at the authority of their own request.
    let get = async |path: &str| {
        let request = http::Request::get(path).header("host", &server.address).body(Full::default());
        server.ask(request.unwrap()).await
    };
    let list = get("/").await;
    let tests = tests(std::str::from_utf8(list.body()).unwrap());
    let mut failed = BTreeMap::new();
    for test in &tests {
        let answer = get(&format!("/{}", test.name)).await;
        if !(answer.status() == 200 && answer.body().trim_ascii() == b"ok") {
            failed.insert(test.name.clone(), String::from_utf8_lossy(answer.body()).into_owned());
        }
    }
    compare(guest, &failed);
    tests
}

/// The source folder of a dependency. Those of the engine contain the WIT and witx files of WASI.
fn package(name: &str) -> PathBuf {
    // Only this platform's dependencies are fetched, so the metadata must be limited to it.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments = ["metadata", "--format-version", "1", "--offline", "--filter-platform", &platform];
    let metadata = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == name).unwrap();
    Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

/// The functions of WASI 0.2 or 0.3: `wasi:clocks/wall-clock#now`.
fn functions(wit: &Path) -> (String, BTreeSet<String>) {
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    resolve.push_dir(wit).unwrap();
    let mut functions = BTreeSet::new();
    let mut version = String::new();
    for (_, interface) in &resolve.interfaces {
        let (Some(name), Some(package)) = (&interface.name, interface.package) else { continue };
        let package = &resolve.packages[package].name;
        if package.namespace != "wasi" {
            continue;
        }
        version = package.version.as_ref().unwrap().to_string();
        for function in interface.functions.keys() {
            functions.insert(format!("wasi:{}/{name}#{}", package.name, plain(function)));
        }
    }
    (version, functions)
}

/// The name of a function without `[async]`, which is part of its calling convention.
fn plain(function: &str) -> String {
    function.replacen("[async]", "", 1).replacen("[async ", "[", 1)
}

/// The functions of WASI 0.1.
fn functions_of_preview1(witx: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(witx.join("wasi_snapshot_preview1.witx")).unwrap();
    let named = text.split("(@interface func (export \"").skip(1).map(|rest| rest.split('"').next().unwrap());
    named.map(|name| format!("wasi_snapshot_preview1#{name}")).collect()
}

/// The functions that a guest imports. The linker removes functions without a caller, so it calls each of these.
fn imports(guest_name: &str) -> BTreeSet<String> {
    let bytes = std::fs::read(guest(guest_name)).unwrap();
    let wit_component::DecodedWasm::Component(resolve, world) = wit_component::decode(&bytes).unwrap() else {
        panic!("{guest_name} is not a component");
    };
    let mut functions = BTreeSet::new();
    for (key, item) in &resolve.worlds[world].imports {
        let WorldItem::Interface { id, .. } = item else { continue };
        let interface = resolve.name_world_key(key);
        let interface = interface.split('@').next().unwrap();
        functions.extend(resolve.interfaces[*id].functions.keys().map(|name| format!("{interface}#{}", plain(name))));
    }
    functions
}

/// Functions without a test in these guests, and the test elsewhere or the reason that there is none.
const ELSEWHERE: &[(&str, &str)] = &[
    ("wasi:cli/run#run", "every test of a command"),
    ("wasi:http/handler#handle", "every test over HTTP"),
    ("wasi:http/incoming-handler#handle", "every test over HTTP"),
    ("wasi:clocks/timezone#display", "`crates/wharf/tests/timezone.rs`"),
    ("wasi:clocks/timezone#utc-offset", "`crates/wharf/tests/timezone.rs`"),
    ("wasi:clocks/timezone#iana-id", "`crates/wharf/tests/timezone.rs`"),
    ("wasi:clocks/timezone#to-debug-string", "`crates/wharf/tests/timezone.rs`"),
    ("wasi:sockets/network#network-error-code", "not provided: unstable (`network-error-code`)"),
    (
        "wasi:http/types#[method]response-outparam.send-informational",
        "not provided: unstable, and hyper cannot send them",
    ),
];

/// Writes the rows of one WASI version: its functions, each with the tests that cover it.
fn rows(table: &mut String, version: &str, functions: &BTreeSet<String>, tests: &[Test]) {
    let known: BTreeSet<_> = tests.iter().flat_map(|test| test.covers.iter().cloned()).collect();
    let unknown: Vec<_> = known.difference(functions).collect();
    assert!(unknown.is_empty(), "WASI {version} has no functions {unknown:?}");
    for function in functions {
        let mut names: Vec<_> =
            tests.iter().filter(|test| test.covers.contains(function)).map(|test| test.name.clone()).collect();
        names.extend(ELSEWHERE.iter().filter(|(name, _)| name == function).map(|(_, by)| (*by).to_owned()));
        assert!(!names.is_empty(), "WASI {version}: no test covers {function}");
        let (interface, name) = function.split_once('#').unwrap();
        writeln!(table, "| {interface} | {name} | {version} | {} |", names.join(", ")).unwrap();
    }
}

/// The WASI 0.1 guest also passes as a component, which a core module becomes when siblings call it. The adapter differs from the
/// engine in exit codes.
#[test]
fn a_wasi_0_1_program_passes_in_its_component_form() {
    let folder =
        support::manifest(&format!("name = 'p1'\n[components.p1]\nsource = '{}'\n", guest("conform-p1").display()));
    let component = folder.path().join("conform-p1.wasm");
    let composed = support::run(&["compose", folder.path().to_str().unwrap(), "-o", component.to_str().unwrap()]);
    assert!(composed.status.success(), "{}", stderr(&composed));
    let output = run_file(&component, &[]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(run_file(&component, &["exit"]).status.code(), Some(1), "the adapter supports no other code");
}

const BEGIN: &str = "<!-- Generated by `BLESS=1 cargo test --workspace --test wasi`. -->\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_function_conforms() {
    let (engine, http) = (package("wasmtime-wasi"), package("wasmtime-wasi-http"));
    let (second, functions_p2) = functions(&http.join("wit"));
    let (third, functions_p3) = functions(&http.join("src/p3/wit"));
    let commands = |name: &'static str| tokio::task::spawn_blocking(move || conform(name));
    let (p1, p2, p3) = (commands("conform-p1"), commands("conform-p2"), commands("conform-p3"));
    let (mut http2, mut http3) = (conform_http("conform-http-p2").await, conform_http("conform-http-p3").await);
    let (p1, mut p2, mut p3) = (p1.await.unwrap(), p2.await.unwrap(), p3.await.unwrap());
    for (guest, tests) in
        [("conform-p2", &p2), ("conform-p3", &p3), ("conform-http-p2", &http2), ("conform-http-p3", &http3)]
    {
        let (covered, imported) = (tests.iter().flat_map(|test| test.covers.iter().cloned()), imports(guest));
        let unused: Vec<_> =
            covered.filter(|name| !imported.contains(name) && ELSEWHERE.iter().all(|(n, _)| n != name)).collect();
        assert!(unused.is_empty(), "{guest} lists functions as covered that it does not import: {unused:?}");
    }
    p2.append(&mut http2);
    p3.append(&mut http3);
    let mut table = String::from("| interface | function | version | tests |\n|---|---|---|---|\n");
    rows(&mut table, "0.1", &functions_of_preview1(&engine.join("witx/p1")), &p1);
    rows(&mut table, &second, &functions_p2, &p2);
    rows(&mut table, &third, &functions_p3, &p3);
    let file = root().join("docs/wasi.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, old) = text.split_once(BEGIN).expect("docs/wasi.md has the marker of the table");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, format!("{before}{BEGIN}{table}")).unwrap();
    } else {
        assert!(old == table, "the table in docs/wasi.md is out of date; write it with BLESS=1");
    }
}
