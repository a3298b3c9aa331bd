//! `wharf dev` and `wharf up --watch`: what changes is built and served, and what fails leaves the version that runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{PATIENCE, Server, guest, stderr, text, wharf};

/// A folder with a manifest of one component, made by a command from `src/app.wasm`.
fn project(build: &str) -> tempfile::TempDir {
    let folder = support::manifest(&manifest(build));
    std::fs::create_dir(folder.path().join("src")).unwrap();
    std::fs::copy(guest("hello-p2"), folder.path().join("src/app.wasm")).unwrap();
    folder
}

fn manifest(build: &str) -> String {
    format!(
        "name = 'app'\n[components.web]\nsource = 'out/app.wasm'\nbuild = {build}\n[[triggers.http]]\ncomponent = 'web'\n"
    )
}

const COPY: &str = "'cp src/app.wasm out/app.wasm'";

fn dev(folder: &Path) -> Command {
    let mut command = wharf();
    command.arg("dev").arg(folder).args(["--listen", "127.0.0.1:0"]);
    command.env("XDG_CACHE_HOME", folder.join(".git"));
    command
}

async fn answer(server: &Server) -> (u16, String) {
    let request = http::Request::get("/").header("host", "a").body(http_body_util::Full::default()).unwrap();
    let response = server.ask(request).await;
    (response.status().as_u16(), text(&response).to_owned())
}

/// Asks until the answer contains this text. Every answer on the way must be a good one.
async fn wait_for(server: &Server, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, found) = answer(server).await;
        assert_eq!(status, 200, "{found}");
        if found.contains(expected) {
            return;
        }
        assert!(Instant::now() < deadline, "still `{found}`");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn change(folder: &Path, version: &str) {
    std::fs::copy(guest(version), folder.join("src/app.wasm")).unwrap();
}

