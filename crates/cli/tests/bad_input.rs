//! Invalid input of every kind: the program reports the problem and its place, and exits with the documented code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::Output;

use support::{guest, manifest, run, stderr};

/// Asserts that the program fails with this exit code and an error that contains this text, and does not panic.
fn assert_fails(output: &Output, code: i32, text: &str) {
    let error = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains("error:") && error.contains(text), "`{text}` is missing in: {error}");
    assert!(!error.contains("panicked"), "{error}");
}

#[test]
fn manifests() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wharf.toml");
    let plan = || run(&["plan", file.to_str().unwrap()]);
    for (bytes, expected) in [
        (Vec::new(), "the manifest is empty"),
        (vec![b'#'; 10 << 20], "exceeds the maximum of 1048576"),
        (format!("a = {}", "[".repeat(50_000)).into_bytes(), "recurs"),
        (b"name = 3\n".to_vec(), "expected a string for `name`, found an integer"),
        (b"name = 'a'\nname = 'b'\n".to_vec(), "duplicate key `name`"),
        (b"name = '\xff'\n".to_vec(), "wharf.toml:1:9: error: not UTF-8 text"),
        (b"name = 'a'\n[components.a]\nsource = 'a'\nhots = []\n".to_vec(), "wharf.toml:4:1:"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        assert_fails(&plan(), 3, expected);
    }
    assert_fails(&run(&["up", folder.path().join("none").to_str().unwrap()]), 3, "no such manifest: `/");
    let empty = tempfile::tempdir().unwrap();
    assert_fails(&run(&["up", empty.path().to_str().unwrap()]), 3, "no manifest in folder `/");
    assert_fails(&run(&["plan", "/dev/zero"]), 3, "unknown extension of manifest `/dev/zero`");
}

#[test]
fn components() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(guest("hello-p2")).unwrap();
    let random: Vec<u8> = (0..4096_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let mut broken = whole.clone();
    for byte in broken.iter_mut().skip(5000).step_by(97) {
        *byte ^= 0x5a;
    }
    for (name, bytes, expected) in [
        ("empty", Vec::new(), "the file is empty"),
        ("module", wat::parse_str("(module)").unwrap(), "has no `_start`"),
        ("cut", whole[..whole.len() / 2].to_vec(), "invalid component"),
        ("random", random, "not a WebAssembly file"),
        ("text", b"(component)".to_vec(), "wasm-tools parse"),
        ("prose", b"hello".to_vec(), "not a WebAssembly file"),
        ("broken", broken, ""),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let file = file.to_str().unwrap();
        for args in [&["serve", file, "--listen", "127.0.0.1:0"][..], &["run", file], &["inspect", file]] {
            // `inspect` does not compile, so it accepts a component whose code is damaged.
            if name != "broken" || args[0] != "inspect" {
                assert_fails(&run(args), 4, expected);
            }
        }
    }
    assert_fails(&run(&["run", "no-such-file.wasm"]), 4, "cannot read no-such-file.wasm");
    assert_fails(&run(&["run", folder.path().to_str().unwrap()]), 3, "no manifest in folder");
    let unknown =
        wat::parse_str(r#"(component (import "some:where/else@1.0.0" (instance (export "f" (func)))))"#).unwrap();
    let file = folder.path().join("unknown");
    std::fs::write(&file, unknown).unwrap();
    assert_fails(&run(&["run", file.to_str().unwrap()]), 4, "nothing satisfies `some:where/else@1.0.0`");
}

#[test]
fn digests() {
    let folder = manifest(&format!(
        "name = 'a'\n[components.a]\nsource = '{}'\ndigest = 'sha256:{}'\n",
        guest("hello-p2").display(),
        "0".repeat(64)
    ));
    assert_fails(
        &run(&["plan", folder.path().to_str().unwrap()]),
        4,
        "wharf.toml:4:1: error: digest mismatch for `a`: expected sha256:",
    );
}

/// A component that imports the scoped name of its sibling's grant must not be linked: it would read the sibling's secrets.
#[test]
fn scoped_names_of_a_sibling() {
    let folder = manifest(&format!(
        "name = 'a'\n[components.thief]\nsource = 'thief.wasm'\n[components.auth]\nsource = '{}'\nenv = {{ SECRET = 's' }}\n",
        guest("inspector-p2").display()
    ));
    let thief = r#"(component
        (import "auth:wasi-cli/environment@0.2.0" (instance (export "get-arguments" (func (result (list string))))))
        (import "wharf:fixture/inspect@0.1.0" (instance (export "ask" (func (param "question" string) (result string))))))"#;
    std::fs::write(folder.path().join("thief.wasm"), wat::parse_str(thief).unwrap()).unwrap();
    let output = run(&["plan", folder.path().to_str().unwrap()]);
    assert_fails(&output, 4, "nothing satisfies `auth:wasi-cli/environment@0.2.0`");
    assert!(stderr(&output).contains("a grant that is scoped to `auth`"), "{}", stderr(&output));
}

