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
