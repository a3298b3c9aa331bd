//! The commands, their output and their exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use support::{guest, manifest, root, run, stderr, stdout, wharf};

fn path(name: &str) -> String {
    guest(name).display().to_string()
}

#[test]
fn run_gives_a_command_its_arguments_and_its_exit_code() {
    let command = path("command-p2");
    assert_eq!(stdout(&run(&["run", &command, "args", "--flag", "x y"])), "--flag x y\n");
    assert_eq!(stdout(&run(&["run", &command, "--", "args", "a"])), "a\n");
    // Over WASI 0.2, Rust's standard library reports failure without a code.
    assert_eq!(run(&["run", &command, "exit", "7"]).status.code(), Some(1));
    assert_eq!(run(&["run", &command, "exit", "0"]).status.code(), Some(0));
    let trapped = run(&["run", &command, "abort"]);
    assert_eq!(trapped.status.code(), Some(5), "{}", stderr(&trapped));
    let third = path("command-p3");
    assert_eq!(stdout(&run(&["run", &third, "hello", "there"])), "hello there\n");
    assert_eq!(run(&["run", &third]).status.code(), Some(1));
    assert_eq!(run(&["run", &third, "exit", "7"]).status.code(), Some(7));
}

#[test]
fn run_passes_standard_input_and_granted_resources_only() {
    let command = path("command-p2");
    let mut child = wharf();
    let child = child.args(["run", &command, "upper"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"loud").unwrap();
    assert_eq!(stdout(&child.wait_with_output().unwrap()), "LOUD");

    assert_eq!(stdout(&run(&["run", &command, "env", "HOME"])), "unset\n");
    assert_eq!(stdout(&run(&["run", "--env", "HOME=here", &command, "env", "HOME"])), "here\n");
    let inherited = wharf().args(["run", "--inherit-env", &command, "env", "ONLY_HERE"]).env("ONLY_HERE", "1").output();
    assert_eq!(stdout(&inherited.unwrap()), "1\n");

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("note"), "kept").unwrap();
    let dir = format!("{}::/here", folder.path().display());
    assert!(stdout(&run(&["run", &command, "cat", "/here/note"])).starts_with("refused"));
    assert_eq!(stdout(&run(&["run", "--dir", &dir, &command, "cat", "/here/note"])), "kept");
    assert_eq!(stdout(&run(&["run", "--dir", &dir, &command, "write", "/here/new", "x"])), "written\n");
    let read_only = format!("{dir}::ro");
    let refused = stdout(&run(&["run", "--dir", &read_only, &command, "write", "/here/newer", "x"]));
    assert!(refused.starts_with("refused"), "{refused}");
    assert!(!folder.path().join("newer").exists());
}

#[test]
fn an_error_for_the_wrong_kind_of_component_has_a_hint() {
    let rejected = run(&["run", &path("hello-p2")]);
    assert_eq!(rejected.status.code(), Some(4));
    assert!(stderr(&rejected).contains("`wharf serve`"), "{}", stderr(&rejected));
    let rejected = run(&["serve", &path("command-p2"), "--listen", "127.0.0.1:0"]);
    assert_eq!(rejected.status.code(), Some(4));
    assert!(stderr(&rejected).contains("does not export `wasi:http/incoming-handler@0.2`"), "{}", stderr(&rejected));
}

