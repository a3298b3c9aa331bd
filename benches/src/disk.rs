//! The cost of file operations: 1 GiB written and read sequentially, and a hundred thousand calls of `stat`, with `wharf run` and
//! `wasmtime run` alternating. The guest measures, so that the start-up does not count.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::program;
use crate::{Result, goal, guest, median};

const ROUNDS: usize = 5;
const BYTES: &str = "1073741824";
const STATS: &str = "100000";
/// The order matters: the guest reads the file that it wrote.
const WORK: [(&str, &[&str]); 3] = [("write", &["write", BYTES]), ("read", &["read"]), ("stat", &["stat", STATS])];

pub(crate) fn run() -> Result {
    let (wharf, wasmtime) = (program("wharf")?, program("wasmtime")?);
    let folder = roomy().join(format!("wharf-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = ["disk-p2", "disk-p3"].into_iter().try_for_each(|name| {
        let component = guest(name).display().to_string();
        let mount = format!("{}::/data", folder.display());
        let ours = [&*wharf, "run", "--log", "warn", "--dir", &mount, &component, "--"];
        let options = ["-C", "cache", "-W", "component-model-async", "-S", "p3", "--dir", &mount, &component];
        let theirs = [&[&*wasmtime, "run"], &options[..]].concat();
        compare(name, [&ours, &theirs])
    });
    std::fs::remove_dir_all(&folder).ok();
    measured
}

/// A folder in memory if there is space, so that the disk does not affect the figures.
fn roomy() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let free = Command::new("df").args(["--output=avail", "--block-size=1"]).arg(memory).output();
    let free =
        free.ok().and_then(|free| String::from_utf8(free.stdout).ok()?.lines().nth(1)?.trim().parse::<u64>().ok());
    // Twice the size of the file, because the folder's space is memory that other processes need.
    if free.is_some_and(|free| free > 2 << 30) { memory.to_owned() } else { std::env::temp_dir() }
}

fn compare(name: &str, commands: [&[&str]; 2]) -> Result {
    // The times of both programs in each round, for each kind of work.
    let mut times: [[Vec<f64>; 2]; WORK.len()] = Default::default();
    // The first round fills the caches and is not counted.
    for round in 0..=ROUNDS {
        for ((_, arguments), times) in WORK.iter().zip(&mut times) {
            // The order alternates.
            for which in [round % 2, (round + 1) % 2] {
                let took = measure(commands[which], arguments)?;
                if round > 0 {
                    times[which].push(took);
                }
            }
        }
    }
    println!("| {name} | wharf | wasmtime run |\n|---|---|---|");
    let mut ratios = Vec::new();
    for ((what, _), [ours, theirs]) in WORK.iter().zip(times) {
        ratios.push((what, median(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect())));
        println!("| {what} | {:.0} ms | {:.0} ms |", median(ours), median(theirs));
    }
    for (what, ratio) in ratios {
        goal(&format!("{name}, {what}, time ratio to wasmtime run"), ratio, 1.1);
    }
    Ok(())
}

/// The milliseconds that the guest reports.
fn measure(command: &[&str], arguments: &[&str]) -> Result<f64> {
    // With RUST_BACKTRACE the engine walks the stack for errors on the normal path.
    let mut measured = Command::new(command[0]);
    measured.env_remove("RUST_BACKTRACE").args(&command[1..]).args(arguments).stdin(Stdio::null());
    let output = measured.output()?;
    let stdout = String::from_utf8(output.stdout)?;
    let parsed =
        stdout.trim_end().split_once('\t').and_then(|(nanos, count)| Some((nanos.parse::<f64>().ok()?, count)));
    let Some((nanos, count)) = parsed.filter(|_| output.status.success()) else {
        return Err(format!("{}: {stdout}{}", command[0], String::from_utf8_lossy(&output.stderr)).into());
    };
    let whole = if arguments[0] == "stat" { STATS } else { BYTES };
    if count == whole { Ok(nanos / 1e6) } else { Err(format!("{arguments:?} did {count} of {whole}").into()) }
}
