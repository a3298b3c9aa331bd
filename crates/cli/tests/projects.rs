//! `wharf new`: each template is made, built, tested and called, in each language. `scripts/languages.sh` installs what this needs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{Server, root, stderr, stdout, text, wharf};

/// The user's cache for Wharf, where `scripts/languages.sh` puts compilers.
fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    base.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache")).join("wharf")
}

/// A folder with a cargo that builds for components: rustup's where it has the target, and else the unpacked compiler's.
fn cargo(folder: &Path) {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    let has_target = installed.is_ok_and(|output| stdout(&output).lines().any(|line| line == "wasm32-wasip2"));
    let real = Path::new(env!("CARGO")).display().to_string();
    let unpacked = cache().join("guest-toolchain");
    let script = if has_target {
        format!("#!/bin/sh\nexec {real} \"$@\"\n")
    } else {
        let unpacked = unpacked.display();
        format!(
            "#!/bin/sh\n. {unpacked}/env.sh\nPATH={unpacked}/bin:$PATH\nexec {real} \"$@\" -Z build-std=std,panic_abort\n"
        )
    };
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join("cargo");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The program in a folder, with the compilers in its path.
fn wharf_in(folder: &Path) -> Command {
    let mut command = wharf();
    let compilers = folder.join("../.compilers");
    if !compilers.exists() {
        cargo(&compilers);
    }
    let path = std::env::var("PATH").unwrap();
    let python = cache().join("python/bin");
    command.env("PATH", format!("{}:{}:{path}", compilers.display(), python.display()));
    // Cargo sets variables for this test, which must not affect a guest's build.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_") && name != "CARGO_HOME") {
        command.env_remove(name);
    }
    command.env_remove("RUSTFLAGS").env_remove("CARGO").current_dir(folder);
    command
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", stdout(output), stderr(output));
    stdout(output)
}

/// A project of a template.
fn new(outer: &Path, language: &str, template: &str) -> PathBuf {
    let name = format!("my-{template}");
    let folder = outer.join(&name);
    good(
        &wharf().current_dir(outer).args(["new", &name, "--lang", language, "--template", template]).output().unwrap(),
    );
    for file in ["wharf.toml", "README.md", ".gitignore"] {
        assert!(folder.join(file).is_file(), "{language} {template} has no {file}");
    }
    if language == "rust" {
        // Compiled dependencies are the same for all.
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rust-templates");
        std::fs::create_dir_all(&shared).unwrap();
        std::os::unix::fs::symlink(shared, folder.join("target")).unwrap();
    }
    folder
}

async fn get(server: &Server, path: &str) -> (u16, String) {
    let response = server.get(path).await;
    (response.status().as_u16(), text(&response).trim_end().to_owned())
}

/// Makes, builds, tests and calls the templates of a language.
async fn templates(language: &str, templates: &[&str]) {
    let outer = tempfile::tempdir().unwrap();
    for &template in templates {
        let folder = new(outer.path(), language, template);
        let tested = good(&wharf_in(&folder).arg("test").output().unwrap());
        assert!(tested.contains("ok: ") && tested.contains(" 0 failed"), "{language} {template}: {tested}");
        match template {
            "http" | "workload" | "middleware" => {
                let mut command = wharf_in(&folder);
                command.args(["up", "--listen", "127.0.0.1:0"]);
                let server = Server::start(command);
                let (status, answer) = get(&server, "/").await;
                assert!(status == 200 && answer.starts_with("Hello"), "{language} {template}: {status} {answer}");
                if template != "middleware" {
                    assert_eq!(get(&server, "/hello/Ada").await, (200, "Hello, Ada!".to_owned()), "{language}");
                    assert_eq!(get(&server, "/nowhere").await.0, 404, "{language} {template}");
                }
            }
            "command" => {
                let ran = good(&wharf_in(&folder).args(["run", ".", "--", "Ada"]).output().unwrap());
                assert_eq!(ran, "Hello, Ada!\n", "{language}");
            }
            "cron" => assert!(!good(&wharf_in(&folder).args(["run", "."]).output().unwrap()).is_empty()),
            _ => drop(good(&wharf_in(&folder).args(["plan"]).output().unwrap())),
        }
    }
}

#[tokio::test]
async fn templates_in_rust() {
    templates("rust", &["http", "command", "library", "middleware", "cron", "workload"]).await;
}

#[tokio::test]
async fn templates_in_go() {
    templates("go", &["http", "command", "library", "middleware", "cron", "workload"]).await;
}

#[tokio::test]
async fn templates_in_c() {
    templates("c", &["http", "command", "library", "middleware", "cron", "workload"]).await;
}

#[tokio::test]
async fn templates_in_javascript() {
    templates("js", &["http", "command", "library", "cron", "workload"]).await;
}