#[test]
fn plan_shows_the_guestbook_in_every_format() {
    let guestbook = root().join("examples/guestbook").display().to_string();
    let text = stdout(&run(&["plan", &guestbook]));
    for line in [
        "unit of front",
        "guestbook:app/store@1.0.0 ← store",
        "volume entries at /data (read-write)",
        "granted: nothing",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours without a terminal");
    let json: serde_json::Value =
        serde_json::from_slice(&run(&["plan", &guestbook, "--format", "json"]).stdout).unwrap();
    assert_eq!(json["runs"], true);
    assert_eq!(json["resolution"]["units"][0]["entry"], "front");
    assert_eq!(json["workload"]["components"]["store"]["volumes"][0]["access"], "read-write");
    assert!(stdout(&run(&["plan", &guestbook, "--format", "mermaid"])).starts_with("flowchart LR\n"));
    assert!(stdout(&run(&["plan", &guestbook, "--format", "dot"])).contains("\"front\" -> \"store\""));
    let svg = stdout(&run(&["plan", &guestbook, "--format", "svg"]));
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>") && svg.contains(">sanitiser<"), "{svg}");
}

#[test]
fn plan_shows_problems_with_their_places_and_runs_nothing() {
    let folder = manifest(&format!(
        "name = \"broken\"\n[components.app]\nsource = \"{}\"\n[components.gone]\nsource = \"gone.wasm\"\n\
         [[links]]\nfrom = \"app\"\nimport = \"wasi:http/handler\"\nto = \"missing\"\n",
        path("middleware-p3")
    ));
    let file = folder.path().join("wharf.toml");
    let rejected = run(&["plan", folder.path().to_str().unwrap()]);
    assert_eq!(rejected.status.code(), Some(4));
    let output = stderr(&rejected);
    assert!(output.contains(&format!("{}:5:1: error: cannot load `gone`", file.display())), "{output}");
    assert!(output.contains(&format!("{}:9:1: error: link 1: `missing` in `to`", file.display())), "{output}");
    assert!(output.contains("nothing satisfies `wasi:http/handler@0.3.0`"), "{output}");
    assert!(output.contains("3 errors"), "{output}");
    let json = run(&["plan", folder.path().to_str().unwrap(), "--format", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["problems"].as_array().unwrap().len(), 3);
}

#[test]
fn inspect_shows_imports_exports_producers_and_wit() {
    let text = stdout(&run(&["inspect", &path("front-p2")]));
    for line in [
        "wasi:config/store@0.2.0-rc.1 ← plugin config",
        "wharf:fixture/inspect@0.1.0 ← a sibling must export it",
        "(shared)",
        "wasi:http/incoming-handler@0.2",
        "processed-by",
        "interface inspect {",
    ] {
        assert!(text.contains(line), "`{line}` is missing in:\n{text}");
    }
    let json = run(&["inspect", &path("adder"), "--format", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["exports"][0], "wharf:fixture/math@0.1.0");
    assert_eq!(json["imports"].as_array().unwrap().len(), 0);
    assert!(json["digest"].as_str().unwrap().starts_with("sha256:"));
}

#[test]
fn compose_writes_the_fused_component() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("guestbook.wasm");
    let guestbook = root().join("examples/guestbook").display().to_string();
    let composed = run(&["compose", &guestbook, "-o", out.to_str().unwrap()]);
    assert!(composed.status.success(), "{}", stderr(&composed));
    let text = stdout(&run(&["inspect", out.to_str().unwrap()]));
    assert!(text.contains("store:wasi-filesystem/preopens@0.3.0"), "the grant is scoped to the store: {text}");
    assert!(!text.contains("guestbook:app/store"), "the link is internal: {text}");
    let again = run(&["compose", &guestbook, "-o", "-"]);
    assert_eq!(again.stdout, std::fs::read(&out).unwrap(), "composing is deterministic");
}

#[test]
fn compose_requires_a_choice_among_several_units() {
    let folder = manifest(&format!(
        "name = 'two'\n[components.a]\nsource = '{0}'\n[components.b]\nsource = '{0}'\n",
        path("hello-p2")
    ));
    let (folder, out) = (folder.path().to_str().unwrap(), "-");
    let rejected = run(&["compose", folder, "-o", out]);
    assert_eq!(rejected.status.code(), Some(2));
    assert!(stderr(&rejected).contains("`a`, `b`"), "{}", stderr(&rejected));
    assert!(run(&["compose", folder, "-o", out, "--unit", "b"]).status.success());
    assert_eq!(run(&["compose", folder, "-o", out, "--unit", "c"]).status.code(), Some(2));
}

#[test]
fn the_schema_is_json_and_help_and_completions_cover_the_commands() {
    let schema: serde_json::Value = serde_json::from_slice(&run(&["schema"]).stdout).unwrap();
    assert!(schema["properties"]["components"].is_object());
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&run(&["completions", shell])).contains("inspect"), "{shell}");
    }
    let help = stdout(&run(&["--help"]));
    assert!(help.contains("Exit codes") && help.contains("wharf up examples/guestbook"), "{help}");
    for verb in ["up", "serve", "run", "plan", "inspect", "compose"] {
        assert!(stdout(&run(&[verb, "--help"])).contains("Example"), "{verb}");
    }
    assert_eq!(run(&["no-such-verb"]).status.code(), Some(2));
}

