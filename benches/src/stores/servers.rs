//! Stores on servers, beside the servers' Rust clients alone at the same concurrency.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use wharf::Host;
use wharf::wasmtime::component::Val;

use super::{ROUNDS, VALUE, call, start, start_component};
use crate::{Result, goal, median, stores_guest};

/// A server on a free port; it ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Server {
    fn start(mut command: Command, port: u16) -> Result<Self> {
        let this = Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err("the server does not answer".into());
            }
            std::thread::yield_now();
        }
        Ok(this)
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Runs both `ROUNDS` times in turn and compares their medians.
async fn compare<A, B>(what: &str, (count, writers): (u32, u32), alone: impl Fn() -> A, guest: impl Fn() -> B) -> Result
where
    A: Future<Output = Result>,
    B: Future<Output = Result>,
{
    let (mut times_alone, mut times_guest) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        alone().await?;
        times_alone.push(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        guest().await?;
        times_guest.push(begun.elapsed().as_secs_f64());
    }
    let (alone, guest) = (median(times_alone), median(times_guest));
    let rate = |seconds: f64| f64::from(count) / seconds;
    println!("{what} a second, {writers} at a time: a guest {:.0}, the client alone {:.0}", rate(guest), rate(alone));
    goal(&format!("the client alone to a guest, {what}, {writers} at a time"), guest / alone, 1.0 / 0.9);
    Ok(())
}

pub(super) async fn redis_sets(host: &Host) -> Result {
    let port = free_port()?;
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]);
    let _server = Server::start(command, port)?;
    let url = format!("redis://127.0.0.1:{port}");
    start(host, "redis", &format!("backend = 'redis'\nurl = '{url}'")).await?;
    let client = &redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    for (count, writers) in [(10_000_u32, 1_u32), (100_000, 64)] {
        let alone = async || {
            let writing = (0..writers).map(|first| {
                let mut client = client.clone();
                async move {
                    for number in (first..count).step_by(writers as usize) {
                        let key = format!("alone {number}");
                        redis::cmd("SET").arg(key).arg([7_u8; VALUE].as_slice()).exec_async(&mut client).await?;
                    }
                    Ok::<_, redis::RedisError>(())
                }
            });
            join_all(writing).await.into_iter().collect::<std::result::Result<(), _>>()?;
            Ok(())
        };
        let guest = async || call(host, "redis", "sets", &[count, writers, u32::try_from(VALUE)?]).await.map(drop);
        compare("Redis sets", (count, writers), alone, guest).await?;
    }
    Ok(())
}

pub(super) async fn nats_sets(host: &Host, folder: &Path) -> Result {
    let port = free_port()?;
    let mut command = Command::new("nats-server");
    command.args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"]).arg(folder.join("nats"));
    let _server = Server::start(command, port)?;
    let url = format!("nats://127.0.0.1:{port}");
    start(host, "nats", &format!("backend = 'nats'\nurl = '{url}'\nbucket = 'guest'")).await?;
    let jetstream = async_nats::jetstream::new(async_nats::connect(url).await?);
    // The first write creates the bucket. The library alone creates none on a server before 2.11.
    call(host, "nats", "sets", &[1, 1, 1]).await?;
    let bucket = &jetstream.get_key_value("guest").await?;
    for (count, writers) in [(5_000_u32, 1_u32), (20_000, 64)] {
        let alone = async || {
            let writing = (0..writers).map(async |first| {
                for number in (first..count).step_by(writers as usize) {
                    bucket.put(format!("alone-{number}"), vec![7_u8; VALUE].into()).await?;
                }
                Ok::<_, async_nats::jetstream::kv::PutError>(())
            });
            join_all(writing).await.into_iter().collect::<std::result::Result<(), _>>()?;
            Ok(())
        };
        let guest = async || call(host, "nats", "sets", &[count, writers, u32::try_from(VALUE)?]).await.map(drop);
        compare("NATS sets", (count, writers), alone, guest).await?;
    }
    Ok(())
}

/// The folder of the newest PostgreSQL on this machine.
fn postgres_programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")?.flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    Ok(format!("/usr/lib/postgresql/{}/bin", newest.ok_or("no PostgreSQL")?).into())
}

/// Starts PostgreSQL without syncs. It does not run as root, for whom another user is found.
fn postgres(folder: &Path) -> Result<(Server, String)> {
    let (programs, data, port) = (postgres_programs()?, folder.join("postgres"), free_port()?);
    std::fs::create_dir_all(&data)?;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let owner = is_root.then_some(65_534);
    chown(&data, owner, None)?;
    let command = |program: &str| {
        let mut command = Command::new(programs.join(program));
        if let Some(owner) = owner {
            command.uid(owner);
        }
        command.env("LC_ALL", "C").current_dir("/").arg("-D").arg(&data);
        command
    };
    let mut init = command("initdb");
    init.args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=trust", "--username=bench"]);
    if !init.stdout(Stdio::null()).status()?.success() {
        return Err("initdb failed".into());
    }
    let mut server = command("postgres");
    server.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off", "-p"]);
    server.arg(port.to_string());
    Ok((Server::start(server, port)?, format!("postgres://bench@127.0.0.1:{port}/postgres")))
}

const QUERY: &str = "select $1::int8 + 1";
/// As many as the pool has.
const CONNECTIONS: u32 = 16;

pub(super) async fn postgres_queries(host: &Host, folder: &Path) -> Result {
    let (_server, url) = postgres(folder)?;
    let sql = stores_guest("sql").display().to_string();
    let text = format!(
        "name = 'postgres'\n[components.bench]\nsource = '{sql}'\nsql = {{ default = 's' }}\nlimits = {{ time = '10m' }}\n         [sql.s]\nbackend = 'postgres'\nurl = '{url}'\n"
    );
    start_component(host, &text).await?;
    let mut clients = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while clients.len() < CONNECTIONS as usize {
        match tokio_postgres::connect(&url, tokio_postgres::NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                clients.push(client);
            }
            // It starts.
            Err(_) if Instant::now() < deadline => tokio::task::yield_now().await,
            Err(error) => return Err(error.into()),
        }
    }
    let clients = &clients;
    for (count, callers) in [(4_000_u32, 1_u32), (16_000, CONNECTIONS)] {
        let each = count / callers;
        // A bounded script for each call.
        let script = &format!("v2 query {QUERY} | 7\n").repeat(each.min(500) as usize);
        let alone = async || {
            let asking = clients.iter().take(callers as usize).map(async |client| {
                for _ in 0..each {
                    let rows = client.query_typed(QUERY, &[(&7_i64, tokio_postgres::types::Type::INT8)]).await?;
                    std::hint::black_box(rows);
                }
                Ok::<_, tokio_postgres::Error>(())
            });
            join_all(asking).await.into_iter().collect::<std::result::Result<(), _>>()?;
            Ok(())
        };
        let guest = async || {
            let asking = (0..callers).map(async |_| {
                for _ in 0..each / each.min(500) {
                    let given = [Val::String(script.clone())];
                    let shown =
                        host.call_values("default/postgres", "bench", "wharf:stores/script#run", &given).await?;
                    let [Val::String(text)] = shown.as_slice() else { return Err("no text".into()) };
                    if text.contains("error") {
                        return Err(text.lines().next().unwrap_or_default().into());
                    }
                }
                Ok(())
            });
            join_all(asking).await.into_iter().collect::<Result>()
        };
        compare("PostgreSQL queries", (count, callers), alone, guest).await?;
    }
    Ok(())
}