#[tokio::test]
async fn templates_in_typescript() {
    templates("ts", &["http", "command", "library", "cron", "workload"]).await;
}

/// Each component takes the engine ten seconds: the others differ from these as they do in JavaScript.
#[tokio::test]
async fn templates_in_python() {
    templates("python", &["http", "middleware"]).await;
}

#[test]
fn templates_are_listed_and_chosen_by_name() {
    let outer = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| wharf().current_dir(outer.path()).arg("new").args(args).output().unwrap();
    let list = good(&run(&["--list"]));
    assert!(list.contains("middleware") && list.lines().count() == 7, "{list}");
    for (args, expected) in [
        (&["../x", "--lang", "js"][..], "write it in kebab-case, such as `x`"),
        (&["App", "--lang", "js"], "kebab-case"),
        (&["async", "--lang", "js"], "choose another name, such as `async-app`"),
        (&["app"], "set `--lang` to one of rust, go, python, js, ts, c"),
        (&["app", "--lang", "cobol"], "unknown language `cobol`"),
        (&["app", "--lang", "js", "--template", "../http"], "unknown template `../http`"),
        (&["app", "--lang", "js", "--template", "middleware"], "it exists for rust, go, python, c"),
        (&["app", "--from", "gone"], "no such template: `gone`"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
    good(&run(&["app", "--lang", "js"]));
    assert!(stderr(&run(&["app", "--lang", "js"])).contains("`app` exists already"));
    let left: Vec<_> = std::fs::read_dir(outer.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["app"]);
}

#[test]
fn a_template_may_be_a_folder_or_a_repository() {
    let outer = tempfile::tempdir().unwrap();
    let template = outer.path().join("template");
    std::fs::create_dir_all(template.join("inner/src")).unwrap();
    std::fs::create_dir_all(template.join("inner/target")).unwrap();
    std::fs::write(template.join("inner/wharf.toml.in"), "name = '{{name}}'\n# {{snake}}\n").unwrap();
    std::fs::write(template.join("inner/_gitignore"), "out\n").unwrap();
    std::fs::write(template.join("inner/src/bytes"), [0, 255, b'{']).unwrap();
    std::fs::write(template.join("inner/target/big"), "left out").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", template.join("inner/link")).unwrap();
    let run = |args: &[&str]| wharf().current_dir(outer.path()).arg("new").args(args).output().unwrap();
    let check = |name: &str| {
        let made = outer.path().join(name);
        let manifest = std::fs::read_to_string(made.join("wharf.toml")).unwrap();
        assert_eq!(manifest, format!("name = '{name}'\n# {}\n", name.replace('-', "_")));
        assert!(made.join(".gitignore").is_file() && !made.join("target").exists() && !made.join("link").exists());
        assert_eq!(std::fs::read(made.join("src/bytes")).unwrap(), [0, 255, b'{']);
    };
    good(&run(&["my-app", "--from", "template", "--template", "inner"]));
    check("my-app");
    for args in [
        ["init", "--quiet"].as_slice(),
        &["add", "."],
        &["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "a"],
    ] {
        assert!(Command::new("git").current_dir(&template).args(args).status().unwrap().success());
    }
    let address = format!("file://{}", template.display());
    good(&run(&["from-git", "--from", &address, "--template", "inner"]));
    check("from-git");
    for outside in ["../inner", "/etc", "gone", "inner/../.."] {
        let output = run(&["other", "--from", "template", "--template", outside]);
        assert!(stderr(&output).contains("there is no template"), "{}", stderr(&output));
    }
    // A link leads nowhere, and what a template says about itself is a plain file.
    std::os::unix::fs::symlink("/etc", template.join("out")).unwrap();
    let output = run(&["other", "--from", "template", "--template", "out"]);
    assert!(stderr(&output).contains("there is no template"), "{}", stderr(&output));
    std::fs::remove_file(template.join("out")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", template.join("wharf-template.toml")).unwrap();
    let output = run(&["other", "--from", "template"]);
    assert!(stderr(&output).contains("is no plain file"), "{}", stderr(&output));
    std::fs::remove_file(template.join("wharf-template.toml")).unwrap();
    std::fs::write(template.join("wharf-template.toml"), "wharf = '>=99'\n").unwrap();
    let output = run(&["other", "--from", "template"]);
    assert!(stderr(&output).contains("the template is for Wharf >=99"), "{}", stderr(&output));
    std::fs::write(template.join("wharf-template.toml"), "wharf = '>=0.0.1'\n").unwrap();
    good(&run(&["other", "--from", "template"]));
    assert!(!outer.path().join("other/wharf-template.toml").exists());
    assert!(root().join("scripts/languages.sh").is_file());
}
