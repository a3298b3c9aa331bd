//! Two components of one unit with different grants, in WASI 0.2 and 0.3: each has its own grants and no others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use support::names::Names;
use support::{Server, guest, manifest, text, wharf};

/// A server for a workload of two components: `front` handles the requests and calls `inspector`.
struct Pair {
    server: Server,
    folder: tempfile::TempDir,
}

impl Pair {
    fn up(generation: &str, front: &str, inspector: &str) -> Self {
        Self::by(wharf(), generation, front, inspector)
    }

    /// Serves with this command in place of the plain program.
    fn by(mut wharf: Command, generation: &str, front: &str, inspector: &str) -> Self {
        let guests = if generation == "p2" { ["front-p2", "inspector-p2"] } else { ["front-p3", "inspector-p3"] };
        let folder = manifest(&format!(
            r#"
            name = "pair"
            [components.front]
            source = "{}"
            {front}
            [components.inspector]
            source = "{}"
            {inspector}
            [volumes.ours]
            host = "ours"
            [volumes.theirs]
            host = "theirs"
            [volumes.scratch]
            ephemeral = true
            [[triggers.http]]
            component = "front"
            "#,
            guest(guests[0]).display(),
            guest(guests[1]).display(),
        ));
        for name in ["ours", "theirs"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("who"), name).unwrap();
        }
        wharf.arg("up").arg(folder.path()).args(["--listen", "127.0.0.1:0"]);
        Self { server: Server::start(wharf), folder }
    }

    /// Returns the answer of a component to a question: of `front` for `/mine`, of `inspector` for `/theirs`.
    async fn ask(&self, who: &str, question: &str) -> String {
        let request = Request::get(who).header("host", "a").header("ask", question);
        let response = self.server.ask(request.body(Full::<Bytes>::default()).unwrap()).await;
        assert_eq!(response.status(), 200, "{question}: {}", text(&response));
        text(&response).to_owned()
    }

    async fn both(&self, question: &str) -> [String; 2] {
        [self.ask("/mine", question).await, self.ask("/theirs", question).await]
    }
}

/// Whether an answer is the interface's error of this name. The bindings of WASI 0.2 and 0.3 print it differently.
fn is_error(answer: &str, error: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace('-', "");
    plain(answer).contains(&plain(error))
}

const GENERATIONS: [&str; 2] = ["p2", "p3"];

#[tokio::test]
async fn environment_arguments_and_output_are_separate() {
    for generation in GENERATIONS {
        let front = "env = { WHO = 'front', SECRET = 'x' }\nargs = ['one']";
        let mut pair = Pair::up(generation, front, "env = { WHO = 'inspector' }\nargs = ['two', 'three']");
        assert_eq!(pair.both("env WHO").await, ["front", "inspector"]);
        assert_eq!(pair.both("env SECRET").await, ["x", "none of 1"], "the sibling's is not visible");
        assert_eq!(pair.both("env PATH").await, ["none of 2", "none of 1"], "the host's is not visible");
        assert_eq!(pair.both("args").await, ["front one", "inspector two three"]);
        assert_eq!(pair.both("print hello there").await, ["printed", "printed"]);
        pair.server.wait_for("component=front");
        pair.server.wait_for("component=inspector");
    }
}