#[test]
fn cache_commands_show_and_clear_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    let with = |args: &[&str]| wharf().env("WHARF_CACHE", &cache).args(args).output().unwrap();
    assert_eq!(Path::new(stdout(&with(&["cache", "path"])).trim()), cache);
    assert_eq!(stdout(&with(&["cache", "size"])), "0\n");
    assert!(with(&["run", &path("command-p2"), "args"]).status.success());
    let size: u64 = stdout(&with(&["cache", "size"])).trim().parse().unwrap();
    assert!(size > 10_000, "{size}");
    assert!(with(&["cache", "clear"]).status.success());
    assert_eq!(stdout(&with(&["cache", "size"])), "0\n");
    assert!(with(&["--no-cache", "run", &path("command-p2"), "args"]).status.success());
    assert_eq!(stdout(&with(&["cache", "size"])), "0\n");
}

#[test]
fn an_address_in_use_is_reported_with_a_hint() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let rejected = run(&["serve", &path("hello-p2"), "--listen", &address]);
    assert_eq!(rejected.status.code(), Some(6));
    assert!(stderr(&rejected).contains("--listen"), "{}", stderr(&rejected));
}

/// Writes a program of WASI 0.1 whose `_start` has this body.
fn program(folder: &std::path::Path, name: &str, body: &str) -> std::path::PathBuf {
    let text = format!(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1) (func (export "_start") {body}))"#
    );
    let file = folder.join(name);
    std::fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
    file
}

#[test]
fn run_returns_the_exit_code_of_a_wasi_0_1_program() {
    let folder = tempfile::tempdir().unwrap();
    for (code, exit) in [(0, 0), (3, 3), (125, 125), (200, 200), (255, 255)] {
        let file = program(folder.path(), "exit.wasm", &format!("(call $exit (i32.const {code}))"));
        let output = run(&["run", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(exit), "{}", stderr(&output));
    }
    let file = program(folder.path(), "trap.wasm", "unreachable");
    let output = run(&["run", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains("failed: wasm trap: wasm `unreachable` instruction executed"));
}

#[test]
fn run_applies_the_limits_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = program(folder.path(), "spin.wasm", "(loop $ever (br $ever))");
    for limit in ["time=200ms", "cpu=200ms"] {
        let output = run(&["run", "--limit", limit, file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(7), "{limit}");
        let error = stderr(&output);
        assert!(error.contains(&limit[..limit.find('=').unwrap()]) && error.contains("200ms"), "{error}");
    }
}

#[test]
fn inspect_shows_size_and_digest_of_a_core_modules_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = program(folder.path(), "tool.wasm", "");
    let output = run(&["inspect", "--format", "json", file.to_str().unwrap()]);
    let inspected: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(inspected["kind"], "core module of WASI 0.1, as a component");
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(inspected["bytes"], bytes.len());
    assert_eq!(inspected["digest"], wharf::workload::manifest::Digest::of(&bytes).to_string());
}

/// Opens a file a hundred times; exits with 9 if an open fails.
const OPENS: &str = r#"(module
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1) (data (i32.const 100) "hello.txt")
    (func (export "_start") (local $n i32)
        (loop $more
            (if (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 9) (i32.const 0) (i64.const 2)
                    (i64.const 2) (i32.const 0) (i32.const 0))
                (then (call $exit (i32.const 9))))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $n) (i32.const 100))))))"#;

#[test]
fn the_limit_of_open_files_applies_to_wasi_0_1_programs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("opens.wasm");
    std::fs::write(&file, wat::parse_str(OPENS).unwrap()).unwrap();
    std::fs::write(folder.path().join("hello.txt"), "hello").unwrap();
    let dir = format!("{}::/", folder.path().display());
    let run = |limit: &str| run(&["run", "--dir", &dir, "--limit", limit, file.to_str().unwrap()]);
    let output = run("files=200");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = run("files=20");
    assert_eq!(output.status.code(), Some(7));
    assert!(stderr(&output).contains("limit reached: files (20)"), "{}", stderr(&output));
}

