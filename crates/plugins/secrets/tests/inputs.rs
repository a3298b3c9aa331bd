//! Labels, secrets and configuration: each component has its own, through whichever import it asks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ffi::OsString;
use std::path::Path;

use wharf::wasmtime::component::Val;
use wharf::workload::manifest::{Format, parse_with};
use wharf::workload::{Problem, Workload};
use wharf::{Engine, Host};
use wharf_config::ConfigPlugin;
use wharf_keyvalue::KeyValuePlugin;
use wharf_secrets::SecretsPlugin;
use wharf_stores::{Environment, Policy};

/// The host's environment.
struct Variables;

const VARIABLES: [(&str, &str); 3] = [("KEY_TWO", "hunter2"), ("APP_MODE", "fast"), ("APP_LEVEL", "3")];

impl Environment for Variables {
    fn variable(&self, name: &str) -> Option<OsString> {
        VARIABLES.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    }

    fn variables(&self) -> Vec<(String, String)> {
        VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }
}

const MANIFEST: &str = "
    name = 'w'
    [components.one]
    source = 'GUEST'
    keyvalue = { left = 'a' }
    secrets = { api-key = 'key-one' }
    config = { from = 'manifest' }
    config-from = [{ file = 'config.toml' }, { dotenv = 'config.env' }, { env = ['APP_*'] }]
    [components.two]
    source = 'GUEST'
    secrets = { api-key = 'key-two', other = 'key-one' }
    [keyvalue.a]
    backend = 'memory'
    [keyvalue.b]
    backend = 'memory'
    [secrets.key-one]
    file = 'key'
    [secrets.key-two]
    env = 'KEY_TWO'
    [[links]]
    from = 'one'
    import = 'sessions'
    to = 'keyvalue:a'
    [[links]]
    from = 'one'
    import = 'cache'
    to = 'keyvalue:b'
    [[links]]
    from = 'two'
    import = 'sessions'
    to = 'keyvalue:b'
    [[links]]
    from = 'two'
    import = 'cache'
    to = 'keyvalue:b'
";

fn host(policy: &Policy) -> Host {
    Host::builder(Engine::builder().pooling(false).build().unwrap())
        .plugin(KeyValuePlugin::new(policy.clone()))
        .plugin(SecretsPlugin::new(policy))
        .plugin(ConfigPlugin::new(policy))
        .build()
        .unwrap()
}

fn workload(host: &Host, folder: &Path, manifest: &str) -> Workload {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../guests/stores/prebuilt/labels.wasm");
    let parsed = parse_with(&manifest.replace("GUEST", guest.to_str().unwrap()), Format::Toml, host.extensions());
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    parsed.workload.unwrap().under_with(folder, host.extensions())
}

fn files(folder: &Path) {
    std::fs::write(folder.join("key"), "sesame\n").unwrap();
    std::fs::write(folder.join("config.toml"), "from = 'file'\n[db]\nport = 5432\n").unwrap();
    std::fs::write(folder.join("config.env"), "from=dotenv\nNAME=\"a b\"\n").unwrap();
}

async fn check(host: &Host, component: &str, script: &str) {
    let lines: Vec<_> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let (asked, expected): (Vec<_>, Vec<_>) = lines.iter().map(|line| line.split_once(" => ").unwrap()).unzip();
    let arguments = [Val::String(asked.join("\n"))];
    let called = host.call_values("default/w", component, "wharf:stores/script#run", &arguments).await.unwrap();
    let [Val::String(text)] = called.as_slice() else { panic!("{called:?}") };
    for ((asked, expected), found) in asked.iter().zip(&expected).zip(text.lines()) {
        assert_eq!(found, *expected, "{component}: {asked}");
    }
}

