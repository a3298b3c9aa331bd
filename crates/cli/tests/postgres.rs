//! `examples/postgres` with a real server: a component with its own client library and a grant for one address.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use support::postgres::Postgres;
use support::{Server, manifest, root, text};

/// Serves the example's component with this database and this grant.
fn notes(url: &str, host: &str) -> Server {
    let component = root().join("examples/postgres/components/postgres-notes.wasm");
    let text = format!(
        "name = 'notes'\n[components.notes]\nsource = '{}'\nenv = {{ DATABASE_URL = '{url}' }}\nhosts = ['{host}']\n\
         limits = {{ concurrency = 64, time = '20s' }}\n[[triggers.http]]\ncomponent = 'notes'\n",
        component.display()
    );
    Server::up(manifest(&text).path())
}

async fn ask(server: &Server, method: &str, path: &str, body: &str) -> Response<Bytes> {
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    server.ask(request.body(Full::from(body.to_owned())).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_keeps_notes_in_a_real_database() {
    let mut database = Postgres::start();
    let granted = format!("tcp://127.0.0.1:{}", database.port());
    let server = notes(&database.url(), &granted);
    assert_eq!(text(&ask(&server, "GET", "/notes", "").await).trim(), "[]");
    let injection = "'); DROP TABLE notes; --";
    for note in ["buy milk", injection] {
        let added = ask(&server, "POST", "/notes", note).await;
        assert_eq!(added.status(), 201, "{}", text(&added));
    }
    let listed = ask(&server, "GET", "/notes", "").await;
    let listed: serde_json::Value = serde_json::from_slice(listed.body()).unwrap();
    assert_eq!((listed[0]["text"].as_str(), listed[1]["text"].as_str()), (Some("buy milk"), Some(injection)));
    assert!(database.query("SELECT text FROM notes ORDER BY id LIMIT 1").contains("buy milk"));
    let id = listed[1]["id"].as_u64().unwrap();
    assert!(ask(&server, "DELETE", &format!("/notes/{id}"), "").await.status().is_success());
    assert_eq!(ask(&server, "POST", "/notes", "").await.status(), 400);

    let at_once = futures_util::future::join_all((0..40).map(|n| {
        let server = &server;
        async move { ask(server, "POST", "/notes", &format!("note {n}")).await.status() }
    }));
    assert!(at_once.await.iter().all(|status| *status == 201));
    assert_eq!(database.query("SELECT count(*) FROM notes").trim(), "41");

    database.stop();
    assert_eq!(ask(&server, "GET", "/notes", "").await.status(), 503);
    database.restart();
    assert_eq!(ask(&server, "GET", "/notes", "").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_missing_grant_result_in_errors() {
    let database = Postgres::start();
    let granted = format!("tcp://127.0.0.1:{}", database.port());
    let server = notes(&database.url_with("wrong"), &granted);
    assert_eq!(ask(&server, "GET", "/notes", "").await.status(), 500);
    let server = notes(&database.url(), "tcp://127.0.0.1:1");
    assert_eq!(ask(&server, "GET", "/notes", "").await.status(), 503);
}
