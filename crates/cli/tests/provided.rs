//! `[provided.<name>]` of the host's configuration.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use support::{Server, manifest, root, run, stderr, stdout, text, wharf};

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

/// Asks a component what it can reach: the workload's own for `/mine`, the host's for `/theirs`.
async fn ask(server: &Server, who: &str, question: &str) -> String {
    let request = http::Request::get(who).header("host", "a").header("ask", question);
    let response = server.ask(request.body(http_body_util::Full::default()).unwrap()).await;
    assert_eq!(response.status(), 200, "{question}: {}", text(&response));
    text(&response).to_owned()
}

#[tokio::test]
async fn a_workload_reaches_nothing_of_what_a_provided_component_was_granted() {
    let folder = tempfile::tempdir().unwrap();
    let own = |name: &str| support::guest(name).display().to_string();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/who"), "the host").unwrap();
    let config = folder.path().join("host.toml");
    let text = format!(
        "[provided.inspector]\nsource = '{}'\nenv = {{ WHO = 'host' }}\nargs = ['of', 'host']\nconfig = {{ who = 'host' }}\n\
         volumes = [{{ volume = 'data', guest = '/data', access = 'read' }}]\n[volumes.data]\nhost = 'data'\n\
         [provided.counter]\nsource = '{}'\nservice = true\n",
        own("inspector-p2"),
        own("service-p2"),
    );
    std::fs::write(&config, text).unwrap();
    let app = manifest(&format!(
        "name = 'a'\n[components.front]\nsource = '{}'\n[[triggers.http]]\ncomponent = 'front'\n",
        own("front-p2")
    ));
    let mut command = wharf();
    command.arg("up").arg(app.path()).args(["--listen", "127.0.0.1:0", "--host-config"]).arg(&config);
    let mut server = Server::start(command);
    for (question, theirs, mine) in [
        ("env WHO", "host", "none of 0"),
        ("args", "inspector of host", "front"),
        ("config who", "Ok(Some(\"host\"))", "Ok(None)"),
        ("read /data/who", "the host", "no volume of 0"),
        // The service of the host's workload listens on a loopback of its own.
        ("connect 127.0.0.1:7000", "connected", "connection-refused"),
    ] {
        assert_eq!(ask(&server, "/theirs", question).await, theirs, "{question}");
        let answer = ask(&server, "/mine", question).await;
        assert!(answer == mine || (mine == "connection-refused" && answer.contains(mine)), "{question}: {answer}");
    }
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
}