#[tokio::test]
async fn volumes_are_separate() {
    for generation in GENERATIONS {
        let front = r#"volumes = [{ volume = "ours", guest = "/data", access = "read-write" }]"#;
        let inspector = r#"volumes = [{ volume = "theirs", guest = "/data" }, { volume = "scratch", guest = "/tmp", access = "read-write" }]"#;
        let pair = Pair::up(generation, front, inspector);
        assert_eq!(pair.both("read /data/who").await, ["ours", "theirs"]);
        let [mine, theirs] = pair.both("write /data/new text").await;
        assert_eq!(mine, "written");
        assert!(is_error(&theirs, "not-permitted") || is_error(&theirs, "read-only"), "read only: {theirs}");
        assert_eq!(std::fs::read_to_string(pair.folder.path().join("ours/new")).unwrap(), "text");
        assert!(!pair.folder.path().join("theirs/new").exists());
        assert_eq!(pair.both("write /tmp/note kept").await, ["no volume of 1", "written"]);
        assert_eq!(pair.ask("/theirs", "read /tmp/note").await, "kept", "an ephemeral volume outlives a call");
        for way_out in ["../theirs/who", "../../etc/passwd", "/etc/passwd"] {
            let answer = pair.ask("/mine", &format!("read /data/{way_out}")).await;
            assert!(is_error(&answer, "not-permitted"), "{way_out}: {answer}");
        }
    }
}

#[tokio::test]
async fn without_grants_every_access_is_denied() {
    for generation in GENERATIONS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pair = Pair::up(generation, "", "");
        for who in ["/mine", "/theirs"] {
            assert_eq!(pair.ask(who, "env WHO").await, "none of 0");
            assert_eq!(pair.ask(who, "read /data/who").await, "no volume of 0");
            let refused = pair.ask(who, &format!("connect {address}")).await;
            assert!(is_error(&refused, "connection-refused"), "the loopback is the workload's own: {refused}");
            // An address reserved for documentation (RFC 5737), which no machine has.
            let refused = pair.ask(who, "connect 192.0.2.1:80").await;
            assert!(is_error(&refused, "access-denied"), "{refused}");
            assert!(is_error(&pair.ask(who, "lookup localhost").await, "permanent-resolver-failure"));
            let denied = pair.ask(who, &format!("http http://{address}/")).await;
            assert!(is_error(&denied, "http-request-denied"), "{denied}");
        }
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "there was no connection");
    }
}

#[tokio::test]
async fn hosts_allow_only_listed_addresses_to_their_component() {
    for generation in GENERATIONS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, other) = (listener.local_addr().unwrap().port(), other.local_addr().unwrap().port());
        let pair = Pair::up(generation, &format!("hosts = ['tcp://127.0.0.1:{port}']"), "");
        let [mine, theirs] = pair.both(&format!("connect 127.0.0.1:{port}")).await;
        assert_eq!(mine, "connected");
        assert!(is_error(&theirs, "connection-refused"), "{theirs}");
        let elsewhere = pair.ask("/mine", &format!("connect 127.0.0.1:{other}")).await;
        assert!(is_error(&elsewhere, "connection-refused"), "another port: {elsewhere}");
        let elsewhere = pair.ask("/mine", &format!("connect 127.0.0.2:{port}")).await;
        assert!(is_error(&elsewhere, "connection-refused"), "another address: {elsewhere}");
        let name = pair.ask("/mine", "lookup localhost").await;
        assert!(is_error(&name, "permanent-resolver-failure"), "a name that is not listed: {name}");
        let http = pair.ask("/mine", &format!("http http://127.0.0.1:{port}/")).await;
        assert!(is_error(&http, "http-request-denied"), "a rule for tcp does not apply to http: {http}");
    }
}

#[tokio::test]
async fn a_name_allows_its_look_up_and_the_resulting_address() {
    for generation in GENERATIONS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let pair = Pair::up(generation, &format!("hosts = ['localhost:{port}']"), "");
        let connect = format!("connect 127.0.0.1:{port}");
        assert!(is_error(&pair.ask("/mine", &connect).await, "connection-refused"), "the name is not looked up yet");
        let found = pair.ask("/mine", "lookup localhost").await;
        assert!(found.contains("127, 0, 0, 1"), "{found}");
        assert_eq!(pair.ask("/mine", &connect).await, "connected");
        assert!(is_error(&pair.ask("/theirs", &connect).await, "connection-refused"), "the grant is not the sibling's");
        assert!(is_error(&pair.ask("/mine", "lookup example.com").await, "permanent-resolver-failure"));
    }
}

