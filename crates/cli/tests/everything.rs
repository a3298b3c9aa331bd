//! One component that exports HTTP, a command and message handlers: triggers say which are called, and as a service it is one instance.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use support::{PATIENCE, Server, manifest, root, stdout, text, wharf};

fn app(component: &str) -> tempfile::TempDir {
    let source = root().join("guests/stores/prebuilt/everything.wasm");
    manifest(&format!(
        "name = 'a'\n[components.it]\nsource = '{}'\nmessaging = ['bus']\n{component}\n[messaging.bus]\n\
         [[triggers.http]]\ncomponent = 'it'\n[[triggers.message]]\ncomponent = 'it'\nmessaging = 'bus'\nsubject = 'events.*'\n",
        source.display()
    ))
}

/// Asks until the answer is this.
async fn wait_for(server: &Server, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let response = server.get("/").await;
        if text(&response) == expected {
            return;
        }
        assert!(Instant::now() < deadline, "expected `{expected}`, found `{}`", text(&response));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_service_is_one_instance_for_all_that_calls_it() {
    let app = app("service = true");
    let server = Server::up(app.path());
    wait_for(&server, "run 1 old 0 new 0").await;
    for _ in 0..3 {
        assert_eq!(text(&server.get("/events.a").await), "sent");
    }
    // The newer one of two handlers is called.
    wait_for(&server, "run 1 old 0 new 3").await;
    assert_eq!(text(&server.get("/other.a").await), "sent");
    wait_for(&server, "run 1 old 0 new 3").await;
}

#[tokio::test]
async fn without_a_service_each_call_has_an_instance_of_its_own() {
    let app = app("");
    let server = Server::up(app.path());
    assert_eq!(text(&server.get("/events.a").await), "sent");
    wait_for(&server, "run 0 old 0 new 0").await;
    let mut plan = wharf();
    let plan = plan.arg("plan").arg(app.path()).output().unwrap();
    assert!(stdout(&plan).contains("unit of it (http /..., message events.* of bus)"), "{}", stdout(&plan));
}
