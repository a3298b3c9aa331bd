//! `wharf up` with several manifests, and told to read them again.

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
async fn several_manifests_and_folders_of_them_are_served_together() {
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
    // The same name twice, and a route twice, are said before anything is served.
    manifest(&folder.path().join("four"), "one", "hello-p2");
    let refused = run(&["up", folder.path().to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("both declare `default/one`"), "{}", stderr(&refused));
}

#[tokio::test]
async fn a_hang_up_reads_the_manifests_again() {
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
    // On the same connection: no client has to connect again.
    let after = connection.ask(support::get("/one/")).await;
    assert_ne!(before.body(), after.body(), "the new version answers");
    assert_eq!(connection.ask(support::get("/new/")).await.status(), StatusCode::OK);
    assert_eq!(connection.ask(support::get("/gone/")).await.status(), StatusCode::NOT_FOUND);
    // What is wrong replaces nothing.
    std::fs::write(at("new").join("wharf.toml"), "name = 7").unwrap();
    server.signal("-HUP");
    server.wait_for("error:");
    assert_eq!(connection.ask(support::get("/new/")).await.status(), StatusCode::OK);
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[tokio::test]
async fn limits_and_modes_are_given_on_the_command_line() {
    let server = Server::serve("abuse-p2", &["--reuse", "2", "--limit", "time=200ms", "--limit", "memory=16MiB"]);
    let mut connection = server.connect().await;
    let mut counts = Vec::new();
    for _ in 0..20 {
        let response = connection.ask(support::get("/count")).await;
        counts.push(support::text(&response).to_owned());
    }
    // An instance serves two; the next call may come a moment before it is back.
    assert!(counts.contains(&"2".to_owned()), "{counts:?}");
    assert!(counts.iter().all(|count| count == "1" || count == "2"), "{counts:?}");
    assert_eq!(connection.ask(support::get("/spin")).await.status(), StatusCode::GATEWAY_TIMEOUT);
    let guest = guest("abuse-p2");
    for (limit, says) in [("time=5", "100ms or 2s"), ("size=1", "there is no such limit"), ("files=many", "a number")] {
        let refused = run(&["serve", guest.to_str().unwrap(), "--limit", limit]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains(says), "{}", stderr(&refused));
    }
}
