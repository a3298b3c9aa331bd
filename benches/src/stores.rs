//! What a store costs a guest: beside an empty host call, beside redb alone, and beside the Rust clients of servers alone. And what a
//! store costs a request that does not use it.

mod fresh;
mod servers;

use std::time::Instant;

use redb::{Database, Durability, ReadableDatabase as _, TableDefinition};
use wharf::wasmtime::component::Val;
use wharf::workload::manifest::{Format, parse_with};
use wharf::{Engine, Host};
use wharf_keyvalue::KeyValuePlugin;
use wharf_sql::SqlPlugin;
use wharf_stores::{Policy, ProcessEnvironment};

use crate::{Result, goal, median, stores_guest};

const ROUNDS: usize = 5;
const GETS: u32 = 200_000;
const VALUE: usize = 100;
const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("t");

/// Measures all, or one part: `embedded`, `redis`, `nats`, `postgres` or `fresh`.
pub(crate) fn run(part: Option<&str>) -> Result {
    let wanted = |name: &str| part.is_none_or(|part| part == name);
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(measure(&wanted))?;
    if wanted("fresh") { fresh::measure() } else { Ok(()) }
}

async fn measure(wanted: &impl Fn(&str) -> bool) -> Result {
    let folder = std::env::temp_dir().join(format!("wharf-bench-stores-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = in_folder(&folder, wanted).await;
    std::fs::remove_dir_all(&folder)?;
    measured
}

async fn in_folder(folder: &std::path::Path, wanted: &impl Fn(&str) -> bool) -> Result {
    let policy = Policy::open(ProcessEnvironment).with_state(folder.join("state"));
    let host = Host::builder(Engine::builder().build()?)
        .plugin(KeyValuePlugin::new(policy.clone()))
        .plugin(SqlPlugin::new(policy))
        .build()?;
    if wanted("embedded") {
        gets(&host, folder).await?;
        sets(&host, folder).await?;
    }
    if wanted("redis") {
        servers::redis_sets(&host).await?;
    }
    if wanted("nats") {
        servers::nats_sets(&host, folder).await?;
    }
    if wanted("postgres") {
        servers::postgres_queries(&host, folder).await?;
    }
    host.shutdown().await;
    Ok(())
}

/// Starts a workload of the guest whose store is declared like this.
async fn start(host: &Host, name: &str, store: &str) -> Result {
    let text = format!(
        "name = '{name}'\n[components.bench]\nsource = '{}'\nkeyvalue = {{ default = 's' }}\nlimits = {{ time = '10m' }}\n[keyvalue.s]\n{store}\n",
        stores_guest("bench-stores").display()
    );
    start_component(host, &text).await
}

async fn start_component(host: &Host, text: &str) -> Result {
    let parsed = parse_with(text, Format::Toml, host.extensions());
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
