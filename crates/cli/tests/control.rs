//! A host that can be talked to: `wharf up --control`, the commands with `--host`, and the client of `wharf-api`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use support::{PATIENCE, Server, guest, stderr, stdout, wharf};
use tempfile::TempDir;
use wharf::api::{CallFormat, CallRequest, ErrorCode, HostApi, State};
use wharf::workload::manifest::{Component, Digest, Source};
use wharf::workload::{Name, Workload};
use wharf_api::Client;

/// A host with a control socket in a folder.
struct Controlled {
    server: Server,
    folder: TempDir,
}

impl Controlled {
    fn start(folder: TempDir, args: &[&str]) -> Self {
        let mut command = wharf();
        command.arg("up").args(["--listen", "127.0.0.1:0", "--control"]).arg(folder.path().join("api.sock")).args(args);
        let mut server = Server::start(command);
        server.wait_for("Host API on");
        Self { server, folder }
    }

    fn new() -> Self {
        Self::start(TempDir::new().unwrap(), &[])
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    fn run(&self, args: &[&str]) -> Output {
        wharf().args(args).env("WHARF_HOST", self.socket()).output().unwrap()
    }

    fn good(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    fn client(&self) -> Client {
        Client::unix(self.socket())
    }

    /// Sends bytes to the socket, and reads what comes until the end.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The host may close before it has read everything.
        stream.write_all(bytes).ok();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).ok();
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A manifest of one fixture in a folder of its own.
fn project(folder: &Path, name: &str, component: &str, more: &str) -> String {
    let project = folder.join(name);
    std::fs::create_dir_all(&project).unwrap();
    std::fs::copy(guest(component), project.join("c.wasm")).unwrap();
    let text = format!("name = \"{name}\"\nversion = \"1.0.0\"\n[components.c]\nsource = \"c.wasm\"\n{more}");
    std::fs::write(project.join("wharf.toml"), text).unwrap();
    project.display().to_string()
}

const ROUTE: &str = "[[triggers.http]]\ncomponent = \"c\"\n";

#[tokio::test]
async fn workloads_are_started_updated_called_and_stopped_from_the_command_line() {
    let host = Controlled::new();
    assert_eq!(std::fs::metadata(host.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(host.good(&["ps"]).lines().count(), 1, "an empty host");
    let math = project(host.folder.path(), "math", "adder", "");
    let web = project(host.folder.path(), "web", "hello-p3", ROUTE);
    let started = host.good(&["start", &math, &web]);
    assert!(started.contains("default/math 1.0.0 running") && started.contains("default/web"), "{started}");
    let listed = host.good(&["ps"]);
    assert!(listed.contains("default/math") && listed.contains("default/web"), "{listed}");
    assert_eq!(host.server.get("/").await.status(), 200);
    assert_eq!(host.good(&["call", "math", "add(2, 3)"]), "5\n");
    let greeted = host.good(&["call", "default/math", "wharf:fixture/math#greet(\"you\")", "-o", "json"]);
    assert_eq!(greeted, "\"you!\"\n");
    let again = host.run(&["start", &math]);
    assert_eq!(again.status.code(), Some(4));
    assert!(stderr(&again).contains("already running"), "{}", stderr(&again));
    assert_eq!(stderr(&again).matches("already running").count(), 1, "{}", stderr(&again));
    std::fs::copy(guest("hello-p2"), Path::new(&web).join("c.wasm")).unwrap();
    host.good(&["update", &web]);
    let status: serde_json::Value = serde_json::from_str(&host.good(&["status", "web", "--json"])).unwrap();
    assert_eq!((status["state"].as_str(), status["id"].as_str()), (Some("running"), Some("default/web")));
    host.good(&["stop", "web", "math"]);
    assert_eq!(host.server.get("/").await.status(), 404);
    for args in [&["stop", "web"][..], &["status", "web"], &["logs", "web"], &["call", "web", "f()"]] {
        let gone = host.run(args);
        assert_eq!(gone.status.code(), Some(4), "{args:?}");
        assert!(stderr(&gone).contains("no workload `default/web` is on this host"), "{}", stderr(&gone));
    }
}

#[tokio::test]
async fn what_does_not_start_is_explained_with_its_place() {
    let host = Controlled::new();
    let broken = project(host.folder.path(), "broken", "front-p3", "");
    let refused = host.run(&["start", &broken]);
    assert_eq!(refused.status.code(), Some(4));
    let text = stderr(&refused);
    assert!(text.contains("wharf.toml:") && text.contains("wharf:fixture/inspect-async"), "{text}");
    assert_eq!(host.good(&["ps"]).lines().count(), 1, "nothing is left of it");
    let nowhere = wharf().args(["ps", "--host", "/nowhere/wharf.sock"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(6));
    assert!(stderr(&nowhere).contains("cannot connect to `unix:/nowhere/wharf.sock`"), "{}", stderr(&nowhere));
    let unnamed = wharf().arg("ps").env_remove("WHARF_HOST").output().unwrap();
    assert_eq!(unnamed.status.code(), Some(2));
}

#[tokio::test]
async fn workloads_of_the_state_folder_come_back_after_a_kill() {
    let folder = TempDir::new().unwrap();
    let state = folder.path().join("state").display().to_string();
    let mut host = Controlled::start(folder, &["--state", &state]);
    let web = project(host.folder.path(), "web", "hello-p3", ROUTE);
    let math = project(host.folder.path(), "math", "adder", "");
    host.good(&["start", &web, &math]);
    host.good(&["stop", "math"]);
    // A second host cannot use the folder.
    let mut second = wharf();
    second
        .args(["up", "--listen", "127.0.0.1:0", "--state", &state, "--control"])
        .arg(host.folder.path().join("b.sock"));
    let second = second.output().unwrap();
    assert_eq!(second.status.code(), Some(6));
    assert!(stderr(&second).contains("another host uses"), "{}", stderr(&second));
    host.server.signal("-KILL");
    host.server.exit_code();
    // Its sources are not needed any more.
    std::fs::remove_dir_all(&web).unwrap();
    let mut host = Controlled::start(host.folder, &["--state", &state]);
    host.server.wait_for("1 workloads of the state folder run again");
    assert_eq!(host.server.get("/").await.status(), 200);
    assert_eq!(host.client().workload_list(None, None).await.unwrap().workloads.len(), 1);
    // A damaged file is one workload's, and says so.
    host.server.signal("-TERM");
    assert_eq!(host.server.exit_code(), Some(0));
    assert!(!host.socket().exists(), "a host that ends removes its socket");
    std::fs::write(Path::new(&state).join("host/workloads/default/torn.json"), "{\"name\": \"to").unwrap();
    let mut host = Controlled::start(host.folder, &["--state", &state]);
    host.server.wait_for("torn.json");
    assert_eq!(host.client().workload_list(None, None).await.unwrap().workloads.len(), 1);
}

#[tokio::test]
async fn a_program_cannot_tell_a_remote_host_from_its_own() {
    let engine = wharf::Engine::builder().pooling(false).build().unwrap();
    let own = wharf::Host::builder(engine).plugin(wharf_logging::LoggingPlugin).build().unwrap();
    behaves(&own).await;
    behaves(&Controlled::new().client()).await;
}

async fn behaves(host: &dyn HostApi) {
    let workload = |text: &str, guest: &str| {
        Workload::new(name(text)).with_component(name("c"), Component::from_path(support::guest(guest)))
    };
    let id = "default/math";
    assert_eq!(host.workload_start(workload("math", "adder")).await.unwrap().state, State::Running);
    assert_eq!(host.workload_start(workload("math", "adder")).await.unwrap_err().code, ErrorCode::AlreadyRunning);
    assert_eq!(host.workload_update(workload("other", "adder")).await.unwrap_err().code, ErrorCode::NotRunning);
    assert_eq!(host.workload_start(workload("bad", "front-p3")).await.unwrap_err().code, ErrorCode::Invalid);
    let call = |text: &str, format| CallRequest { component: None, call: text.to_owned(), format };
    let add = host.call(id, call("wharf:fixture/math#add(40, 2)", CallFormat::Json)).await.unwrap();
    assert_eq!(add.results, ["42"]);
    for (text, code) in [
        ("nope()", ErrorCode::NotFound),
        ("add(1)", ErrorCode::CallFailed),
        ("add(1, \"x\")", ErrorCode::CallFailed),
        ("add(1, 99999999999)", ErrorCode::CallFailed),
        ("add(", ErrorCode::CallFailed),
        ("", ErrorCode::CallFailed),
    ] {
        assert_eq!(host.call(id, call(text, CallFormat::Wave)).await.unwrap_err().code, code, "{text}");
    }
    for i in 0..7 {
        host.workload_start(workload(&format!("more{i}"), "adder")).await.unwrap();
    }
    let (mut after, mut ids) = (None, Vec::new());
    loop {
        let page = host.workload_list(after.as_deref(), Some(3)).await.unwrap();
        assert!(page.workloads.len() <= 3);
        ids.extend(page.workloads.into_iter().map(|workload| workload.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(ids.len(), 8);
    assert!(ids.is_sorted(), "{ids:?}");
    assert_eq!(host.heartbeat().await.unwrap().workloads.len(), 8);
    // A reader that waits learns of a line, and of the end.
    host.workload_start(workload("talks", "command-p2")).await.unwrap();
    let page = host.workload_logs("default/talks", 0, Duration::ZERO).await.unwrap();
    assert_eq!((page.lines.len(), page.next), (0, 0));
    host.call("default/talks", call("run()", CallFormat::Wave)).await.ok();
    let page = host.workload_logs("default/talks", 0, PATIENCE).await.unwrap();
    assert_eq!((page.lines[0].number, page.lines[0].component.as_str()), (0, "c"));
    let next = page.next;
    let (waited, stopped) = tokio::join!(host.workload_logs("default/talks", next, PATIENCE), async {
        tokio::task::yield_now().await;
        host.workload_stop("default/talks").await
    });
    assert_eq!(stopped.unwrap().state, State::Stopped);
    assert_eq!(waited.unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn garbage_is_refused_and_leaves_the_host_as_it_was() {
    let host = Controlled::new();
    assert_eq!(host.raw(b""), "");
    let status = |request: &[u8]| host.raw(request).lines().next().unwrap_or_default().to_owned();
    assert!(status(b"\x16\x03\x01garbage\r\n\r\n").contains("400"));
    let request = |line: &str, body: &str| {
        let length = body.len();
        format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let ask = |line: &str, body: &str| host.raw(request(line, body).as_bytes());
    assert!(ask("GET /v2/heartbeat", "").contains("version `2` of the API is not supported"));
    assert!(ask("GET /v1/nothing", "").contains("the API has no operation"));
    assert!(ask("GET /v1/workloads?limit=x", "").contains("`limit=x`: expected a number"));
    assert!(ask("POST /v1/workloads", "{").contains("the request does not parse"));
    assert!(ask("POST /v1/workloads", "{\"name\": \"a\"}").contains("missing required key `components`"));
    let unknown = "{\"name\": \"a\", \"nonsense\": {\"x\": 1}, \"components\": {}}";
    assert!(ask("POST /v1/workloads", unknown).contains("nonsense"), "{}", ask("POST /v1/workloads", unknown));
    let file = "{\"name\": \"a\", \"components\": {\"c\": {\"source\": \"/etc/passwd\"}}}";
    assert!(ask("POST /v1/workloads", file).contains("the source of `c` is a file"));
    let missing = format!("{{\"name\": \"a\", \"components\": {{\"c\": {{\"source\": \"{}\"}}}}}}", Digest::of(b"x"));
    assert!(ask("POST /v1/workloads", &missing).contains("does not have the bytes"));
    assert!(
        ask("PUT /v1/workloads/default/b", "{\"name\": \"a\", \"components\": {}}")
            .contains("the workload's id is `default/a`")
    );
    assert!(ask(&format!("PUT /v1/blobs/{}", Digest::of(b"x")), "y").contains("the bytes have the digest"));
    assert!(ask("PUT /v1/blobs/../../etc", "y").contains("no operation"));
    assert!(ask("PUT /v1/blobs/sha256:zz", "y").contains("invalid"));
    let huge = "POST /v1/workloads HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 104857600\r\n\r\n";
    assert!(host.raw(huge.as_bytes()).contains("limit reached: request body"));
    // A client that goes away in the middle of a frame.
    drop(UnixStream::connect(host.socket()).and_then(|mut stream| stream.write_all(&huge.as_bytes()[..60])));
    assert_eq!(host.good(&["ps"]).lines().count(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_a_start_whole() {
    let host = Controlled::new();
    let client = host.client();
    let component = Component::from_path(guest("hello-p3"));
    let workload = |i: u32| Workload::new(name(&format!("w{i}"))).with_component(name("c"), component.clone());
    for i in 0..20 {
        let timeout = Duration::from_micros(u64::from(i) * 700);
        tokio::time::timeout(timeout, client.workload_start(workload(i))).await.ok();
    }
    for i in 0..20 {
        match client.workload_start(workload(i)).await {
            Ok(status) => assert_eq!(status.state, State::Running),
            Err(error) => assert_eq!(error.code, ErrorCode::AlreadyRunning, "{error}"),
        }
        let stopped = client.workload_stop(&format!("default/w{i}")).await.unwrap();
        assert_eq!(stopped.state, State::Stopped);
    }
}

#[tokio::test]
async fn many_clients_at_once_are_all_answered() {
    let host = Controlled::new();
    let client = host.client();
    client
        .workload_start(Workload::new(name("math")).with_component(name("c"), Component::from_path(guest("adder"))))
        .await
        .unwrap();
    let asking = (0..2000).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.workload_status("default/math").await })
    });
    let mut answered = 0;
    for asked in asking.collect::<Vec<_>>() {
        match asked.await.unwrap() {
            Ok(_) => answered += 1,
            // More than the system queues for the socket.
            Err(error) => assert!(matches!(error.code, ErrorCode::Transport | ErrorCode::Busy), "{error}"),
        }
    }
    assert!(answered > 500, "{answered}");
    assert_eq!(client.workload_status("default/math").await.unwrap().state, State::Running);
}

#[tokio::test]
async fn tcp_needs_certificates_of_the_authority_on_both_sides() {
    let folder = TempDir::new().unwrap();
    let write = |file: &str, text: String| std::fs::write(folder.path().join(file), text).unwrap();
    let certificate = |who: &str, expired: bool| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, who);
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        write(&format!("{who}.pem"), params.self_signed(&key).unwrap().pem());
        write(&format!("{who}.key"), key.serialize_pem());
    };
    certificate("server", false);
    certificate("client", false);
    certificate("stranger", false);
    certificate("old", true);
    let pem = |file: &str| folder.path().join(file).display().to_string();
    let authority = ["client.pem", "old.pem"].map(|file| std::fs::read_to_string(pem(file)).unwrap()).concat();
    write("ca.pem", authority);
    let mut command = wharf();
    command.args(["up", "--listen", "127.0.0.1:0", "--control", "tcp:127.0.0.1:0"]);
    let without = wharf().args(["up", "--listen", "127.0.0.1:0", "--control", "tcp:127.0.0.1:0"]).output().unwrap();
    assert_eq!(without.status.code(), Some(2));
    assert!(stderr(&without).contains("needs mutual TLS"), "{}", stderr(&without));
    command.args(["--control-cert", &pem("server.pem"), "--control-key", &pem("server.key")]);
    command.args(["--control-ca", &pem("ca.pem")]);
    let mut server = Server::start(command);
    let line = server.wait_for("Host API on tcp:");
    let address = line.split(" on ").nth(1).unwrap().trim().to_owned();
    let ps = |who: &str, authority: &str| {
        let mut command = wharf();
        command.args(["ps", "--host", &address, "--host-cert", &pem(&format!("{who}.pem"))]);
        command.args(["--host-key", &pem(&format!("{who}.key")), "--host-ca", &pem(authority)]);
        command.output().unwrap()
    };
    let good = ps("client", "server.pem");
    assert!(good.status.success(), "{}", stderr(&good));
    for (who, authority) in [("stranger", "server.pem"), ("old", "server.pem"), ("client", "stranger.pem")] {
        let refused = ps(who, authority);
        assert_eq!(refused.status.code(), Some(6), "{who}: {}", stderr(&refused));
        let why = ["UnknownCA", "UnknownIssuer", "CertificateExpired"];
        assert!(why.iter().any(|why| stderr(&refused).contains(why)), "{who}: {}", stderr(&refused));
    }
    let plain = wharf().args(["ps", "--host", &address]).output().unwrap();
    assert_eq!(plain.status.code(), Some(2));
}

#[tokio::test]
async fn a_reload_keeps_what_came_through_the_socket() {
    let folder = TempDir::new().unwrap();
    let web = project(folder.path(), "web", "hello-p3", ROUTE);
    let math = project(folder.path(), "math", "adder", "");
    let mut host = Controlled::start(folder, &[&web]);
    host.good(&["start", &math]);
    std::fs::copy(guest("hello-p2"), Path::new(&web).join("c.wasm")).unwrap();
    host.server.signal("-HUP");
    host.server.wait_for("Reloaded");
    assert_eq!(host.good(&["call", "math", "add(1, 1)"]), "2\n");
}

#[test]
fn logs_are_followed_until_the_workload_stops() {
    let host = Controlled::new();
    let talks = project(host.folder.path(), "talks", "command-p2", "");
    host.good(&["start", &talks]);
    let mut follow = wharf();
    follow.args(["logs", "talks", "--follow", "--json"]).env("WHARF_HOST", host.socket());
    let child = follow.stdout(Stdio::piped()).spawn().unwrap();
    host.run(&["call", "talks", "run()"]);
    host.good(&["stop", "talks"]);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let first = stdout(&output).lines().next().map(str::to_owned);
    if let Some(first) = first {
        let line: serde_json::Value = serde_json::from_str(&first).unwrap();
        assert_eq!(line["component"], "c");
    }
}

#[tokio::test]
async fn metrics_count_what_happens() {
    let folder = TempDir::new().unwrap();
    let web = project(folder.path(), "web", "hello-p3", ROUTE);
    let bad = project(folder.path(), "bad", "traps", "[[triggers.http]]\ncomponent = \"c\"\npath = \"/trap\"\n");
    let mut host = Controlled::start(folder, &[&web, &bad, "--metrics", "127.0.0.1:0"]);
    let line = host.server.wait_for("Metrics on");
    let address = line.split("http://").nth(1).unwrap().trim_end_matches("/metrics").to_owned();
    for _ in 0..3 {
        assert_eq!(host.server.get("/").await.status(), 200);
    }
    assert_eq!(host.server.get("/trap").await.status(), 502);
    host.server.address = address;
    for path in ["/livez", "/readyz"] {
        assert_eq!(host.server.get(path).await.status(), 200, "{path}");
    }
    let metrics = host.server.get("/metrics").await.into_body();
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    for line in [
        "wharf_calls_total{workload=\"default/web\",component=\"c\",outcome=\"ok\"} 3",
        "wharf_calls_total{workload=\"default/bad\",component=\"c\",outcome=\"failed\"} 1",
        "http_server_request_duration_seconds_count{workload=\"default/web\",component=\"c\",http_response_status_code=\"200\"} 3",
        "http_server_request_duration_seconds_bucket{workload=\"default/web\",component=\"c\",http_response_status_code=\"200\",le=\"+Inf\"} 3",
        "http_server_request_duration_seconds_count{workload=\"default/bad\",component=\"c\",http_response_status_code=\"502\"} 1",
        "wharf_workloads{state=\"running\"} 2",
        "# TYPE http_server_request_duration_seconds histogram",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    let cpu =
        metrics.lines().find(|line| line.starts_with("wharf_cpu_seconds_total{workload=\"default/web\"")).unwrap();
    assert!(cpu.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 0.0, "{cpu}");
    // The API is not there.
    assert_eq!(host.server.get("/v1/heartbeat").await.status(), 404);
    assert!(host.raw(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").contains("wharf_calls_total"));
}

#[test]
fn a_source_that_is_uploaded_is_a_digest() {
    let workload = Workload::new(name("w")).with_component(name("c"), Component::from_bytes(*b"x"));
    let wire: Workload = serde_json::from_str(&serde_json::to_string(&workload).unwrap()).unwrap();
    assert!(matches!(wire.components["c"].source, Source::Digest(_)));
}
