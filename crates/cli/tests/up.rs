//! `wharf up` with several manifests, and its reload at SIGHUP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use http::StatusCode;
use support::{Server, guest, run, stderr, wharf};

fn manifest(folder: &Path, name: &str, component: &str) {
    let text = format!(
        "name = '{name}'\n[components.it]\nsource = '{}'\n[[triggers.http]]\ncomponent = 'it'\npath = '/{name}/...'\n",
        guest(component).display()
    );
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("wharf.toml"), text).unwrap();
}

fn up(paths: &[&Path]) -> Server {
    let mut command = wharf();
    command.arg("up").args(paths).args(["--listen", "127.0.0.1:0"]);
    Server::start(command)
}

#[tokio::test]
async fn up_serves_several_manifests_and_folders_of_manifests() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two", "three"] {
        manifest(&folder.path().join(name), name, "hello-p2");
    }
    for paths in [vec![folder.path()], vec![&*folder.path().join("one"), &*folder.path().join("three/wharf.toml")]] {
        let server = up(&paths);
        assert_eq!(server.get("/one/").await.status(), StatusCode::OK);
        assert_eq!(server.get("/three/").await.status(), StatusCode::OK);
        let two = if paths.len() == 1 { StatusCode::OK } else { StatusCode::NOT_FOUND };
        assert_eq!(server.get("/two/").await.status(), two);
    }
    // A duplicate workload name or route is reported before anything is served.
    manifest(&folder.path().join("four"), "one", "hello-p2");
    let rejected = run(&["up", folder.path().to_str().unwrap()]);
    assert_eq!(rejected.status.code(), Some(3), "{}", stderr(&rejected));
    assert!(stderr(&rejected).contains("workload `default/one` is declared in both"), "{}", stderr(&rejected));
}

#[tokio::test]
async fn sighup_reloads_the_manifests() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    manifest(&at("one"), "one", "hello-p2");
    manifest(&at("gone"), "gone", "hello-p2");
    let mut server = up(&[folder.path()]);
    let mut connection = server.connect().await;
    let before = connection.ask(support::get("/one/")).await;
    manifest(&at("one"), "one", "echo-p2");
    manifest(&at("new"), "new", "hello-p2");
    std::fs::remove_dir_all(at("gone")).unwrap();
    server.signal("-HUP");
    server.wait_for("Stopped");
    // The connection survives the reload.
    let after = connection.ask(support::get("/one/")).await;
    assert_ne!(before.body(), after.body(), "the new version responds");
    assert_eq!(connection.ask(support::get("/new/")).await.status(), StatusCode::OK);
    assert_eq!(connection.ask(support::get("/gone/")).await.status(), StatusCode::NOT_FOUND);
    // An invalid manifest replaces nothing.
    std::fs::write(at("new").join("wharf.toml"), "name = 7").unwrap();
    server.signal("-HUP");
    server.wait_for("error:");
    assert_eq!(connection.ask(support::get("/new/")).await.status(), StatusCode::OK);
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[tokio::test]
async fn serve_applies_limits_and_instance_policy_of_the_command_line() {
    let server = Server::serve("abuse-p2", &["--reuse", "2", "--limit", "time=200ms", "--limit", "memory=16MiB"]);
    let mut connection = server.connect().await;
    let mut counts = Vec::new();
    for _ in 0..20 {
        let response = connection.ask(support::get("/count")).await;
        counts.push(support::text(&response).to_owned());
    }
    // An instance serves two calls. A call that arrives before the instance is back gets a new one.
    assert!(counts.contains(&"2".to_owned()), "{counts:?}");
    assert!(counts.iter().all(|count| count == "1" || count == "2"), "{counts:?}");
    assert_eq!(connection.ask(support::get("/spin")).await.status(), StatusCode::GATEWAY_TIMEOUT);
    let guest = guest("abuse-p2");
    for (limit, expected) in
        [("time=5", "such as `100ms`"), ("size=1", "unknown limit"), ("files=many", "expected an integer")]
    {
        let rejected = run(&["serve", guest.to_str().unwrap(), "--limit", limit]);
        assert_eq!(rejected.status.code(), Some(2));
        assert!(stderr(&rejected).contains(expected), "{}", stderr(&rejected));
    }
}

/// A workload with a service that counts lines, and a component that asks it.
fn counting(folder: &Path, name: &str, more: &str) {
    let text = format!(
        "name = '{name}'\n[components.counter]\nsource = '{}'\nservice = true\n{more}\n[components.client]\nsource = '{}'\n\
         [[triggers.http]]\ncomponent = 'client'\nhost = '{name}.test'\n",
        guest("service-p2").display(),
        guest("client-p2").display()
    );
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("wharf.toml"), text).unwrap();
}

