//! `[provided.<name>]` of the host's configuration.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use support::{manifest, root, run, stderr, stdout};

fn guest(name: &str) -> PathBuf {
    root().join("guests/stores/prebuilt").join(format!("{name}.wasm"))
}

/// A host configuration with a ledger, in a folder.
fn host_config(folder: &Path, more: &str) -> PathBuf {
    std::fs::copy(guest("ledger"), folder.join("ledger.wasm")).unwrap();
    let file = folder.join("host.toml");
    let text = format!(
        "[provided.ledger]\nsource = \"ledger.wasm\"\nkeyvalue = [\"ledger\"]\n{more}\n[keyvalue.ledger]\n[stores]\nbackends = [\"memory\"]\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

fn user() -> tempfile::TempDir {
    let source = guest("ledger-user");
    manifest(&format!(
        "name = 'shop'\n[components.web]\nsource = '{}'\nkeyvalue = ['own']\n[keyvalue.own]\nbackend = 'memory'\n",
        source.display()
    ))
}

fn plan(manifest: &tempfile::TempDir, config: &Path) -> std::process::Output {
    let (manifest, config) = (manifest.path().to_str().unwrap(), config.to_str().unwrap());
    run(&["plan", manifest, "--host-config", config])
}

#[test]
fn plan_shows_what_the_host_provides_and_not_what_it_grants() {
    let (folder, user) = (tempfile::tempdir().unwrap(), user());
    let config = host_config(folder.path(), "");
    let planned = plan(&user, &config);
    let text = stdout(&planned);
    assert!(text.contains("wharf:stores/ledger ← host-ledger-for-web (by the host)"), "{text}{}", stderr(&planned));
    assert!(text.contains("granted: by the host"), "{text}");
    assert!(!text.contains("ledger (embedded)"), "{text}");
    let unprovided = run(&["plan", user.path().to_str().unwrap()]);
    assert_eq!(unprovided.status.code(), Some(4));
    assert!(stderr(&unprovided).contains("wharf:stores/ledger"), "{}", stderr(&unprovided));
}

#[test]
fn mistakes_have_their_place_in_the_host_configuration() {
    let (folder, user) = (tempfile::tempdir().unwrap(), user());
    for (more, place, message) in [
        ("sauce = 1", ":4:1:", "unknown key `sauce`"),
        ("limits = { memory = \"0\" }", ":4:", "memory"),
        ("secrets = [\"key\"]", ":4:", "unknown secret `key`"),
        ("[provided.gone]\nsource = \"gone.wasm\"", ":5:", "cannot load `gone`"),
    ] {
        let config = host_config(folder.path(), more);
        let planned = plan(&user, &config);
        let found = stderr(&planned);
        assert!(matches!(planned.status.code(), Some(3 | 4)), "{found}");
        assert!(found.contains(&format!("{}{place}", config.display())) && found.contains(message), "{found}");
    }
}
