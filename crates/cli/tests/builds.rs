//! `wharf build`: commands run when their files have changed, and what is wrong is said in terms of the manifest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::process::Output;

use support::{guest, root, stderr, stdout, wharf};

fn project(manifest: &str) -> tempfile::TempDir {
    let folder = support::manifest(manifest);
    std::fs::copy(guest("hello-p2"), folder.path().join("app.wasm")).unwrap();
    folder
}

fn one(build: &str) -> tempfile::TempDir {
    project(&format!(
        "name = 'app'\n[components.web]\nsource = 'out/app.wasm'\nbuild = {build}\n[[triggers.http]]\ncomponent = 'web'\n"
    ))
}

fn build(folder: &Path, args: &[&str]) -> Output {
    let mut command = wharf();
    command.arg("build").arg(folder).args(args).env("XDG_CACHE_HOME", folder.join(".git"));
    command.output().unwrap()
}

#[test]
fn a_build_runs_when_its_files_have_changed() {
    let folder = one("'echo run >> .git/runs; cp app.wasm out/app.wasm'");
    std::fs::create_dir(folder.path().join(".git")).unwrap();
    let runs = || std::fs::read_to_string(folder.path().join(".git/runs")).unwrap_or_default().lines().count();
    let output = build(folder.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("Built web in") && stderr(&output).contains("default/app is ready"));
    assert_eq!(runs(), 1);
    assert!(stderr(&build(folder.path(), &[])).contains("1 of 1 builds had nothing to do"));
    assert_eq!(runs(), 1);
    build(folder.path(), &["--force"]);
    assert_eq!(runs(), 2);
    std::fs::write(folder.path().join("new.txt"), "").unwrap();
    build(folder.path(), &[]);
    assert_eq!(runs(), 3, "a new file");
    std::fs::write(folder.path().join("out/app.wasm"), "damaged").unwrap();
    build(folder.path(), &[]);
    assert_eq!(runs(), 4, "another output");
    // What version control ignores is no input.
    std::fs::write(folder.path().join(".gitignore"), "*.log\n").unwrap();
    build(folder.path(), &[]);
    std::fs::write(folder.path().join("a.log"), "").unwrap();
    build(folder.path(), &[]);
    assert_eq!(runs(), 5);
    // `plan` runs nothing; what runs a workload builds first.
    std::fs::write(folder.path().join("new.txt"), "other").unwrap();
    let mut plan = wharf();
    plan.arg("plan").arg(folder.path()).env("XDG_CACHE_HOME", folder.path().join(".git")).output().unwrap();
    assert_eq!(runs(), 5);
}

#[test]
fn watch_narrows_what_a_build_depends_on_or_names_files_elsewhere() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("app");
    let build_key = "{ command = 'echo run >> .git/runs; cp app.wasm out/app.wasm', watch = ['*.wasm', '../shared'] }";
    std::fs::rename(one(build_key).keep(), &folder).unwrap();
    std::fs::create_dir(outer.path().join("shared")).unwrap();
    std::fs::create_dir(folder.join(".git")).unwrap();
    let runs = || std::fs::read_to_string(folder.join(".git/runs")).unwrap_or_default().lines().count();
    build(&folder, &[]);
    std::fs::write(folder.join("notes.txt"), "").unwrap();
    build(&folder, &[]);
    assert_eq!(runs(), 1);
    std::fs::write(outer.path().join("shared/types.wit"), "").unwrap();
    build(&folder, &[]);
    assert_eq!(runs(), 2);
    std::fs::copy(guest("hello-p3"), folder.join("app.wasm")).unwrap();
    build(&folder, &[]);
    assert_eq!(runs(), 3);
}

#[test]
fn a_failure_says_where_and_what_to_do() {
    for (key, line, hint) in [
        ("'exit 7'", "`web` does not build: `sh` ended with exit code 7", ""),
        ("'no-such-tool'", "ended with exit code 127", "install it, or correct `build.command`"),
        ("'true'", "succeeded, but did not write", "let `source` name the file that the build writes"),
        ("{ workdir = 'gone' }", "which is no folder", "let `workdir` name a folder"),
        ("true", "cannot tell how to build `web`", "one of Cargo.toml, go.mod, package.json, pyproject.toml, Makefile"),
    ] {
        let folder = one(key);
        let output = build(folder.path(), &[]);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(8), "{key}: {error}");
        assert!(error.contains("wharf.toml:4:1") && error.contains(line) && error.contains(hint), "{key}: {error}");
    }
}

#[test]
fn a_missing_compiler_is_named_with_the_line_that_installs_it() {
    for (file, text, program, hint) in [
        ("Cargo.toml", "[package]\nname = 'a'", "cargo", "https://rustup.rs"),
        ("go.mod", "module app", "go", "https://go.dev/dl"),
        ("package.json", "{}", "npm", "https://nodejs.org"),
        ("pyproject.toml", "", "componentize-py", "pip install componentize-py==0.25.1"),
        ("Makefile", "", "make", "apt-get install make"),
    ] {
        let folder = one("true");
        std::fs::write(folder.path().join(file), text).unwrap();
        let mut command = wharf();
        let output = command.arg("build").arg(folder.path()).env("PATH", folder.path()).output().unwrap();
        let error = stderr(&output);
        assert!(error.contains(&format!("there is no program `{program}`")) && error.contains(hint), "{error}");
    }
}

