//! What a store costs a guest: beside an empty host call, beside redb alone, and beside the Rust client of Redis alone.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redb::{Database, Durability, ReadableDatabase as _, TableDefinition};
use wharf::wasmtime::component::Val;
use wharf::workload::manifest::{Format, parse_with};
use wharf::{Engine, Host};
use wharf_keyvalue::KeyValuePlugin;
use wharf_stores::{Policy, ProcessEnvironment};

use crate::{Result, goal, median, stores_guest};

const ROUNDS: usize = 5;
const GETS: u32 = 200_000;
const VALUE: usize = 100;
const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("t");

pub(crate) fn run() -> Result {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(measure())
}

async fn measure() -> Result {
    let folder = std::env::temp_dir().join(format!("wharf-bench-stores-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = in_folder(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    measured
}

async fn in_folder(folder: &std::path::Path) -> Result {
    let host = Host::builder(Engine::builder().build()?)
        .plugin(KeyValuePlugin::new(Policy::open(ProcessEnvironment).with_state(folder.join("state"))))
        .build()?;
    gets(&host, folder).await?;
    sets(&host, folder).await?;
    redis_sets(&host).await?;
    host.shutdown().await;
    Ok(())
}

/// Starts a workload of the guest whose store is declared like this.
async fn start(host: &Host, name: &str, store: &str) -> Result {
    let text = format!(
        "name = '{name}'\n[components.bench]\nsource = '{}'\nkeyvalue = {{ default = 's' }}\nlimits = {{ time = '10m' }}\n[keyvalue.s]\n{store}\n",
        stores_guest("bench-stores").display()
    );
    let parsed = parse_with(&text, Format::Toml, host.extensions());
    let problems: Vec<_> = parsed.problems.iter().map(ToString::to_string).collect();
    host.workload_start(parsed.workload.ok_or(problems.join("; "))?).await?;
    Ok(())
}

/// The time of a call of a function of the guest.
async fn call(host: &Host, name: &str, function: &str, arguments: &[u32]) -> Result<f64> {
    let arguments: Vec<_> = arguments.iter().copied().map(Val::U32).collect();
    let begun = Instant::now();
    host.call_values(&format!("default/{name}"), "bench", &format!("wharf:stores/bench#{function}"), &arguments)
        .await?;
    Ok(begun.elapsed().as_secs_f64())
}

async fn gets(host: &Host, folder: &std::path::Path) -> Result {
    start(host, "memory", "backend = 'memory'").await?;
    start(host, "embedded", "").await?;
    let database = Database::create(folder.join("alone.redb"))?;
    let write = database.begin_write()?;
    write.open_table(TABLE)?.insert("key", [7; VALUE].as_slice())?;
    write.commit()?;
    let alone = || -> Result<f64> {
        let begun = Instant::now();
        for _ in 0..GETS {
            let read = database.begin_read()?;
            std::hint::black_box(read.open_table(TABLE)?.get("key")?.map(|value| value.value().to_vec()));
        }
        Ok(begun.elapsed().as_secs_f64())
    };
    let mut figures = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        figures[0].push(call(host, "memory", "empty", &[GETS]).await?);
        figures[1].push(call(host, "memory", "gets", &[GETS]).await?);
        figures[2].push(call(host, "embedded", "gets", &[GETS]).await?);
        figures[3].push(alone()?);
    }
    let [empty, memory, embedded, alone] = figures.map(|seconds| median(seconds) * 1e9 / f64::from(GETS));
    println!("ns a get: an empty call {empty:.0}, memory {memory:.0}, embedded {embedded:.0}, redb alone {alone:.0}");
    goal("memory get beyond an empty host call, ns", memory - empty, 1000.0);
    goal("redb alone to embedded, gets", embedded / alone, 1.0 / 0.7);
    Ok(())
}

async fn sets(host: &Host, folder: &std::path::Path) -> Result {
    let database = std::sync::Arc::new(Database::create(folder.join("writes.redb"))?);
    for writers in [1, 64] {
        let seconds = call(host, "memory", "sets", &[100_000, writers, u32::try_from(VALUE)?]).await?;
        println!("ns an asynchronous set in memory, {writers} at a time: {:.0}", seconds * 1e9 / 100_000.0);
    }
    for (count, writers) in [(300, 1_u32), (4_000, 64)] {
        let alone = {
            let begun = Instant::now();
            let threads: Vec<_> = (0..writers)
                .map(|first| {
                    let database = database.clone();
                    std::thread::spawn(move || -> std::result::Result<(), redb::Error> {
                        for number in (first..count).step_by(writers as usize) {
                            let mut write = database.begin_write()?;
                            write.set_durability(Durability::Immediate)?;
                            write.open_table(TABLE)?.insert(format!("key {number}").as_str(), [7; VALUE].as_slice())?;
                            write.commit()?;
                        }
                        Ok(())
                    })
                })
                .collect();
            for thread in threads {
                thread.join().map_err(|_| "a writer panicked")??;
            }
            begun.elapsed().as_secs_f64()
        };
        let guest = call(host, "embedded", "sets", &[count, writers, u32::try_from(VALUE)?]).await?;
        let rate = |seconds: f64| f64::from(count) / seconds;
        println!("sets a second, {writers} writers: embedded {:.0}, redb alone {:.0}", rate(guest), rate(alone));
        goal(&format!("redb alone to embedded, sets of {writers} writers"), guest / alone, 1.0 / 0.7);
    }
    Ok(())
}

/// A server on a free port; it ends with this.
struct Redis(Child, u16);

impl Drop for Redis {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Redis {
    fn start() -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]);
        let child = command.stdout(Stdio::null()).spawn()?;
        let this = Self(child, port);
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err("redis-server does not answer".into());
            }
            std::thread::yield_now();
        }
        Ok(this)
    }
}

async fn redis_sets(host: &Host) -> Result {
    let server = Redis::start()?;
    let url = format!("redis://127.0.0.1:{}", server.1);
    start(host, "redis", &format!("backend = 'redis'\nurl = '{url}'")).await?;
    let client = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    for (count, writers) in [(10_000_u32, 1_u32), (100_000, 64)] {
        let (mut alone, mut guest) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let begun = Instant::now();
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
            alone.push(begun.elapsed().as_secs_f64());
            guest.push(call(host, "redis", "sets", &[count, writers, u32::try_from(VALUE)?]).await?);
        }
        let (alone, guest) = (median(alone), median(guest));
        let rate = |seconds: f64| f64::from(count) / seconds;
        println!("sets a second, {writers} at a time: Redis {:.0}, its client alone {:.0}", rate(guest), rate(alone));
        goal(&format!("the client alone to Redis, {writers} at a time"), guest / alone, 1.0 / 0.9);
    }
    Ok(())
}