#[tokio::test]
async fn hosts_bound_outgoing_requests() {
    let target = Server::serve("hello-p2", &[]);
    let (host, port) = target.address.split_once(':').unwrap();
    for generation in GENERATIONS {
        let pair = Pair::up(generation, &format!("hosts = ['http://{host}:{port}']"), "");
        let [mine, theirs] = pair.both(&format!("http http://{}/", target.address)).await;
        assert_eq!(mine, "200");
        assert!(is_error(&theirs, "http-request-denied"), "{theirs}");
        let https = pair.ask("/mine", &format!("http https://{}/", target.address)).await;
        assert!(is_error(&https, "http-request-denied"), "another scheme: {https}");
        let name = pair.ask("/mine", &format!("http http://localhost:{port}/")).await;
        assert!(is_error(&name, "http-request-denied"), "a rule for an address does not allow its name: {name}");
    }
}

#[tokio::test]
async fn configuration_and_log_lines_are_separate() {
    let mut pair = Pair::up("p2", "config = { who = 'front' }", "config = { who = 'inspector', more = 'x' }");
    assert_eq!(pair.both("config who").await, ["Ok(Some(\"front\"))", "Ok(Some(\"inspector\"))"]);
    assert_eq!(pair.both("config more").await, ["Ok(None)", "Ok(Some(\"x\"))"]);
    assert_eq!(pair.both("log careful").await, ["logged", "logged"]);
    let line = pair.server.wait_for("component=inspector");
    assert!(line.contains("careful") && line.contains("WARN"), "{line}");
}

#[tokio::test]
async fn links_chain_middlewares_in_front_of_a_handler() {
    let folder = manifest(&format!(
        r#"
        name = "chain"
        [components.first]
        source = "{middleware}"
        args = ["first"]
        [components.second]
        source = "{middleware}"
        args = ["second"]
        [components.app]
        source = "{app}"
        [[links]]
        from = "first"
        import = "wasi:http/handler"
        to = "second"
        [[links]]
        from = "second"
        import = "wasi:http/handler"
        to = "app"
        [[triggers.http]]
        component = "first"
        "#,
        middleware = guest("middleware-p3").display(),
        app = guest("echo-p3").display(),
    ));
    let server = Server::up(folder.path());
    let request = Request::post("/").header("host", "a").header("x-a", "b");
    let response = server.ask(request.body(Full::new(Bytes::from_static(b"through three"))).unwrap()).await;
    assert_eq!(text(&response), "through three");
    assert_eq!(response.headers()["x-a"], "b");
    let via: Vec<_> = response.headers().get_all("via").iter().map(|v| v.to_str().unwrap()).collect();
    assert_eq!(via, ["second", "first"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_allows_no_request_to_the_host_itself() {
    let target = Server::serve("hello-p2", &[]);
    let port = target.address.rsplit(':').next().unwrap();
    // The machine's own address, from which it connects to others.
    let outward = UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = outward.connect("192.0.2.1:9").and_then(|()| outward.local_addr()).map(|address| address.ip());
    let own = own.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let reserved = [
        ("inner", "127.0.0.1".to_owned()),
        ("own", own.to_string()),
        ("cloud", "169.254.169.254".to_owned()),
        ("cloud6", "fd00:ec2::254".to_owned()),
        ("alibaba", "100.100.100.200".to_owned()),
        ("nat64", "64:ff9b::a9fe:a9fe".to_owned()),
        ("sixtofour", "2002:a9fe:a9fe::1".to_owned()),
        ("mapped", "::ffff:127.0.0.1".to_owned()),
    ];
    let hosts: Vec<_> = reserved.iter().map(|(name, address)| format!("{address} {name}.example.test")).collect();
    let names = Names::new(&format!("{}\n127.0.0.1 outer.test\n", hosts.join("\n")));
    for generation in ["p2", "p3"] {
        let wildcard = format!("hosts = ['http://*.example.test:{port}']");
        // A name in full may lead anywhere; a rule for another protocol does not apply.
        let named =
            format!("hosts = ['http://*.example.test:{port}', 'http://outer.test:{port}', 'tcp://inner.example.test']");
        let pair = Pair::by(names.wharf(), generation, &wildcard, &named);
        for (host, _) in &reserved {
            for answer in pair.both(&format!("http http://{host}.example.test:{port}/")).await {
                assert!(answer.to_lowercase().contains("destinationipprohibited"), "{generation} {host}: {answer}");
            }
        }
        let answer = pair.ask("/theirs", &format!("http http://outer.test:{port}/")).await;
        assert!(answer.starts_with("200"), "{generation}: {answer}");
        let answer = pair.ask("/mine", &format!("http http://outer.test:{port}/")).await;
        assert!(answer.to_lowercase().contains("denied"), "{generation}: {answer}");
    }
}

/// A server that keeps connections alive. Returns its port and its count of connections.
fn counting() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    if line.is_ok_and(|line| line.is_empty()) {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").ok();
                    }
                }
            });
        }
    });
    (port, connections)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_a_connection_within_one_component_only() {
    for generation in GENERATIONS {
        let (port, connections) = counting();
        let granted = format!("hosts = ['http://127.0.0.1:{port}']");
        let pair = Pair::up(generation, &granted, &granted);
        for _ in 0..25 {
            assert_eq!(pair.both(&format!("http http://127.0.0.1:{port}/")).await, ["200", "200"], "{generation}");
        }
        let connections = connections.load(Ordering::SeqCst);
        // A connection may not be back in the pool yet when the next request needs one.
        assert!(
            (2..=6).contains(&connections),
            "{generation}: {connections} connections for 50 requests of two components"
        );
    }
}