#[test]
fn what_came_out_is_checked_against_the_workload() {
    // A component without an HTTP handler.
    let folder = one("'cp other.wasm out/app.wasm'");
    std::fs::copy(guest("adder"), folder.path().join("other.wasm")).unwrap();
    let output = build(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("does not export `wasi:http/incoming-handler@0.2`"), "{}", stderr(&output));
    // Half a file.
    let folder = one("'head -c 1000 app.wasm > out/app.wasm'");
    let output = build(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
}

#[test]
fn components_are_chosen_by_name_and_built_once_by_one_command() {
    let folder = project(
        "name = 'app'\n[components.a]\nsource = 'a.wasm'\nbuild = 'echo run >> runs; cp app.wasm a.wasm; cp app.wasm b.wasm'\n\
         [components.b]\nsource = 'b.wasm'\nbuild = 'echo run >> runs; cp app.wasm a.wasm; cp app.wasm b.wasm'\n\
         [components.c]\nsource = 'c.wasm'\nbuild = 'cp app.wasm c.wasm'\n",
    );
    let output = build(folder.path(), &["--component", "c"]);
    assert!(stderr(&output).contains("Built c") && !folder.path().join("a.wasm").exists(), "{}", stderr(&output));
    let output = build(folder.path(), &[]);
    assert!(stderr(&output).contains("Built a+b"), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(folder.path().join("runs")).unwrap(), "run\n");
    let unknown = build(folder.path(), &["--component", "d"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("those with a build are a, b, c"), "{}", stderr(&unknown));
}

#[test]
fn run_and_serve_take_a_manifest_and_build_it() {
    let folder = project(
        "name = 'app'\n[components.tool]\nsource = 'out/tool.wasm'\nargs = ['args']\nbuild = 'cp tool.wasm out/tool.wasm'\n",
    );
    std::fs::copy(guest("command-p2"), folder.path().join("tool.wasm")).unwrap();
    let output = wharf().arg("run").arg(folder.path()).args(["--", "one", "two"]).output().unwrap();
    assert_eq!(stdout(&output), "one two\n", "{}", stderr(&output));
    let folder = project("name = 'app'\n[components.a]\nsource = 'app.wasm'\n[components.b]\nsource = 'app.wasm'\n");
    let several = wharf().arg("serve").arg(folder.path()).output().unwrap();
    assert_eq!(several.status.code(), Some(2));
    assert!(stderr(&several).contains("choose one with `--component`: a, b"), "{}", stderr(&several));
}

#[test]
fn a_build_key_of_a_wrong_type_is_a_problem_of_the_manifest() {
    for (key, expected) in
        [("7", "expected a boolean, a command or a table"), ("{ comand = 'x' }", "did you mean `command`?")]
    {
        let folder = one(key);
        let output = build(folder.path(), &[]);
        assert_eq!(output.status.code(), Some(3));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    let without = project("name = 'app'\n[components.web]\nsource = 'app.wasm'\n");
    let output = build(without.path(), &[]);
    assert!(stderr(&output).contains("declares no build"), "{}", stderr(&output));
    let examples = root().join("examples/guestbook");
    assert!(wharf().arg("plan").arg(examples).output().unwrap().status.success());
}

#[test]
fn a_signal_ends_the_build_with_the_program() {
    for command in ["build", "test", "up", "run"] {
        let folder = one("'echo $$ > .git/pid; sleep 600; cp app.wasm out/app.wasm'");
        std::fs::create_dir(folder.path().join(".git")).unwrap();
        let mut program = wharf();
        program.arg(command).arg(folder.path()).env("XDG_CACHE_HOME", folder.path().join(".git"));
        let mut child = program.stderr(std::process::Stdio::null()).spawn().unwrap();
        let begun = std::time::Instant::now();
        let pid = loop {
            let text = std::fs::read_to_string(folder.path().join(".git/pid")).unwrap_or_default();
            if text.ends_with('\n') {
                break text.trim().to_owned();
            }
            assert!(begun.elapsed() < support::PATIENCE, "{command}: the build does not begin");
            std::thread::yield_now();
        };
        let signal = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(signal.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(128 + 15), "{command}");
        let process = Path::new("/proc").join(&pid);
        let alive = || {
            let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
            !status.is_empty() && !status.contains("State:\tZ")
        };
        let begun = std::time::Instant::now();
        while alive() {
            assert!(begun.elapsed() < support::PATIENCE, "{command}: the build goes on");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_world_that_the_generator_does_not_support_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let flags: Vec<_> = (0..33).map(|i| format!("g{i}")).collect();
    let wit = format!(
        "package a:b;\ninterface fl {{\n  flags many {{ {} }}\n  f: func(m: many);\n}}\nworld w {{ import fl; }}\n",
        flags.join(", ")
    );
    std::fs::create_dir(folder.path().join("wit")).unwrap();
    std::fs::write(folder.path().join("wit/world.wit"), wit).unwrap();
    std::fs::write(folder.path().join("go.mod"), "module m\n").unwrap();
    let output = wharf().current_dir(folder.path()).args(["bindings", "go"]).output().unwrap();
    assert_eq!(output.status.code(), Some(8), "{}", stderr(&output));
    assert!(stderr(&output).contains("does not support a type of this world"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
}