#[tokio::test]
async fn each_label_has_its_store_and_each_component_its_secrets_and_config() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let host = host(&Policy::open(Variables));
    host.workload_start(workload(&host, folder.path(), MANIFEST)).await.unwrap();
    check(
        &host,
        "one",
        "
        sessions set default k 1 => ok
        cache get default k => none
        cache set default k 2 => ok
        sessions get left k => 1
        sessions get a k => 1
        cache get b k => 2
        sessions count default n => 1
        cache count default n => 1
        sessions count default n => 2
        sessions get b k => Error::NoSuchStore
        cache get a k => Error::NoSuchStore
        cache get left k => Error::NoSuchStore
        cache list default => k,n
        api-key => sesame
        secret api-key => sesame
        secret key-one => SecretsError::NotFound
        secret key-two => SecretsError::NotFound
        secret ../key => SecretsError::NotFound
        config from => Ok(Some(\"manifest\"))
        config db.port => Ok(Some(\"5432\"))
        config NAME => Ok(Some(\"a b\"))
        config APP_LEVEL => Ok(Some(\"3\"))
        config KEY_TWO => Ok(None)
        ",
    )
    .await;
    check(
        &host,
        "two",
        "
        sessions get default k => 2
        sessions get a k => Error::NoSuchStore
        sessions get left k => Error::NoSuchStore
        api-key => hunter2
        secret other => sesame
        config from => Ok(None)
        config APP_LEVEL => Ok(None)
        ",
    )
    .await;
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| format!("{}: {problem}", problem.place())).collect()
}

#[tokio::test]
async fn mistakes_are_found_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let open = host(&Policy::open(Variables));
    let without = MANIFEST.replace("secrets = { api-key = 'key-two', other = 'key-one' }", "secrets = ['key-one']");
    let plan = open.plan(&workload(&open, folder.path(), &without)).await;
    let expected = "components.two: `two` imports the secret `api-key`, but is not granted it";
    assert!(shown(&plan.problems).iter().any(|problem| problem == expected), "{:?}", shown(&plan.problems));
    // A host for manifests of others reads no file and no variable.
    let closed = host(&Policy::default());
    let plan = closed.plan(&workload(&closed, folder.path(), MANIFEST)).await;
    let refused = shown(&plan.problems);
    for place in [
        "secrets.key-one.file",
        "secrets.key-two.env",
        "components.one.config-from.0.file",
        "components.one.config-from.2.env",
    ] {
        assert!(
            refused.iter().any(|problem| problem.starts_with(&format!("{place}: this host lets no"))),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_source_that_cannot_be_read_keeps_the_workload_from_starting_and_is_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(&Policy::open(Variables));
    let starts = async |manifest: &str| {
        let started = host.workload_start(workload(&host, folder.path(), manifest)).await;
        let error = started.expect_err("it does not start");
        (error.each()[0].place().unwrap_or_default(), error.to_string())
    };
    files(folder.path());
    for (file, content) in [("config.toml", "password = hunter2"), ("config.env", "hunter2 =\nhunter2")] {
        std::fs::write(folder.path().join(file), content).unwrap();
        let (place, error) = starts(MANIFEST).await;
        assert!(place.starts_with("components.one.config-from."), "{place}");
        assert!(error.contains(file) && !error.contains("hunter2"), "{error}");
        files(folder.path());
    }
    std::fs::remove_file(folder.path().join("key")).unwrap();
    assert_eq!(starts(MANIFEST).await.0, "secrets.key-one.file");
    assert_eq!(starts(&MANIFEST.replace("KEY_TWO", "KEY_THREE")).await.0, "secrets.key-one.file");
    // What blocks or never ends is refused at once.
    files(folder.path());
    for special in ["/dev/zero", "/dev/stdin", "/"] {
        let (place, error) = starts(&MANIFEST.replace("file = 'key'", &format!("file = '{special}'"))).await;
        assert_eq!(place, "secrets.key-one.file", "{error}");
        assert!(error.contains("not a regular file"), "{error}");
    }
    std::fs::write(folder.path().join("key"), vec![b'x'; 70_000]).unwrap();
    let (_, error) = starts(MANIFEST).await;
    assert!(error.contains("exceeds 65536 bytes"), "{error}");
}
