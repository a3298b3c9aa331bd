//! What a component's files cost: 1 GiB written and read from the begin to the end, and what a file is asked a hundred
//! thousand times, by `wharf run` and `wasmtime run` in turns. The guest measures, so that the start does not count.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::program;
use crate::{Result, goal, guest, median};

const ROUNDS: usize = 5;
const BYTES: &str = "1073741824";
const STATS: &str = "100000";
/// In this order: what is read was written before.
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

/// Where the disk itself does not count, if there is room.
fn roomy() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let free = Command::new("df").args(["--output=avail", "--block-size=1"]).arg(memory).output();
    let free =
        free.ok().and_then(|free| String::from_utf8(free.stdout).ok()?.lines().nth(1)?.trim().parse::<u64>().ok());
    // Twice as much as is written: what is there is memory that others need, too.
    if free.is_some_and(|free| free > 2 << 30) { memory.to_owned() } else { std::env::temp_dir() }
}

fn compare(name: &str, commands: [&[&str]; 2]) -> Result {
    // For each kind of work, what each of both took in each round.
    let mut times: [[Vec<f64>; 2]; WORK.len()] = Default::default();
    // The first round fills the caches and is not counted.
    for round in 0..=ROUNDS {
        for ((_, arguments), times) in WORK.iter().zip(&mut times) {
            // Who is first changes.
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
        goal(&format!("{name}, {what}, time of wasmtime run's"), ratio, 1.1);
    }
    Ok(())
}

/// The milliseconds that the guest says.
fn measure(command: &[&str], arguments: &[&str]) -> Result<f64> {
    // Errors that are no errors would have their stacks walked.
    let mut measured = Command::new(command[0]);
    measured.env_remove("RUST_BACKTRACE").args(&command[1..]).args(arguments).stdin(Stdio::null());
    let output = measured.output()?;
    let said = String::from_utf8(output.stdout)?;
    let parsed = said.trim_end().split_once('\t').and_then(|(nanos, count)| Some((nanos.parse::<f64>().ok()?, count)));
    let Some((nanos, count)) = parsed.filter(|_| output.status.success()) else {
        return Err(format!("{}: {said}{}", command[0], String::from_utf8_lossy(&output.stderr)).into());
    };
    let whole = if arguments[0] == "stat" { STATS } else { BYTES };
    if count == whole { Ok(nanos / 1e6) } else { Err(format!("{arguments:?} did {count} of {whole}").into()) }
}