/// What was denied is in the log, once for each target, as the entry of `hosts` that would allow it.
#[tokio::test]
async fn denials_are_logged_once() {
    for generation in GENERATIONS {
        let mut wharf = wharf();
        wharf.args(["--log", "info"]);
        let mut pair = Pair::by(wharf, generation, "hosts = ['https://a.example']", "");
        for _ in 0..3 {
            for question in
                ["connect 192.0.2.1:80", "connect 127.0.0.1:9", "lookup b.example", "http http://c.example:8080/"]
            {
                pair.ask("/mine", question).await;
            }
        }
        for target in ["tcp://192.0.2.1:80", "tcp://127.0.0.1:9", "b.example", "http://c.example:8080"] {
            let line = pair.server.wait_for(&format!("denied `{target}`: "));
            assert!(line.contains("front") && line.contains("INFO"), "{line}");
        }
        pair.server.signal("-TERM");
        pair.server.wait_for("Draining");
        assert_eq!(pair.server.lines_with(" denied `"), 4);
    }
}

/// What `wharf compose` writes runs here with the grants of its parts apart, and elsewhere with `--flat`.
#[tokio::test]
async fn a_composed_component_keeps_its_parts_grants_apart() {
    for generation in GENERATIONS {
        let mut pair = Pair::up(
            generation,
            "env = { MINE = 'm' }\nhosts = ['https://*.example']",
            "env = { THEIRS = 't', BOTH = 'b' }\nvolumes = [{ volume = 'ours', guest = '/data' }]",
        );
        let out = pair.folder.path().join("composed.wasm");
        let (folder, out) = (pair.folder.path().to_str().unwrap(), out.to_str().unwrap());
        let dir = format!("{folder}/ours::/data");
        let (wild, full) = ("https://*.example", "https://a.example");
        let flags = ["--env", "MINE=1", "--env", "THEIRS=2", "--env", "NEW=3", "--dir", &dir, "--allow", wild];
        let is_denied = |text: &str| is_error(text, "http-request-denied");
        assert!(support::run(&["compose", folder, "-o", out]).status.success());
        let serve = |file: &str, flags: &[&str]| {
            let mut command = wharf();
            command.args(["serve", file, "--listen", "127.0.0.1:0"]).args(flags);
            Server::start(command)
        };
        pair.server = serve(out, &flags);
        assert_eq!(pair.both("env MINE").await, ["1", "none of 1"], "NEW goes to the entry");
        assert_eq!(pair.both("env THEIRS").await, ["none of 2", "2"]);
        assert_eq!(pair.both("read /data/who").await, ["no volume of 0", "ours"]);
        let asked = pair.both("http https://a.example/").await;
        assert_eq!(asked.map(|text| is_denied(&text)), [false, true], "the front had the wildcard");
        // The part that had the folder could only read it.
        let written = pair.both("write /data/new x").await;
        assert!(!folder_has(folder, "ours/new"), "{written:?}");
        pair.server = serve(out, &["--inherit-network"]);
        let asked = pair.both("http https://a.example/").await;
        assert_eq!(asked.map(|text| is_denied(&text)), [false, true], "a part gets no more than it had");
        let asked = pair.both("http http://192.0.2.1/").await;
        assert_eq!(asked.map(|text| is_denied(&text)), [true, true]);
        // A name in full was not in the workload, so that it goes to the entry.
        pair.server = serve(out, &["--allow", full]);
        let asked = pair.both("http https://a.example/").await;
        assert_eq!(asked.map(|text| is_denied(&text)), [false, true]);
        // Without flags, nothing is granted, whatever the file says.
        pair.server = serve(out, &[]);
        assert_eq!(pair.both("env MINE").await, ["none of 0", "none of 0"]);
        assert_eq!(pair.both("read /data/who").await, ["no volume of 0", "no volume of 0"]);
        // A host that does not know the parts gets one component, with one set of grants.
        assert!(support::run(&["compose", folder, "--flat", "-o", out]).status.success());
        let inspected = support::stdout(&support::run(&["inspect", out]));
        assert!(!inspected.contains("front:") && !inspected.contains("inspector:"), "{inspected}");
        pair.server = serve(out, &flags);
        assert_eq!(pair.both("env MINE").await, ["1", "1"]);
        assert_eq!(pair.both("read /data/who").await, ["ours", "ours"]);
    }
}