async fn count(server: &Server, name: &str) -> String {
    let request = http::Request::get("/ask?line=a").header("host", format!("{name}.test"));
    let response = server.ask(request.body(http_body_util::Full::default()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK, "{}", support::text(&response));
    support::text(&response).trim().to_owned()
}

#[tokio::test]
async fn sighup_keeps_what_did_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    counting(&at("same"), "same", "");
    counting(&at("other"), "other", "");
    let mut server = up(&[folder.path()]);
    for name in ["same", "other"] {
        assert_eq!(count(&server, name).await, "service 1: a");
    }
    counting(&at("other"), "other", "env = { VERSION = '2' }");
    server.signal("-HUP");
    server.wait_for("Reloaded default/other");
    assert_eq!(count(&server, "same").await, "service 2: a", "the service goes on");
    assert_eq!(count(&server, "other").await, "service 1: a");
    // A component's bytes count, too.
    let copy = folder.path().join("client.wasm");
    std::fs::copy(guest("client-p2"), &copy).unwrap();
    manifest(&at("file"), "file", "hello-p2");
    let text = std::fs::read_to_string(at("file").join("wharf.toml")).unwrap();
    let text = text.replace(&guest("hello-p2").display().to_string(), &copy.display().to_string());
    std::fs::write(at("file").join("wharf.toml"), text).unwrap();
    server.signal("-HUP");
    server.wait_for("Reloaded default/file");
    assert_eq!(server.get("/file/").await.status(), StatusCode::NOT_FOUND, "as the client responds");
    std::fs::copy(guest("hello-p2"), &copy).unwrap();
    server.forget();
    server.signal("-HUP");
    server.wait_for("Reloaded default/file");
    assert_eq!(server.get("/file/").await.status(), StatusCode::OK);
    server.forget();
    server.signal("-HUP");
    server.wait_for("Nothing has changed");
    assert_eq!(count(&server, "same").await, "service 3: a");
}

#[tokio::test]
async fn up_says_what_calls_each_workload() {
    let folder = tempfile::tempdir().unwrap();
    counting(&folder.path().join("a"), "a", "");
    let quiet = format!("name = 'quiet'\n[components.it]\nsource = '{}'\n", guest("adder").display());
    std::fs::create_dir(folder.path().join("quiet")).unwrap();
    std::fs::write(folder.path().join("quiet/wharf.toml"), quiet).unwrap();
    let job = format!(
        "name = 'job'\n[components.it]\nsource = '{}'\n[[triggers.command]]\ncomponent = 'it'\n",
        guest("command-p2").display()
    );
    std::fs::create_dir(folder.path().join("job")).unwrap();
    std::fs::write(folder.path().join("job/wharf.toml"), job).unwrap();
    let mut server = up(&[folder.path()]);
    server.wait_for("a.test /... → client");
    server.wait_for("service counter of default/a");
    server.wait_for("command it of default/job");
    server.wait_for("nothing calls default/quiet: it has no trigger and no service");
}

/// A route that another workload has is the manifest's error, at its line.
#[test]
fn a_route_of_another_workload_is_rejected_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, triggers: &str| {
        let text = format!("name = '{name}'\n[components.it]\nsource = '{}'\n{triggers}", guest("hello-p2").display());
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("wharf.toml"), text).unwrap();
    };
    let route = |path: &str| format!("[[triggers.http]]\ncomponent = 'it'\npath = '{path}'\n");
    write("one", &format!("{}{}", route("/a"), route("/b")));
    write("two", &format!("{}{}{}", route("/c"), route("/a"), route("/b")));
    let rejected = run(&["up", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert_eq!(rejected.status.code(), Some(4), "{}", stderr(&rejected));
    let text = stderr(&rejected);
    // Whichever starts last is rejected, with both routes.
    assert_eq!(text.matches("duplicate route `/").count(), 2, "{text}");
    assert!(text.contains("wharf.toml:") && text.contains("hint: change the path or host of one of them"), "{text}");
}

#[test]
fn all_missing_folders_are_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "name = 'a'\n[volumes.x]\nhost = 'no-x'\n[volumes.y]\nhost = 'no-y'\n[components.it]\nsource = '{}'\n\
         volumes = [{{ volume = 'x', guest = '/x' }}, {{ volume = 'y', guest = '/y' }}]\n",
        guest("hello-p2").display()
    );
    std::fs::write(folder.path().join("wharf.toml"), text).unwrap();
    let rejected = run(&["up", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let text = stderr(&rejected);
    assert_eq!(rejected.status.code(), Some(6), "{text}");
    for place in
        ["wharf.toml:3:1: error: cannot open the volume `x`", "wharf.toml:5:1: error: cannot open the volume `y`"]
    {
        assert!(text.contains(place), "{text}");
    }
    assert!(text.contains("2 errors"), "{text}");
}