#[tokio::test]
async fn a_change_is_built_and_served_without_a_dropped_request() {
    let folder = project(COPY);
    let mut server = Server::start(dev(folder.path()));
    assert_eq!(answer(&server).await, (200, "Hello from WASI 0.2\n".to_owned()));
    server.wait_for("200 GET /");
    for round in 0..3 {
        let (version, expected) = if round % 2 == 0 { ("hello-p3", "WASI 0.3") } else { ("hello-p2", "WASI 0.2") };
        change(folder.path(), version);
        wait_for(&server, expected).await;
    }
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[tokio::test]
async fn a_build_that_fails_leaves_the_version_that_runs() {
    let folder = project("'test ! -e broken && cp src/app.wasm out/app.wasm || (echo in line 7 >&2; exit 3)'");
    let mut server = Server::start(dev(folder.path()));
    std::fs::write(folder.path().join("broken"), "").unwrap();
    server.wait_for("web │ in line 7");
    let error = server.wait_for("does not build");
    assert!(error.contains("wharf.toml:4:1") && error.contains("`sh` ended with exit code 3"), "{error}");
    server.wait_for("goes on");
    assert_eq!(answer(&server).await.0, 200);
    change(folder.path(), "hello-p3");
    std::fs::remove_file(folder.path().join("broken")).unwrap();
    wait_for(&server, "WASI 0.3").await;
}

#[tokio::test]
async fn a_build_that_hangs_ends_when_its_sources_change() {
    let folder = project("'if test -e hang; then echo $$ > pid; sleep 1000; fi; cp src/app.wasm out/app.wasm'");
    let mut server = Server::start(dev(folder.path()));
    server.forget();
    std::fs::write(folder.path().join("hang"), "").unwrap();
    server.wait_for("Building");
    assert_eq!(answer(&server).await.0, 200, "the build blocks nothing");
    let pid = loop {
        // The shell writes it when it has begun.
        match std::fs::read_to_string(folder.path().join("pid")) {
            Ok(pid) if pid.ends_with('\n') => break pid.trim().to_owned(),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    std::fs::remove_file(folder.path().join("hang")).unwrap();
    change(folder.path(), "hello-p3");
    wait_for(&server, "WASI 0.3").await;
    let deadline = Instant::now() + PATIENCE;
    while Path::new("/proc").join(&pid).exists() {
        assert!(Instant::now() < deadline, "the hanging build goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_manifest_that_is_saved_in_pieces_is_read_when_it_is_whole() {
    let folder = project(COPY);
    let mut server = Server::start(dev(folder.path()));
    let path = folder.path().join("wharf.toml");
    std::fs::write(&path, "name = 'app'\n[components.web").unwrap();
    server.wait_for("wharf.toml:2");
    assert_eq!(answer(&server).await.0, 200);
    // As editors do: another file takes its place.
    let other = folder.path().join(".wharf.toml.swp");
    let routed = manifest(COPY).replace("component = 'web'\n", "component = 'web'\nhost = 'b.test'\n");
    std::fs::write(&other, routed).unwrap();
    std::fs::rename(&other, &path).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while answer(&server).await.0 != 404 {
        assert!(Instant::now() < deadline, "the manifest is not read");
    }
    server.forget();
    std::fs::remove_file(&path).unwrap();
    server.wait_for("error:");
    std::fs::write(&path, manifest(COPY)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while answer(&server).await.0 != 200 {
        assert!(Instant::now() < deadline, "the manifest that came back is not read");
    }
}

#[tokio::test]
async fn a_component_without_a_build_is_replaced_when_it_is_whole() {
    let folder = support::manifest(
        "name = 'app'\n[components.web]\nsource = 'app.wasm'\n[[triggers.http]]\ncomponent = 'web'\n",
    );
    let app = folder.path().join("app.wasm");
    std::fs::copy(guest("hello-p2"), &app).unwrap();
    let mut command = wharf();
    command.arg("up").arg(folder.path()).args(["--watch", "--listen", "127.0.0.1:0"]);
    let mut server = Server::start(command);
    let whole = std::fs::read(guest("hello-p3")).unwrap();
    std::fs::write(&app, &whole[..whole.len() / 2]).unwrap();
    server.wait_for("goes on");
    assert_eq!(answer(&server).await.1, "Hello from WASI 0.2\n");
    std::fs::write(&app, whole).unwrap();
    wait_for(&server, "WASI 0.3").await;
    assert_eq!(server.lines_with("GET /"), 0, "`up` has no line for each request");
}

#[tokio::test]
async fn many_files_that_change_at_once_are_one_change() {
    let folder = project(COPY);
    let mut server = Server::start(dev(folder.path()));
    server.forget();
    for number in 0..10_000 {
        let below = folder.path().join(format!("src/{}", number % 100));
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(below.join(format!("{number}.txt")), "text").unwrap();
    }
    change(folder.path(), "hello-p3");
    wait_for(&server, "WASI 0.3").await;
    // It also watches the folders that came.
    server.forget();
    std::fs::write(folder.path().join("src/7/7.txt"), "another text").unwrap();
    server.wait_for("Built");
}

#[tokio::test]
async fn a_folder_that_vanishes_may_come_back() {
    let outer = tempfile::tempdir().unwrap();
    let (here, away) = (outer.path().join("here"), outer.path().join("away"));
    std::fs::rename(project(COPY).keep(), &here).unwrap();
    let mut command = dev(&here);
    command.env("XDG_CACHE_HOME", outer.path().join("cache"));
    let mut server = Server::start(command);
    std::fs::rename(&here, &away).unwrap();
    server.wait_for("error:");
    assert_eq!(answer(&server).await.0, 200);
    change(&away, "hello-p3");
    std::fs::rename(&away, &here).unwrap();
    wait_for(&server, "WASI 0.3").await;
}

#[tokio::test]
async fn a_build_that_writes_beside_its_sources_ends() {
    // The command changes what it reads each time.
    let folder = project("'date +%s%N > src/stamp; cp src/app.wasm out/app.wasm'");
    let mut server = Server::start(dev(folder.path()));
    change(folder.path(), "hello-p3");
    wait_for(&server, "WASI 0.3").await;
    server.wait_for("build.watch");
}

#[test]
fn a_build_may_print_without_end() {
    let folder = project("'yes long | head -c 200000000; cp src/app.wasm out/app.wasm'");
    let mut server = Server::start(dev(folder.path()));
    server.wait_for("more than 5,000 lines");
    assert!(server.lines_with("web │") < 6_000);
}

#[test]
fn an_address_in_use_is_an_error_at_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = project(COPY);
    let address = taken.local_addr().unwrap().to_string();
    let output = wharf().arg("dev").arg(folder.path()).args(["--listen", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(stderr(&output).contains("choose another address with --listen"), "{}", stderr(&output));
}

#[tokio::test]
async fn a_folder_of_one_component_needs_no_manifest() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(guest("hello-p2"), folder.path().join("app.wasm")).unwrap();
    std::fs::write(folder.path().join("Makefile"), "dist/app.wasm: app.wasm\n\tcp app.wasm dist/app.wasm\n").unwrap();
    let server = Server::start(dev(folder.path()));
    assert_eq!(answer(&server).await, (200, "Hello from WASI 0.2\n".to_owned()));
    std::fs::copy(guest("hello-p3"), folder.path().join("app.wasm")).unwrap();
    wait_for(&server, "WASI 0.3").await;
}

/// A program on a terminal of its own, and what it has printed.
struct Terminal {
    child: std::process::Child,
    keyboard: std::fs::File,
    lines: std::sync::mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(mut command: Command) -> Self {
        use std::io::Read as _;
        use std::os::unix::ffi::OsStrExt as _;

        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let name = std::ffi::OsStr::from_bytes(name.to_bytes());
        let slave = || std::fs::File::options().read(true).write(true).open(name).unwrap();
        let child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        let keyboard = std::fs::File::from(master);
        let mut screen = keyboard.try_clone().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keyboard, lines, seen: String::new() }
    }

    fn press(&mut self, keys: &str) {
        use std::io::Write as _;
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this text is on the screen, and forgets what was before it.
    fn wait_for(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let bytes = self.lines.recv_timeout(PATIENCE);
            let bytes = bytes.unwrap_or_else(|_| panic!("no `{text}` on the screen:\n{}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_terminal_has_keys() {
    let folder = project(COPY);
    let mut terminal = Terminal::start(dev(folder.path()));
    terminal.wait_for("r rebuild, p plan, l log level, q quit");
    terminal.wait_for("Serving HTTP on");
    terminal.press("r");
    terminal.wait_for("Built");
    terminal.press("p");
    terminal.wait_for("wasi:http/types");
    terminal.press("l");
    terminal.wait_for("debug");
    terminal.press("zq");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
}