#[test]
fn only_traps_write_core_dumps() {
    let folder = tempfile::tempdir().unwrap();
    let dumps = folder.path().join("dumps");
    let written = || std::fs::read_dir(&dumps).map_or(0, Iterator::count);
    let run = |file: &Path, more: &[&str]| {
        let arguments = [&["run", "--core-dumps", dumps.to_str().unwrap()], more, &[file.to_str().unwrap()]].concat();
        run(&arguments)
    };
    run(&program(folder.path(), "exit.wasm", "(call $exit (i32.const 3))"), &[]);
    run(&program(folder.path(), "spin.wasm", "(loop $ever (br $ever))"), &["--limit", "cpu=100ms"]);
    assert_eq!(written(), 0);
    let output = run(&program(folder.path(), "trap.wasm", "unreachable"), &[]);
    assert!(stderr(&output).contains("failed: wasm trap"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("coredump generated"), "{}", stderr(&output));
    assert_eq!(written(), 1);
    // A component that traps writes a core dump too.
    let command = path("command-p2");
    support::run(&["run", "--core-dumps", dumps.to_str().unwrap(), &command, "abort"]);
    assert_eq!(written(), 2);
}

#[test]
fn engine_flags_configure_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"(module (type $box (struct (field i32))) (memory (export "memory") 1)
        (func $boxing (export "_start") (drop (struct.new $box (i32.const 7)))))"#;
    let file = folder.path().join("gc.wasm");
    std::fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(run(&["run", file]).status.code(), Some(0));
    assert_eq!(run(&["run", "--wasm", "gc", "--debug-info", file]).status.code(), Some(0));
    let off = run(&["run", "--wasm", "gc=off", file]);
    assert_eq!(off.status.code(), Some(4), "{}", stderr(&off));
    for (setting, message) in [("sharks", "the features are memory64"), ("gc=maybe", "FEATURE=off")] {
        let rejected = run(&["run", "--wasm", setting, file]);
        assert_eq!(rejected.status.code(), Some(2));
        assert!(stderr(&rejected).contains(message), "{}", stderr(&rejected));
    }
    let child = wharf().args(["run", "--profile", "perfmap", file]).spawn().unwrap();
    let map = format!("/tmp/perf-{}.map", child.id());
    assert!(child.wait_with_output().unwrap().status.success());
    assert!(std::fs::read_to_string(&map).unwrap().contains("boxing"));
    std::fs::remove_file(map).unwrap();
}

/// A command that fails unless its time zone is two hours ahead of UTC in summer.
const SUMMER: &str = r#"(component
    (import "wasi:clocks/timezone@0.2.12" (instance $zone
        (type $record (record (field "seconds" u64) (field "nanoseconds" u32)))
        (export "datetime" (type $datetime (eq $record)))
        (export "utc-offset" (func (param "when" $datetime) (result s32)))))
    (core func $offset (canon lower (func $zone "utc-offset")))
    (core module $m (import "zone" "offset" (func $offset (param i64 i32) (result i32)))
        (func (export "run") (result i32) (i32.ne (call $offset (i64.const 1784116800) (i32.const 0)) (i32.const 7200))))
    (core instance $i (instantiate $m (with "zone" (instance (export "offset" (func $offset))))))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $command (export "run" (func $run)))
    (export "wasi:cli/run@0.2.12" (instance $command)))"#;

#[test]
fn run_grants_a_time_zone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("summer.wasm");
    std::fs::write(&file, wat::parse_str(SUMMER).unwrap()).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(run(&["run", file]).status.code(), Some(1));
    assert_eq!(run(&["run", "--timezone", "Europe/Berlin", file]).status.code(), Some(0));
    let wrong = run(&["run", "--timezone", "Europe/Berlim", file]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("did you mean `Europe/Berlin`?"), "{}", stderr(&wrong));
}

#[test]
fn plan_shows_how_entries_run() {
    let folder = manifest(&format!(
        "name = 'a'\n[components.web]\nsource = '{}'\ninstances = {{ mode = 'reuse', most = 1 }}\n\
         limits = {{ memory = '64MiB', concurrency = 8 }}\n[components.worker]\nsource = '{}'\n\
         service = {{ restart = 'always', max-restarts = 5 }}\n[[triggers.http]]\ncomponent = 'web'\n",
        path("hello-p2"),
        path("service-p2")
    ));
    let text = stdout(&run(&["plan", folder.path().to_str().unwrap()]));
    for line in [
        "instances: reuse, most 1",
        "limits: concurrency 8, memory 64MiB",
        "service: restarted always, at most 5 in a row",
    ] {
        assert!(text.contains(line), "{text}");
    }
}