#[test]
fn flags() {
    let hello = guest("hello-p2").display().to_string();
    for (args, expected) in [
        (&["--env", "novalue"][..], "KEY=VALUE"),
        (&["--dir", "::"], "HOST::GUEST"),
        (&["--allow", "ftp://x"], "unknown scheme `ftp`"),
        (&["--tls-cert", "/none", "--tls-key", "/none"], "cannot read a certificate from `/none`"),
    ] {
        let mut all = vec!["serve", &hello, "--listen", "127.0.0.1:0"];
        all.extend(args);
        let code = if args[0] == "--tls-cert" { 6 } else { 2 };
        assert_fails(&run(&all), code, expected);
    }
    assert_fails(
        &run(&["serve", &hello, "--listen", "127.0.0.1:0", "--dir", "/no/such/folder::/a"]),
        6,
        "cannot open the volume",
    );
    assert_fails(&run(&["--log", "=[", "schema"]), 2, "write the log filter as");
}

#[test]
fn a_manifest_with_many_problems_has_a_bounded_report() {
    let keys: String = (0..60_000).map(|n| format!("k{n} = 1\n")).collect::<Vec<_>>().concat();
    for text in [keys.clone(), format!("x = {{ {} }}", keys.replace('\n', ", "))] {
        let folder = manifest(&text);
        let output = run(&["plan", folder.path().to_str().unwrap()]);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(3));
        assert!(error.len() < 100_000, "{} bytes", error.len());
        assert!(!text.starts_with('k') || error.contains("more errors omitted"), "{error}");
    }
}

#[test]
fn ceilings() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("host.toml");
    let wasm = guest("hello-p2");
    let app = manifest(&format!(
        "name = 'a'\n[components.web]\nsource = '{}'\nlimits = {{ memory = '1GiB', time = '5s' }}\n\
         instances = {{ mode = 'warm', size = 100 }}\n[[triggers.http]]\ncomponent = 'web'\n",
        wasm.display()
    ));
    let with = |verb: &str, file: &std::path::Path| {
        run(&[verb, file.to_str().unwrap(), "--host-config", config.to_str().unwrap()])
    };
    std::fs::write(&config, "[ceilings]\nmemory = '64MiB'\ntime = '5s'\nwarm = 8\n").unwrap();
    for verb in ["plan", "up"] {
        let output = with(verb, app.path());
        let said = stderr(&output) + &support::stdout(&output);
        assert_eq!(output.status.code(), Some(4), "{said}");
        let memory = "wharf.toml:4:12: error: `limits.memory` of `web` is 1GiB, above this host's ceiling of 64MiB";
        assert!(said.contains(memory), "{said}");
        assert!(said.contains("hint: set 64MiB or less, or ask the host's operator to raise the ceiling"), "{said}");
        assert!(said.contains("wharf.toml:5:30: error: `instances.size` of `web` is 100"), "{said}");
        assert!(!said.contains("limits.time"), "{said}");
    }
    let limit = ["run", wasm.to_str().unwrap(), "--limit", "memory=65MiB", "--host-config", config.to_str().unwrap()];
    assert_fails(&run(&limit), 4, "above this host's ceiling of 64MiB");
    for (text, expected) in [
        ("[ceilings]\nmemry = '64MiB'\n", "host.toml:2:1: error: unknown key `memry` in `ceilings`"),
        ("[ceilings]\nmemory = 'much'\n", "expected a size such as \"64MiB\""),
        ("[ceiling]\n", "unknown key `ceiling`"),
        ("[ceilings\n", "host.toml:1:"),
    ] {
        std::fs::write(&config, text).unwrap();
        assert_fails(&with("plan", app.path()), 3, expected);
    }
    std::fs::write(&config, b"\xff").unwrap();
    assert_fails(&with("plan", app.path()), 3, "is not UTF-8 text");
    std::fs::remove_file(&config).unwrap();
    assert_fails(&with("plan", app.path()), 3, "cannot read `");
}