fn folder_has(folder: &str, file: &str) -> bool {
    std::path::Path::new(folder).join(file).exists()
}

/// A file that was cut, or claims parts that it does not have, is rejected.
#[test]
fn a_composed_component_with_wrong_parts_is_rejected() {
    let folder = manifest(&format!(
        "name = 'a'\n[components.front]\nsource = '{}'\n[components.inspector]\nsource = '{}'\n",
        guest("front-p2").display(),
        guest("inspector-p2").display()
    ));
    let out = folder.path().join("composed.wasm");
    let file = out.to_str().unwrap();
    assert!(support::run(&["compose", folder.path().to_str().unwrap(), "-o", file]).status.success());
    let whole = std::fs::read(&out).unwrap();
    let find = |text: &[u8]| whole.windows(text.len()).rposition(|window| window == text).unwrap();
    let mut wrong = whole.clone();
    wrong[find(b"sha256:") + 8] ^= 1;
    std::fs::write(&out, wrong).unwrap();
    let output = support::run(&["serve", file, "--listen", "127.0.0.1:0"]);
    let text = support::stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("the parts of the composed component cannot be read"), "{text}");
    std::fs::write(&out, &whole[..whole.len() - 20]).unwrap();
    assert_eq!(support::run(&["serve", file, "--listen", "127.0.0.1:0"]).status.code(), Some(4));
    // A manifest must list the parts, not the composed file.
    std::fs::write(&out, &whole).unwrap();
    let output = support::run(&[
        "plan",
        manifest(&format!("name = 'b'\n[components.c]\nsource = '{file}'\n")).path().to_str().unwrap(),
    ]);
    assert!(support::stderr(&output).contains("if the component was composed, run it with `wharf serve`"));
}
