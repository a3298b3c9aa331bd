//! Whatever is handed to the program, it says what is wrong, where, and ends with its documented code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::Output;

use support::{guest, manifest, run, stderr};

/// A refusal that a person can read: the code, no panic, an error that says something.
fn refused(output: &Output, code: i32, says: &str) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains("error:") && said.contains(says), "`{says}` is not in: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn manifests() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wharf.toml");
    let plan = || run(&["plan", file.to_str().unwrap()]);
    for (bytes, says) in [
        (Vec::new(), "this manifest is empty"),
        (vec![b'#'; 10 << 20], "the most that is read is 1048576"),
        (format!("a = {}", "[".repeat(50_000)).into_bytes(), "recurs"),
        (b"name = 3\n".to_vec(), "`name` takes a string, not an integer"),
        (b"name = 'a'\nname = 'b'\n".to_vec(), "duplicate key `name`"),
        (b"name = '\xff'\n".to_vec(), "wharf.toml:1:9: error: this is not UTF-8 text"),
        (b"name = 'a'\n[components.a]\nsource = 'a'\nhots = []\n".to_vec(), "wharf.toml:4:1:"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        refused(&plan(), 3, says);
    }
    refused(&run(&["up", folder.path().join("none").to_str().unwrap()]), 3, "there is no /");
    let empty = tempfile::tempdir().unwrap();
    refused(&run(&["up", empty.path().to_str().unwrap()]), 3, "there is no manifest");
    refused(&run(&["plan", "/dev/zero"]), 3, "is not named like a manifest");
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
    for (name, bytes, says) in [
        ("empty", Vec::new(), "the file is empty"),
        ("module", wat::parse_str("(module)").unwrap(), "has no `_start`"),
        ("cut", whole[..whole.len() / 2].to_vec(), "damaged or not valid"),
        ("random", random, "this is not WebAssembly"),
        ("text", b"(component)".to_vec(), "wasm-tools parse"),
        ("prose", b"hello".to_vec(), "this is not WebAssembly"),
        ("broken", broken, ""),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let file = file.to_str().unwrap();
        for args in [&["serve", file, "--listen", "127.0.0.1:0"][..], &["run", file], &["inspect", file]] {
            // A component whose code alone is broken can still be inspected.
            if name != "broken" || args[0] != "inspect" {
                refused(&run(args), 4, says);
            }
        }
    }
    refused(&run(&["run", "no-such-file.wasm"]), 4, "cannot be read");
    refused(&run(&["run", folder.path().to_str().unwrap()]), 4, "cannot be read");
    let unknown =
        wat::parse_str(r#"(component (import "some:where/else@1.0.0" (instance (export "f" (func)))))"#).unwrap();
    let file = folder.path().join("unknown");
    std::fs::write(&file, unknown).unwrap();
    refused(&run(&["run", file.to_str().unwrap()]), 4, "nothing satisfies `some:where/else@1.0.0`");
}

#[test]
fn digests() {
    let folder = manifest(&format!(
        "name = 'a'\n[components.a]\nsource = '{}'\ndigest = 'sha256:{}'\n",
        guest("hello-p2").display(),
        "0".repeat(64)
    ));
    refused(&run(&["plan", folder.path().to_str().unwrap()]), 4, "wharf.toml:4:1: error: `a` has the digest sha256:");
}

/// A component that imports the scoped name of its sibling's grant would read the sibling's secrets if it were linked.
#[test]
fn a_thief_of_grants() {
    let folder = manifest(&format!(
        "name = 'a'\n[components.thief]\nsource = 'thief.wasm'\n[components.auth]\nsource = '{}'\nenv = {{ SECRET = 's' }}\n",
        guest("inspector-p2").display()
    ));
    let thief = r#"(component
        (import "auth:wasi-cli/environment@0.2.0" (instance (export "get-arguments" (func (result (list string))))))
        (import "wharf:fixture/inspect@0.1.0" (instance (export "ask" (func (param "question" string) (result string))))))"#;
    std::fs::write(folder.path().join("thief.wasm"), wat::parse_str(thief).unwrap()).unwrap();
    let output = run(&["plan", folder.path().to_str().unwrap()]);
    refused(&output, 4, "nothing satisfies `auth:wasi-cli/environment@0.2.0`");
    assert!(stderr(&output).contains("what `auth` alone is granted"), "{}", stderr(&output));
}

#[test]
fn flags() {
    let hello = guest("hello-p2").display().to_string();
    for (args, says) in [
        (&["--env", "novalue"][..], "KEY=VALUE"),
        (&["--dir", "::"], "HOST::GUEST"),
        (&["--allow", "ftp://x"], "no scheme"),
        (&["--tls-cert", "/none", "--tls-key", "/none"], "cannot be read"),
    ] {
        let mut all = vec!["serve", &hello, "--listen", "127.0.0.1:0"];
        all.extend(args);
        let code = if args[0] == "--tls-cert" { 6 } else { 2 };
        refused(&run(&all), code, says);
    }
    refused(&run(&["serve", &hello, "--listen", "127.0.0.1:0", "--dir", "/no/such/folder::/a"]), 6, "cannot be opened");
    refused(&run(&["--log", "=[", "schema"]), 2, "a filter is such as");
}

#[test]
fn a_manifest_with_very_many_problems_is_refused_soon_and_briefly() {
    let keys: String = (0..60_000).map(|n| format!("k{n} = 1\n")).collect::<Vec<_>>().concat();
    for text in [keys.clone(), format!("x = {{ {} }}", keys.replace('\n', ", "))] {
        let folder = manifest(&text);
        let output = run(&["plan", folder.path().to_str().unwrap()]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(3));
        assert!(said.len() < 100_000, "{} bytes", said.len());
        assert!(!text.starts_with('k') || said.contains("more, which are not listed"), "{said}");
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
        let memory =
            "wharf.toml:4:12: error: `web` asks for `limits.memory` of 1GiB, and the most on this host is 64MiB";
        assert!(said.contains(memory), "{said}");
        assert!(
            said.contains("hint: ask for 64MiB or less, or ask the host's operator to raise the ceiling"),
            "{said}"
        );
        assert!(said.contains("wharf.toml:5:30: error: `web` asks for `instances.size` of 100"), "{said}");
        assert!(!said.contains("limits.time"), "{said}");
    }
    let limit = ["run", wasm.to_str().unwrap(), "--limit", "memory=65MiB", "--host-config", config.to_str().unwrap()];
    refused(&run(&limit), 4, "the most on this host is 64MiB");
    for (text, says) in [
        ("[ceilings]\nmemry = '64MiB'\n", "host.toml:2:1: error: unknown key `memry` in `ceilings`"),
        ("[ceilings]\nmemory = 'much'\n", "`ceilings.memory` takes a size"),
        ("[ceiling]\n", "unknown key `ceiling`"),
        ("[ceilings\n", "host.toml:1:"),
    ] {
        std::fs::write(&config, text).unwrap();
        refused(&with("plan", app.path()), 3, says);
    }
    std::fs::write(&config, b"\xff").unwrap();
    refused(&with("plan", app.path()), 3, "is not UTF-8 text");
    std::fs::remove_file(&config).unwrap();
    refused(&with("plan", app.path()), 3, "host.toml cannot be read");
}
