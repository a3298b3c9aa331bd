//! A PostgreSQL server for one test: on a free port, in a temporary folder. Dropping it stops the server.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const USER: &str = "notes";
const PASSWORD: &str = "secret";
/// The timeout for creating the files and starting the server.
const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);

/// A running server. Its only user is `notes`, a superuser, who logs in with a password by SCRAM-SHA-256.
pub struct Postgres {
    programs: PathBuf,
    folder: TempDir,
    owner: Option<(u32, u32)>,
    port: u16,
    server: Option<Child>,
    settings: Vec<String>,
}

impl Postgres {
    /// Starts a server with an empty database.
    pub fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// Starts a server with settings, which may name files that are written to the folder.
    pub fn start_with(settings: impl FnOnce(&Self) -> Vec<String>) -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir().expect("a temporary folder");
        let owner = owner(folder.path());
        // The server's user needs to traverse the folder to its own files.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder that can be entered");
        let mut server = Self { programs, folder, owner, port: 0, server: None, settings: Vec::new() };
        server.init();
        server.settings = settings(&server);
        // Another process may take the port between its choice and its use.
        for _ in 0..5 {
            server.port = free_port();
            if server.try_run() {
                return server;
            }
        }
        panic!("PostgreSQL does not start: {}", server.log());
    }

    /// The URL that a client connects to.
    pub fn url(&self) -> String {
        self.url_with(PASSWORD)
    }

    /// The URL with another password.
    pub fn url_with(&self, password: &str) -> String {
        format!("postgres://{USER}:{password}@127.0.0.1:{}/postgres", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The output of `psql` for a query, without headings; `|` separates columns.
    pub fn query(&self, sql: &str) -> String {
        let mut psql = self.command("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "-c", sql]);
        let output = psql.arg(self.url()).output().expect("psql can be started");
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Stops the server at once: its connections are cut, and its port refuses new ones.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        // The fast way: a server that was merely killed leaves children and shared memory behind.
        let stopped =
            self.command("pg_ctl").args(["stop", "--silent", "--wait", "--mode=fast", "-D"]).arg(self.data()).status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = server.kill();
        }
        let _ = server.wait();
    }

    /// Restarts the server after `stop`, on the same port and with the same data.
    pub fn restart(&mut self) {
        assert!(self.server.is_none(), "the server is running");
        assert!(self.try_run(), "PostgreSQL does not restart: {}", self.log());
    }

    /// Writes a file that only the server can read. Returns its path.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("a file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its permissions can be set");
        self.own(&path);
        path
    }

    fn init(&self) {
        let password = self.folder.path().join("password");
        fs::write(&password, PASSWORD).expect("a file can be written");
        self.own(&password);
        let data = self.data();
        fs::create_dir(&data).expect("a folder can be made");
        self.own(&data);
        let mut initdb = self.command("initdb");
        initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--username", USER]);
        let output = initdb.arg("--pwfile").arg(password).arg("-D").arg(data).output().expect("initdb can be started");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts the server. Returns whether it accepts connections.
    fn try_run(&mut self) -> bool {
        let log = File::create(self.folder.path().join("log")).expect("a file can be written");
        let mut server = self.command("postgres");
        // No socket in a folder that all servers share. The data is temporary, so fsync is off.
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]);
        server.args(["-p", &self.port.to_string()]).arg("-D").arg(self.data());
        for setting in &self.settings {
            server.args(["-c", setting]);
        }
        server.stdout(Stdio::null()).stderr(log);
        let mut child = server.spawn().expect("postgres can be started");
        let until = Instant::now() + PATIENCE;
        while child.try_wait().expect("a child can be waited for").is_none() {
            if self.is_ready() {
                self.server = Some(child);
                return true;
            }
            assert!(Instant::now() < until, "PostgreSQL is not ready: {}", self.log());
            sleep(POLL);
        }
        false
    }

    /// Whether the server is ready, by its own status file. A connection could reach another server that took the port.
    fn is_ready(&self) -> bool {
        let lines = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        lines.lines().nth(7).is_some_and(|state| state.trim() == "ready")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        // The machine's PostgreSQL settings must not affect the test.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn own(&self, path: &Path) {
        if let Some((user, group)) = self.owner {
            chown(path, Some(user), Some(group)).expect("root can change owners");
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder of the newest PostgreSQL on this machine.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    });
    let newest = versions.filter(|(_, bin)| has_programs(bin)).max();
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest
        .map(|(_, bin)| bin)
        .or_else(|| std::env::split_paths(&path).find(|bin| has_programs(bin)))
        .expect("this test needs PostgreSQL: `apt-get install postgresql`")
}

fn has_programs(bin: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres", "psql"].iter().all(|program| bin.join(program).exists())
}

/// The user and group to run the server as if this process is root, because PostgreSQL refuses to run as root.
fn owner(folder: &Path) -> Option<(u32, u32)> {
    let mine = fs::metadata(folder).expect("a folder that was just made").uid();
    if mine != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = ["postgres", "nobody"].iter().find_map(|name| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().ok());
        Some((fields.next()??, fields.next()??))
    });
    Some(found.expect("root needs another user to run PostgreSQL as; `apt-get install postgresql` creates one"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
